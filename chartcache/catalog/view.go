package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// view is one generation of a repository, held open. It must be closed.
type view struct {
	c          *Catalog
	r          *repository
	generation *generation
	reader     *index.Reader
	spec       Spec
	place      int
	knowledge  *knowledge
	revision   Revision
	stale      bool
}

func (v *view) close() { v.c.release(v.generation) }

// view returns what a repository serves, if that is not older than least: otherwise the repository syncs first. For one
// that has not been synced yet it waits for the first sync.
func (c *Catalog) view(ctx context.Context, source Source, least Revision) (*view, error) {
	r, err := c.find(source)
	if err != nil {
		return nil, err
	}
	// The first sync may have begun before this call, and upstream changed since. Two are enough: the second one began
	// after the call, so it saw whatever the caller knows of, even when clocks differ.
	for syncs := 0; ; syncs++ {
		v, err := c.served(ctx, r)
		if err != nil {
			return nil, err
		}
		if v.answers(least) || syncs == 2 {
			return v, nil
		}
		v.close()
		if _, err := c.syncNow(ctx, r); err != nil {
			return nil, err
		}
	}
}

// answers says whether a request for a revision may be answered. A time of the future, which a clock that was wrong left,
// says nothing about which state is newer.
func (v *view) answers(least Revision) bool {
	observed := v.revision.ObservedAt
	return least.IsZero() || v.revision.Name == least.Name || !observed.Before(least.ObservedAt) && !observed.After(v.c.cfg.Now()) ||
		// What a suspended repository has is all there will be.
		v.spec.Suspend
}

// served returns what a repository serves now, and waits for the first sync where nothing is served yet.
func (c *Catalog) served(ctx context.Context, r *repository) (*view, error) {
	for {
		v, work, err := c.servedOr(r)
		if v != nil || err != nil {
			return v, err
		}
		if work == nil {
			if err := c.tasks.await(ctx); err != nil {
				return nil, err
			}
			continue
		}
		// A failed sync leaves its reason in the state, which is told then.
		if err := waitSync(ctx, r, work); err != nil && !errors.Is(err, errSuperseded) && !isOutcome(err) {
			return nil, err
		}
	}
}

// servedOr returns what a repository serves, or the sync to wait for, or neither when Run has to begin first.
func (c *Catalog) servedOr(r *repository) (*view, *flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.served != nil {
		r.served.users++
		return &view{
			c: c, r: r, generation: r.served, reader: r.served.reader, spec: r.spec, place: r.place, knowledge: r.knowledge,
			revision: r.revision(), stale: !r.staleSince().IsZero(),
		}, nil, nil
	}
	if err := c.unserved(r); err != nil {
		return nil, nil, err
	}
	if !c.tasks.hasStarted() {
		return nil, nil, nil
	}
	work, err := c.demandSync(r)
	return nil, work, err
}

// isOutcome says whether an error of a sync is what came of it, and not that nobody waited for it.
func isOutcome(err error) bool {
	_, ok := errors.AsType[*cacheerr.Error](err)
	return ok && cacheerr.ReasonOf(err) != chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND
}

// unserved says why nothing is served; nil when a sync would help. The caller holds mu.
func (c *Catalog) unserved(r *repository) error {
	switch {
	case r.gone:
		return c.goneError(r)
	case r.spec.Invalid != nil:
		return notSynced(r, "its configuration is wrong: "+syncError(r.spec.Invalid, c.cfg.Now()).Message)
	case r.spec.Suspend:
		return notSynced(r, "it is suspended")
	case r.sync != nil || r.record.Outcome != chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED || r.record.LastError == nil:
		return nil
	}
	wait := r.due.Sub(c.cfg.Now())
	if wait <= 0 {
		return nil // the next try is about to start, with another spec perhaps
	}
	failed := r.record.LastError
	e := notSynced(r, failed.Message)
	if r.source.Ref == nil {
		// Nobody watches its state, so the caller gets the failure itself.
		e = cacheerr.New(failed.Reason, "%s", failed.Message)
	}
	e.RetryAfter = wait
	return e
}

func notSynced(r *repository, why string) *cacheerr.Error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED,
		"repository %s has not been synced yet: %s", r.source, why)
}

// readFailed classifies an error of a generation. A damaged one is dropped, and made anew by a sync.
func (v *view) readFailed(err error) error {
	if !errors.Is(err, index.ErrCorrupt) {
		return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, err, "chartcache cannot read its disk")
	}
	c, r := v.c, v.r
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.served == v.generation {
		r.served.retire()
		r.served = nil
		r.record = record{Format: recordFormat, Known: r.record.Known}
		now := c.cfg.Now()
		r.dueAt(now, now)
		c.events.publish(r.source, nil, true)
		c.poke()
		c.cfg.Logger.Error().Err(err).Stringer("repository", r.source).Msg("the index of a repository is damaged and is read again")
	}
	return notSynced(r, "its index on disk was damaged and is being read again")
}

// versions returns the versions of a chart as they are listed.
func (v *view) versions(chart string) (*chartList, error) {
	key := listKey{revision: v.revision.Name, chart: chart}
	if kept := v.c.lists.get(key); kept != nil {
		return kept, nil
	}
	versions, ok, err := v.reader.List(chart)
	if err != nil {
		return nil, v.readFailed(err)
	}
	if !ok {
		return nil, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND,
			"repository %s has no chart %q", v.r.source, chart)
	}
	key.chart = versions.Chart()
	return v.c.lists.put(key, versions), nil
}

func (v *view) versionNotFound(format string, args ...any) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND, "repository %s: %s", v.r.source, fmt.Sprintf(format, args...))
}
