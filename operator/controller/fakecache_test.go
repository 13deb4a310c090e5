package controller

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"
	"google.golang.org/grpc/codes"

	"github.com/ketches/helm-operator/chartcache/client"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// fakeCache is a chartcache in memory.
type fakeCache struct {
	mu           sync.Mutex
	repositories map[client.Source]*fakeRepository
	handle       func(client.Event) // of the one watch; nil before
	away         bool
	syncs        map[client.Source]int
	revisions    int
	details      map[client.Source]int // answered, of values
	broken       map[string]error      // what Detail fails with, by chart
}

type fakeRepository struct {
	state    client.Repository
	versions map[string][]fakeVersion // by chart, newest first
}

type fakeVersion struct {
	version client.ChartVersion
	tarball []byte
}

func newFakeCache() *fakeCache {
	return &fakeCache{
		repositories: map[client.Source]*fakeRepository{}, syncs: map[client.Source]int{}, details: map[client.Source]int{}, broken: map[string]error{},
	}
}

// publish makes a chart version available and tells the watch.
func (c *fakeCache) publish(source client.Source, generation int64, version client.ChartVersion, tarball []byte) {
	c.mu.Lock()
	repository := c.repositories[source]
	if repository == nil {
		repository = &fakeRepository{versions: map[string][]fakeVersion{}}
		c.repositories[source] = repository
	}
	if version.Digest == "" {
		version.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(tarball))
	}
	versions := slices.Concat(repository.versions[version.Chart], []fakeVersion{{version, tarball}})
	sort.Slice(versions, func(i, j int) bool {
		return semver.MustParse(versions[i].version.Version).GreaterThan(semver.MustParse(versions[j].version.Version))
	})
	repository.versions[version.Chart] = versions
	c.revisions++
	state := &repository.state
	state.Source, state.ObservedGeneration = source, generation
	state.State = chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED
	state.Type = chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP
	state.LastError, state.StaleSince = nil, time.Time{}
	state.Revision = client.Revision{Name: "r" + strconv.Itoa(c.revisions), ObservedAt: time.Now()}
	state.LastSyncTime, state.ChartCount, state.IndexSizeBytes = time.Now(), int64(len(repository.versions)), 4711
	state.VersionCount++
	c.unlockAndTell(&client.Changed{Repository: *state, Charts: []string{version.Chart}})
}

// change changes the state of a repository and tells the watch.
func (c *fakeCache) change(source client.Source, change func(*client.Repository)) {
	c.mu.Lock()
	repository := c.repositories[source]
	if repository == nil {
		repository = &fakeRepository{state: client.Repository{Source: source}, versions: map[string][]fakeVersion{}}
		c.repositories[source] = repository
	}
	change(&repository.state)
	c.unlockAndTell(&client.Changed{Repository: repository.state})
}

// mend gives the newest version of a chart another tarball, as a mended upstream does, and tells the watch that something is new.
func (c *fakeCache) mend(source client.Source, chart string, tarball []byte) {
	c.mu.Lock()
	repository := c.repositories[source]
	repository.versions[chart][0].tarball = tarball
	c.unlockAndTell(&client.Changed{Repository: repository.state})
}

// fails makes the last sync of a repository one that failed.
func (c *fakeCache) fails(source client.Source, generation int64, reason client.Reason, message string) {
	c.change(source, func(state *client.Repository) {
		state.ObservedGeneration, state.State = generation, chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED
		state.LastError = &client.RepositoryError{Reason: reason, Message: message, Time: time.Now()}
	})
}

// setAway makes chartcache unreachable, or reachable again.
func (c *fakeCache) setAway(away bool) {
	c.mu.Lock()
	c.away = away
	if away {
		c.unlockAndTell(&client.Down{Err: errAway()})
	} else {
		c.unlockAndTell(&client.Up{})
	}
}

func (c *fakeCache) unlockAndTell(event client.Event) {
	handle := c.handle
	c.mu.Unlock()
	if handle != nil {
		handle(event)
	}
}

func errAway() error { return &client.Error{Code: codes.Unavailable, Message: "connection refused"} }

func notFound(reason chartcachev1.ErrorReason, format string, args ...any) error {
	return &client.Error{Reason: reason, Message: fmt.Sprintf(format, args...), Code: codes.NotFound}
}

// lookup returns a repository. The caller holds the lock.
func (c *fakeCache) lookup(source client.Source) (*fakeRepository, error) {
	if c.away {
		return nil, errAway()
	}
	repository := c.repositories[source]
	if repository == nil {
		return nil, notFound(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND, "repository %s is not configured", source)
	}
	return repository, nil
}

func (c *fakeCache) GetRepository(_ context.Context, source client.Source) (client.Repository, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	repository, err := c.lookup(source)
	if err != nil {
		return client.Repository{}, err
	}
	return repository.state, nil
}

func (c *fakeCache) ListCharts(_ context.Context, source client.Source, options client.ListChartsOptions) (client.ChartList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	repository, err := c.lookup(source)
	if err != nil {
		return client.ChartList{}, err
	}
	var list client.ChartList
	for name, versions := range repository.versions {
		list.Charts = append(list.Charts, client.ChartSummary{Name: name, Latest: versions[0].version, VersionCount: len(versions)})
	}
	sort.Slice(list.Charts, func(i, j int) bool { return list.Charts[i].Name < list.Charts[j].Name })
	if options.Limit > 0 && len(list.Charts) > options.Limit {
		list.Charts = list.Charts[:options.Limit]
	}
	return list, nil
}

func (c *fakeCache) ListVersions(
	_ context.Context, source client.Source, chart string, options client.ListVersionsOptions,
) (client.VersionList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	repository, err := c.lookup(source)
	if err != nil {
		return client.VersionList{}, err
	}
	var list client.VersionList
	for _, v := range repository.versions[chart] {
		if options.Limit == 0 || len(list.Versions) < options.Limit {
			list.Versions = append(list.Versions, v.version)
		}
	}
	return list, nil
}

func (c *fakeCache) Sync(_ context.Context, source client.Source) (client.SyncResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syncs[source]++
	repository, err := c.lookup(source)
	if err != nil {
		return client.SyncResult{}, err
	}
	return client.SyncResult{Repository: repository.state}, nil
}

func (c *fakeCache) synced(source client.Source) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.syncs[source]
}

func (c *fakeCache) find(request client.ChartRequest) (fakeVersion, string, error) {
	repository, err := c.lookup(request.Source)
	if err != nil {
		return fakeVersion{}, "", err
	}
	if failure := repository.state.LastError; failure != nil && len(repository.versions) == 0 {
		return fakeVersion{}, "", &client.Error{Reason: failure.Reason, Message: failure.Message, Code: codes.FailedPrecondition}
	}
	versions := repository.versions[request.Chart]
	if len(versions) == 0 {
		return fakeVersion{}, "", notFound(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, "there is no chart %s", request.Chart)
	}
	wanted := request.Version
	if wanted == "" {
		wanted = "*"
	}
	constraint, err := semver.NewConstraint(wanted)
	if err != nil {
		return fakeVersion{}, "", notFound(chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID, "%q is no constraint", wanted)
	}
	for _, v := range versions {
		if v.version.Version == request.Version {
			return v, versions[0].version.Version, nil
		}
	}
	for _, v := range versions {
		if constraint.Check(semver.MustParse(v.version.Version)) {
			return v, versions[0].version.Version, nil
		}
	}
	return fakeVersion{}, "", notFound(chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND, "no version matches %s", wanted)
}

func (c *fakeCache) Resolve(_ context.Context, request client.ChartRequest) (client.Resolved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, newest, err := c.find(request)
	if err != nil {
		return client.Resolved{}, err
	}
	return client.Resolved{Version: found.version, NewestVersion: newest}, nil
}

func (c *fakeCache) Download(_ context.Context, request client.ChartRequest, w io.Writer) (client.Downloaded, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, _, err := c.find(request)
	if err != nil {
		return client.Downloaded{}, err
	}
	if fmt.Sprintf("sha256:%x", sha256.Sum256(found.tarball)) != request.Digest {
		return client.Downloaded{}, notFound(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH, "the tarball has another digest")
	}
	_, err = w.Write(found.tarball)
	return client.Downloaded{Version: found.version}, err
}

func (c *fakeCache) Watch(ctx context.Context, handle func(client.Event)) error {
	handle(&client.Up{})
	c.mu.Lock()
	c.handle = handle
	var states []client.Repository
	for _, repository := range c.repositories {
		states = append(states, repository.state)
	}
	c.mu.Unlock()
	for _, state := range states {
		handle(&client.Changed{Repository: state, AllCharts: true})
	}
	handle(&client.Synced{})
	<-ctx.Done()
	return context.Cause(ctx)
}
