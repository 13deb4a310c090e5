package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Sync syncs a repository now and returns its state then; changed reports whether the revision did. Concurrent calls share
// one sync, which goes on when a caller gives up. Errors: REPOSITORY_NOT_FOUND, REPOSITORY_SUSPENDED, why the sync failed,
// INVALID_ARGUMENT, TOO_LARGE, the cause of ctx.
func (c *Catalog) Sync(ctx context.Context, source Source) (state State, changed bool, err error) {
	r, err := c.find(source)
	if err != nil {
		return State{}, false, err
	}
	changed, err = c.syncNow(ctx, r)
	if err != nil {
		return State{}, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.state(), changed, nil
}

// syncNow joins the sync that runs, or starts one, and waits for it.
func (c *Catalog) syncNow(ctx context.Context, r *repository) (changed bool, err error) {
	if err := c.tasks.await(ctx); err != nil {
		return false, err
	}
	for {
		c.mu.Lock()
		work, err := c.demandSync(r)
		c.mu.Unlock()
		if err != nil {
			return false, err
		}
		err = waitSync(ctx, r, work)
		if errors.Is(err, errSuperseded) {
			continue // the sync for the new spec is the answer
		}
		if err != nil {
			return false, err // the sync may go on: changed is not to be read then
		}
		return work.changed, nil
	}
}

// waitSync waits for a sync. errSuperseded says that there will be another one.
func waitSync(ctx context.Context, r *repository, work *flight) error {
	err := work.wait(ctx)
	if errors.Is(err, errGone) {
		return notFound(r.source)
	}
	return err
}

// demandSync returns a running or new sync, or why there can be none. The caller holds mu.
func (c *Catalog) demandSync(r *repository) (*flight, error) {
	switch {
	case r.gone:
		return nil, c.goneError(r)
	case r.spec.Invalid != nil:
		return nil, r.spec.Invalid
	case r.spec.Suspend:
		return nil, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_SUSPENDED,
			"repository %s is suspended, so it does not sync", r.source)
	}
	if err := c.quietError(r); err != nil && r.sync == nil {
		return nil, err
	}
	if work := c.startSync(r, true); work != nil {
		return work, nil
	}
	return nil, errStopped
}

// goneError says why a repository that was found is gone: it was deleted, or everything is because Run ended. The caller
// holds mu.
func (c *Catalog) goneError(r *repository) error {
	if c.repositories[r.source.String()] == r {
		return errStopped
	}
	return notFound(r.source)
}

// startSync returns the sync that runs, or starts one; nil when nothing may start any more. demanded says that somebody
// waits for it. The caller holds mu.
func (c *Catalog) startSync(r *repository, demanded bool) *flight {
	if r.sync != nil {
		return r.sync
	}
	ctx, cancel, ok := c.tasks.cancelable()
	if !ok {
		return nil
	}
	work := newFlight()
	work.cancel = cancel
	// Watches hear of a sync whose end they wait for, not of every one that finds nothing new.
	work.announced = demanded || r.record.LastCheck.IsZero() || r.observed.generation != r.spec.Generation ||
		r.observed.suspended || r.observed.invalid != nil
	job := c.newJob(r, work)
	started := c.tasks.start(func(context.Context) {
		defer cancel(nil)
		job.run(ctx)
		close(work.done)
	})
	if !started {
		cancel(nil)
		return nil
	}
	r.sync = work
	if work.announced {
		c.events.publish(r.source, nil, false)
	}
	return work
}

// job is one sync.
type job struct {
	c    *Catalog
	r    *repository
	work *flight

	// What the repository was when the sync began.
	spec       Spec
	epoch      int
	place      int
	folder     string
	known      []string
	validators upstream.Validators
	knowledge  *knowledge

	began time.Time
}

// newJob is for a caller that holds mu.
func (c *Catalog) newJob(r *repository, work *flight) *job {
	j := &job{c: c, r: r, work: work, spec: r.spec, epoch: r.epoch, place: r.place, folder: r.folder, known: r.record.Known, knowledge: r.knowledge}
	if r.served != nil {
		j.validators = r.record.Validators
	}
	return j
}

// run waits for its turn, syncs and records what came of it. It sets what the waiters get.
func (j *job) run(ctx context.Context) {
	release, err := j.c.turns.take(ctx, hostOf(j.spec.URL))
	if err != nil {
		j.work.err = j.giveUp(err)
		return
	}
	defer release()
	j.began = j.c.cfg.Now()
	if !j.renew() {
		j.work.err = j.giveUp(errSuperseded)
		return
	}
	bounded, cancel := context.WithTimeout(ctx, j.spec.Timeout)
	defer cancel()
	var found *reading
	err = guarded(func() (err error) {
		found, err = j.read(bounded)
		return err
	})
	if found != nil {
		defer found.discard()
	}
	if ctx.Err() != nil {
		j.work.err = j.giveUp(context.Cause(ctx))
		return
	}
	if err == nil {
		err = guarded(func() (err error) {
			j.work.changed, err = j.commit(found)
			return err
		})
	}
	if err != nil && (errors.Is(err, errSuperseded) || errors.Is(err, errGone)) {
		j.work.err = j.giveUp(err)
		return
	}
	if err != nil {
		err = explain(bounded, err)
		if !j.fail(err) {
			j.work.err = j.giveUp(errSuperseded)
			return
		}
	}
	j.work.err = err
	j.report(err)
}

// renew takes what was learned while the sync waited for its turn; false when the sync is not wanted any more.
func (j *job) renew() bool {
	j.c.mu.Lock()
	defer j.c.mu.Unlock()
	fresh := j.c.newJob(j.r, j.work)
	j.known, j.validators, j.knowledge = fresh.known, fresh.validators, fresh.knowledge
	return j.r.epoch == j.epoch && !j.r.gone
}

// giveUp ends a sync without an outcome.
func (j *job) giveUp(cause error) error {
	j.c.mu.Lock()
	defer j.c.mu.Unlock()
	if j.r.sync == j.work {
		j.r.sync = nil
	}
	if j.r.gone && !errors.Is(cause, errStopped) {
		return errGone
	}
	if errors.Is(cause, errSuperseded) || errors.Is(cause, errGone) {
		return cause
	}
	return errStopped
}

// commit makes what was read what is served.
func (j *job) commit(found *reading) (changed bool, err error) {
	c, r := j.c, j.r
	err = c.edit(r, j.place, func(e *edit) error {
		if found.unchanged && e.before == nil {
			return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED,
				"upstream says that nothing changed since it was last read, but it was never read")
		}
		if !found.unchanged {
			var err error
			if changed, err = j.renewIndex(e, found); err != nil {
				return err
			}
			e.record.Validators = found.validators
		}
		before := e.record
		news := changed || j.work.announced || before.Outcome != chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED ||
			before.ObservedGeneration != j.spec.Generation
		c.mu.Lock()
		current := r.epoch == j.epoch
		now := c.cfg.Now()
		due := c.nextSync(r, now, nil)
		e.record = j.outcome(before, now, due, chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED)
		c.mu.Unlock()
		if !current {
			return errSuperseded
		}
		// By the wall clock, as others see it and the disk keeps it.
		observed := j.began.Round(0)
		if !changed && before.ObservedAt.After(observed) {
			observed = before.ObservedAt // the clock was set back: a revision is never older than it was
		}
		e.record.ObservedAt, e.record.LastError, e.record.StaleSince = observed, nil, time.Time{}
		if changed {
			e.record.LastSync = now
		}
		e.recordChanged = true
		e.settle = func() bool {
			r.dueAt(now, due)
			r.failures, r.sync = 0, nil
			r.observe(now)
			return news
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	j.succeeded(changed)
	return changed, nil
}

// renewIndex replaces the generation by what was read.
func (j *job) renewIndex(e *edit, found *reading) (changed bool, err error) {
	if found.tags != nil {
		for _, m := range found.moves {
			e.learned = append(e.learned, fact{Chart: m.chart, Version: m.version, Learned: &m.now})
			j.c.cfg.Logger.Warn().Stringer("repository", j.r.source).Str("chart", m.chart).Str("version", m.version).
				Str("digest", m.now.Digest).Msg("the tag of a chart version was moved")
		}
		if found.temp, err = j.c.store.build(func(b *index.Builder) error { return j.addTags(b, e, found.tags) }); err != nil {
			return false, err
		}
	}
	return e.replace(found.temp, true)
}

// addTags adds what a registry holds, and the charts that were asked for while it was being listed.
func (j *job) addTags(b *index.Builder, e *edit, tags map[string][]string) error {
	for chart, versions := range tags {
		if err := b.AddTags(chart, versions, func(version string) index.Entry { return e.moved(chart, version) }); err != nil {
			return fmt.Errorf("add chart: %w", err)
		}
	}
	for _, chart := range e.record.Known {
		if _, listed := tags[chart]; listed || slices.Contains(j.known, chart) || e.before == nil {
			continue
		}
		if err := b.Copy(e.before, chart); err != nil {
			return fmt.Errorf("keep chart: %w", err)
		}
	}
	return nil
}

// succeeded cleans up and says what is new.
func (j *job) succeeded(changed bool) {
	c, r := j.c, j.r
	r.disk.Lock()
	c.mu.Lock()
	current := r.current(j.place) == nil
	state := r.state()
	c.mu.Unlock()
	if current {
		// What was kept for the case that the URL is changed back is of no use any more.
		c.store.keepOnly(j.folder)
	}
	r.disk.Unlock()
	if changed {
		c.cfg.Logger.Info().Stringer("repository", r.source).Int64("charts", state.Charts).Int64("versions", state.Versions).
			Int64("rejected", state.Rejected).Str("revision", state.Revision.Name).Msg("repository synced")
	}
}

// fail records a failed sync; false when its spec does not count any more.
func (j *job) fail(err error) bool {
	c, r := j.c, j.r
	r.disk.Lock()
	defer r.disk.Unlock()
	c.mu.Lock()
	if r.epoch != j.epoch || r.gone {
		c.mu.Unlock()
		return false
	}
	now := c.cfg.Now()
	failed := syncError(err, now)
	before := r.record
	news := before.Outcome != chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED || before.LastError == nil ||
		before.LastError.Reason != failed.Reason || before.LastError.Message != failed.Message || j.work.announced
	r.failures++
	r.dueAt(now, c.nextSync(r, now, err))
	c.hush(r.spec.URL, now, err)
	r.record = j.outcome(before, now, r.due, chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED)
	r.record.LastError = failed
	if r.served != nil && r.record.StaleSince.IsZero() {
		r.record.StaleSince = now
	}
	r.observe(now)
	r.sync = nil
	written := r.record
	if news {
		c.events.publish(r.source, nil, false)
	}
	c.poke()
	c.mu.Unlock()
	if err := c.store.writeJSON(j.folder, stateFile, written); err != nil {
		c.cfg.Logger.Error().Err(err).Stringer("repository", r.source).Msg("cannot write the state of a repository")
	}
	if news {
		c.cfg.Logger.Warn().Stringer("repository", r.source).Str("reason", failed.Reason.String()).
			AnErr("cause", causeOf(err)).Msg(failed.Message)
	}
	return true
}

// causeOf is what is worth logging about an error beside its message: the cause, or all of an error without a reason.
func causeOf(err error) error {
	if known, ok := errors.AsType[*cacheerr.Error](err); ok {
		return known.Err
	}
	return err
}

// outcome is a record after a sync that ended now. The caller holds mu.
func (j *job) outcome(before record, now, due time.Time, outcome chartcachev1.RepositoryState) record {
	after := before
	after.Format = recordFormat
	after.Outcome, after.LastCheck, after.NextSync = outcome, now, due
	after.ObservedGeneration = j.spec.Generation
	if before.Outcome != outcome {
		after.LastSync = now
	}
	if j.r.source.Ref == nil {
		after.URL, after.LastUsed = j.r.source.URL, j.r.used
	}
	return after
}

// report tells the metrics, unless the repository is gone: its series were removed, or will be once disk is free.
func (j *job) report(err error) {
	c, r := j.c, j.r
	r.disk.Lock()
	defer r.disk.Unlock()
	c.mu.Lock()
	gone := r.gone
	report := SyncReport{Took: c.cfg.Now().Sub(j.began), Err: err, Changed: j.work.changed, State: r.state()}
	c.mu.Unlock()
	if !gone {
		c.cfg.Metrics.Synced(report)
	}
}

// explain makes an error of upstream one with a reason. ctx is the one that the work ran with.
func explain(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStopped) {
		return errStopped
	}
	if _, known := errors.AsType[*cacheerr.Error](err); !known && ctx.Err() != nil {
		return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, err, "upstream does not answer in time")
	}
	return err
}
