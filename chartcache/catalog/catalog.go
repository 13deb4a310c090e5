package catalog

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Catalog is the set of repositories. Its methods may be called concurrently, before, while and after Run runs; those that
// need upstream wait for Run to begin, and fail after its end with an error that wraps context.Canceled.
type Catalog struct {
	cfg   Config
	store store
	tasks *tasks
	// turns and downloads bound what runs at once.
	turns     *turns
	downloads chan struct{}
	// lists and constraints keep what calls ask for again and again.
	lists       *lists
	constraints constraints
	// wake makes the schedule look again.
	wake chan struct{}

	// set serialises what adds, changes and removes repositories, disk included. It is taken before any other lock.
	set sync.Mutex
	// mu guards the fields below and the repositories. It is never held while files are written or upstream is asked.
	mu sync.Mutex
	// repositories by Source.String, which differs for names and URLs: only URLs have a "://".
	repositories map[string]*repository
	// quiet is until when hosts asked not to be asked.
	quiet   map[string]time.Time
	flights map[string]*flight
	events  events
	// repositoryIDs is the id that was given last.
	repositoryIDs uint64
}

// New opens the catalog's folder, removes what interrupted writes left there, and loads the repositories that were known
// by their URL only. It fails when the folder cannot be used.
func New(cfg Config) (*Catalog, error) {
	cfg = cfg.withDefaults()
	s, err := openStore(cfg.Dir, cfg.Disk)
	if err != nil {
		return nil, err
	}
	c := &Catalog{
		cfg: cfg, store: s, tasks: newTasks(),
		turns: newTurns(cfg.Limits.Syncs), downloads: make(chan struct{}, cfg.Limits.Downloads), lists: newLists(cfg.Limits.ListBytes),
		wake:         make(chan struct{}, 1),
		repositories: map[string]*repository{}, quiet: map[string]time.Time{}, flights: map[string]*flight{},
		events: newEvents(cfg.Instance),
	}
	for _, url := range s.anonymous() {
		r := c.add(anonymousSpec(url), ByURL(url))
		if last := r.record.LastUsed; !last.IsZero() {
			r.used = last
		}
	}
	return c, nil
}

// Run syncs repositories when they are due, until ctx ends. It returns nil when everything that was running has ended; the
// catalog answers nothing any more then. Call it once.
func (c *Catalog) Run(ctx context.Context) error {
	c.tasks.run(ctx, c.schedule)
	c.set.Lock()
	defer c.set.Unlock()
	// No task is left that could write.
	_ = c.store.disk.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.repositories {
		r.gone = true
		r.served.retire()
		r.served = nil
	}
	return nil
}

// Put configures a repository, or changes how it is configured, and makes it sync at once. A spec that is as before does
// nothing, but for Credentials, which is replaced. What the disk still holds for the same name and URL is served at once.
func (c *Catalog) Put(spec Spec) {
	spec = spec.withDefaults()
	source := Source{Ref: &spec.Ref}
	c.set.Lock()
	defer c.set.Unlock()
	c.mu.Lock()
	r, ok := c.repositories[source.String()]
	c.mu.Unlock()
	if !ok {
		c.add(spec, source)
		return
	}
	c.change(r, spec)
}

// add makes a repository of what is on disk. The caller holds set, or nobody else knows the catalog yet.
func (c *Catalog) add(spec Spec, source Source) *repository {
	r := &repository{source: source}
	folder := c.store.folder(source, spec.URL, spec.PlainHTTP)
	found := c.store.load(folder)

	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	c.repositoryIDs++
	r.id, r.spec, r.used = c.repositoryIDs, spec, now
	r.install(folder, found)
	r.dueAt(now, now)
	switch {
	case !r.syncs(), r.record.LastCheck.IsZero():
		r.observe(now)
	case r.record.ObservedGeneration == spec.Generation:
		// Goes on where it was. A clock that was set back must not delay it further than an interval.
		if next := r.record.NextSync; next.Before(now.Add(spec.Interval)) {
			r.dueAt(now, next)
		} else {
			r.dueAt(now, now.Add(spec.Interval))
		}
	}
	c.repositories[source.String()] = r
	c.events.publish(r.source, nil, true)
	c.poke()
	return r
}

// change gives a repository another spec. The caller holds set.
func (c *Catalog) change(r *repository, spec Spec) {
	c.mu.Lock()
	before := r.spec
	if same(before, spec) {
		r.spec.Credentials = spec.Credentials
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()

	folder := c.store.folder(r.source, spec.URL, spec.PlainHTTP)
	moved := folder != c.store.folder(r.source, before.URL, before.PlainHTTP)
	r.disk.Lock()
	defer r.disk.Unlock()
	var found stored
	if moved {
		found = c.store.load(folder)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.abandon(errSuperseded)
	r.spec = spec
	now := c.cfg.Now()
	if moved {
		r.install(folder, found)
	}
	// A sync must end before State may tell the outcome of a spec that syncs, unless there is no older outcome.
	if !r.syncs() || r.record.LastCheck.IsZero() {
		r.observe(now)
	}
	r.dueAt(now, now)
	r.failures = 0
	c.events.publish(r.source, nil, moved)
	c.poke()
}

// same reports whether a spec says what another says, but for how credentials are read.
func same(a, b Spec) bool {
	return a.Generation == b.Generation && a.URL == b.URL && a.PlainHTTP == b.PlainHTTP && a.Interval == b.Interval &&
		a.Timeout == b.Timeout && a.Suspend == b.Suspend && a.CredentialsID == b.CredentialsID && sameError(a.Invalid, b.Invalid)
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}

// Delete removes a repository and what is on disk for it. One that is not there is fine. Tarballs stay until they are
// evicted.
func (c *Catalog) Delete(ref Ref) {
	c.set.Lock()
	defer c.set.Unlock()
	c.drop(Source{Ref: &ref})
}

// drop removes a repository. The caller holds set.
func (c *Catalog) drop(source Source) {
	c.mu.Lock()
	r, ok := c.repositories[source.String()]
	if ok {
		delete(c.repositories, source.String())
		r.gone = true
		r.abandon(errGone)
		r.served.retire()
		r.served = nil
		c.events.publish(r.source, nil, true)
		c.poke()
	}
	c.mu.Unlock()
	if !ok {
		return
	}
	// Whoever writes for r sees that it is gone, once disk is free.
	r.disk.Lock()
	defer r.disk.Unlock()
	if c.tasks.hasStopped() {
		return // Prune removes it after the next start
	}
	if err := c.store.remove(source); err != nil {
		c.cfg.Logger.Error().Err(err).Stringer("repository", source).Msg("cannot remove a deleted repository from disk")
	}
	c.cfg.Metrics.Removed(source)
	c.cfg.Logger.Info().Stringer("repository", source).Msg("repository removed")
}

// Prune removes from disk what was kept for repositories that are not configured any more: those that were deleted while
// the process was down. Call it once all that are configured have been Put.
func (c *Catalog) Prune() error {
	c.set.Lock()
	defer c.set.Unlock()
	keep := map[string]bool{}
	c.mu.Lock()
	for _, r := range c.repositories {
		keep[c.store.home(r.source)] = true
	}
	c.mu.Unlock()
	return c.store.prune(keep)
}

// Repository returns the state of a repository. A URL is known from its first use on. Errors: REPOSITORY_NOT_FOUND,
// INVALID_ARGUMENT, TOO_LARGE.
func (c *Catalog) Repository(_ context.Context, source Source) (State, error) {
	r, err := c.find(source)
	if err != nil {
		return State{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.state(), nil
}

// Repositories returns the configured repositories of a namespace, of all when it is empty, by namespace and name.
func (c *Catalog) Repositories(namespace string) []State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var states []State
	for _, r := range c.repositories {
		if ref := r.source.Ref; ref != nil && (namespace == "" || ref.Namespace == namespace) {
			states = append(states, r.state())
		}
	}
	slices.SortFunc(states, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Source.Ref.Namespace, b.Source.Ref.Namespace), cmp.Compare(a.Source.Ref.Name, b.Source.Ref.Name))
	})
	return states
}

// find returns a repository, and makes one of a URL that is asked for the first time.
func (c *Catalog) find(source Source) (*repository, error) {
	if (source.Ref == nil) == (source.URL == "") {
		return nil, invalidArgument("a repository is named either by namespace and name, or by its URL")
	}
	if source.Ref == nil {
		return c.findURL(source.URL)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.repositories[source.String()]
	if !ok {
		return nil, notFound(source)
	}
	return r, nil
}

func (c *Catalog) findURL(raw string) (*repository, error) {
	url, err := cleanURL(raw)
	if err != nil {
		return nil, err
	}
	source := ByURL(url)
	if r := c.touch(source); r != nil {
		return r, nil
	}
	c.set.Lock()
	defer c.set.Unlock()
	if r := c.touch(source); r != nil {
		return r, nil
	}
	if c.anonymousCount() >= c.cfg.Limits.Sources {
		return nil, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE,
			"more than %d repositories are in use that are known by their URL only (limit --%s); configure some of them",
			c.cfg.Limits.Sources, FlagSources)
	}
	return c.add(anonymousSpec(url), source), nil
}

// touch returns a repository by URL and notes its use; nil when there is none.
func (c *Catalog) touch(source Source) *repository {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.repositories[source.String()]
	if !ok {
		return nil
	}
	r.used = c.cfg.Now()
	return r
}

func (c *Catalog) anonymousCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, r := range c.repositories {
		if r.source.Ref == nil {
			n++
		}
	}
	return n
}

// anonymousSpec is how a repository that is known by its URL only is read.
func anonymousSpec(url string) Spec { return Spec{URL: url}.withDefaults() }

// poke makes the schedule look again.
func (c *Catalog) poke() {
	select {
	case c.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func notFound(source Source) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND, "repository %s is not configured", source)
}
