package catalog

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Short names of the contract's values.
const (
	pending   = chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING
	synced    = chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED
	failed    = chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED
	suspended = chartcachev1.RepositoryState_REPOSITORY_STATE_SUSPENDED

	invalidArgumentReason = chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT
	constraintInvalid     = chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID
	repositoryNotFound    = chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND
	repositoryNotSynced   = chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED
	repositorySuspended   = chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_SUSPENDED
	configurationInvalid  = chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID
	internalFault         = chartcachev1.ErrorReason_ERROR_REASON_INTERNAL
	credentialsMissing    = chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE
	chartNotFound         = chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND
	versionNotFound       = chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND
	unreachable           = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE
	upstreamNotFound      = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND
	rateLimitedReason     = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED
	indexRejected         = chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED
	digestMismatch        = chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH
	chartInvalid          = chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID
	tooLarge              = chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE
)

const httpURL, ociURL = "https://charts.example.com", "oci://registry.example.com/charts"

// world is a catalog with what is around it. It must be made and used inside a synctest bubble, whose clock it runs by;
// the bubble also fails a test that leaves a goroutine behind.
type world struct {
	*Catalog
	t        *testing.T
	internet *internet
	blobs    *blob.Store
	metrics  *recorder
	dir      string
	stop     func()
}

// inBubble runs a test with a fake clock.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, internet: newInternet(), metrics: &recorder{}, dir: t.TempDir()}
	blobs, err := blob.Open(blob.Config{Dir: filepath.Join(w.dir, "blobs")})
	require.NoError(t, err)
	w.blobs = blobs
	w.start()
	t.Cleanup(func() { w.stop(); _ = w.blobs.Close() })
	return w
}

func (w *world) config() Config {
	return Config{
		Dir: filepath.Join(w.dir, "catalog"), Blobs: w.blobs, NewUpstream: w.internet.newUpstream, Metrics: w.metrics,
		Rand: func() float64 { return 0.5 }, // no jitter
	}
}

// start makes a catalog of what is on disk, and runs it.
func (w *world) start() { w.startWith(w.config()) }

func (w *world) startWith(cfg Config) {
	w.t.Helper()
	c, err := New(cfg)
	require.NoError(w.t, err)
	w.Catalog = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(w.t, <-done)
	})
}

// restart is a new process on the same disk.
func (w *world) restart() {
	w.stop()
	w.start()
}

func (w *world) put(spec Spec) Source {
	w.t.Helper()
	if spec.Ref.Name == "" {
		spec.Ref = Ref{Namespace: "default", Name: "repo"}
	}
	w.Put(spec)
	return Source{Ref: &spec.Ref}
}

// settle waits until everything that can happen without time passing has happened.
func (w *world) settle() { synctest.Wait() }

func (w *world) state(source Source) State {
	w.t.Helper()
	w.settle()
	s, err := w.Repository(context.Background(), source)
	require.NoError(w.t, err)
	return s
}

func (w *world) mustSync(source Source) State {
	w.t.Helper()
	s, _, err := w.Sync(context.Background(), source)
	require.NoError(w.t, err)
	return s
}

func (w *world) resolve(source Source, chart, version string) (Resolved, error) {
	return w.Resolve(context.Background(), source, ResolveQuery{Chart: chart, Version: version})
}

func (w *world) mustResolve(source Source, chart, version string) Resolved {
	w.t.Helper()
	r, err := w.resolve(source, chart, version)
	require.NoError(w.t, err)
	return r
}

func (w *world) mustFetch(source Source, resolved Resolved) ChartInfo {
	w.t.Helper()
	reader, info, err := w.Fetch(context.Background(), source, resolved)
	require.NoError(w.t, err)
	require.NoError(w.t, reader.Close())
	return info
}

// removeBlobs makes an empty store; the catalog must be stopped.
func (w *world) removeBlobs() {
	w.t.Helper()
	dir := filepath.Join(w.dir, "blobs")
	require.NoError(w.t, os.RemoveAll(dir))
	blobs, err := blob.Open(blob.Config{Dir: dir})
	require.NoError(w.t, err)
	w.blobs = blobs
}

func (w *world) chartNames(source Source) []string {
	w.t.Helper()
	list, err := w.Charts(context.Background(), source, ChartQuery{})
	require.NoError(w.t, err)
	var names []string
	for _, c := range list.Charts {
		names = append(names, c.Name)
	}
	return names
}

// files returns the files below a folder of the catalog, relative to it.
func (w *world) files(folder string) []string {
	w.t.Helper()
	root := filepath.Join(w.dir, "catalog", folder)
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	require.NoError(w.t, err)
	return names
}

func assertReason(t *testing.T, want chartcachev1.ErrorReason, err error) {
	t.Helper()
	require.Error(t, err)
	var known *cacheerr.Error
	require.ErrorAs(t, err, &known)
	assert.Equal(t, want.String(), known.Reason.String(), "%v", err)
}

// recorder is Metrics that remembers.
type recorder struct {
	mu      sync.Mutex
	reports []SyncReport
	removed []Source
	hits    []bool
}

func (r *recorder) Synced(report SyncReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, report)
}

func (r *recorder) Removed(source Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = append(r.removed, source)
}

func (r *recorder) ChartServed(_ Source, hit bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hits = append(r.hits, hit)
}

func (r *recorder) all() (reports []SyncReport, removed []Source, hits []bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reports, r.removed, r.hits
}

func now() time.Time { return time.Now().UTC() }

// pass lets time pass, and everything that is due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
