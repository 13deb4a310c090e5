package catalog

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	// firstBackoff follows the first failure; it doubles with each one, up to the interval.
	firstBackoff = 10 * time.Second
	// jitter is how far a wait is moved at most, as a part of it, so that repositories spread out.
	jitter = 0.1
	// unservedIdle is how long a repository that is known by its URL only and never synced is kept without use. Otherwise
	// a mistyped URL would be asked for a day.
	unservedIdle = 10 * time.Minute
	// idleLook is how often idle repositories are looked for.
	idleLook = time.Minute
)

// schedule starts syncs when they are due and drops idle repositories, until ctx ends.
func (c *Catalog) schedule(ctx context.Context) {
	for ctx.Err() == nil {
		now := c.cfg.Now()
		next := c.startDue(now)
		for _, source := range c.idle(now) {
			c.dropIdle(source, now)
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = c.cfg.After(next.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-timer:
		}
	}
}

// startDue starts the syncs that are due and returns when to look again; zero means when poked.
func (c *Catalog) startDue(now time.Time) (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, r := range c.repositories {
		if r.source.Ref == nil {
			sooner(now.Add(idleLook))
		}
		if !r.syncs() || r.sync != nil {
			continue
		}
		// A host that asked for quiet gets it, also for repositories that it has not refused yet.
		if until := c.quiet[hostOf(r.spec.URL)]; until.After(r.due) {
			r.dueAt(now, until)
		}
		if r.due.Sub(now) > r.wait {
			r.due = now.Add(r.wait)
		}
		if !r.due.After(now) {
			c.startSync(r, false)
			continue
		}
		sooner(r.due)
	}
	for host, until := range c.quiet {
		if !until.After(now) {
			delete(c.quiet, host)
		}
	}
	return next
}

// idle returns the repositories that are known by their URL only and are not used any more.
func (c *Catalog) idle(now time.Time) []Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sources []Source
	for _, r := range c.repositories {
		if c.isIdle(r, now) {
			sources = append(sources, r.source)
		}
	}
	return sources
}

// isIdle is for a caller that holds mu.
func (c *Catalog) isIdle(r *repository, now time.Time) bool {
	if r.source.Ref != nil || r.sync != nil {
		return false
	}
	limit := c.cfg.IdleAfter
	if r.served == nil {
		limit = min(limit, unservedIdle)
	}
	return now.Sub(r.used) >= limit
}

// dropIdle removes a repository unless it was used meanwhile.
func (c *Catalog) dropIdle(source Source, now time.Time) {
	c.set.Lock()
	defer c.set.Unlock()
	c.mu.Lock()
	r, ok := c.repositories[source.String()]
	idle := ok && c.isIdle(r, now)
	c.mu.Unlock()
	if idle {
		c.drop(source)
	}
}

// nextSync is when to sync after a sync that ended now. The caller holds mu.
func (c *Catalog) nextSync(r *repository, now time.Time, err error) time.Time {
	wait := r.spec.Interval
	if err != nil {
		// Ten doublings of the first wait are longer than any sensible interval.
		wait = min(wait, firstBackoff<<min(r.failures-1, 10))
	}
	wait += time.Duration((2*c.cfg.Rand() - 1) * jitter * float64(wait))
	return now.Add(max(wait, retryAfterOf(err)))
}

// hush notes that a host asked not to be asked. The caller holds mu.
func (c *Catalog) hush(rawURL string, now time.Time, err error) {
	if wait := retryAfterOf(err); wait > 0 && cacheerr.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED {
		c.quiet[hostOf(rawURL)] = now.Add(wait)
	}
}

// quietError is what asking now would come to, when the host asked for quiet; nil otherwise. The caller holds mu.
func (c *Catalog) quietError(r *repository) error {
	if wait := c.quiet[hostOf(r.spec.URL)].Sub(c.cfg.Now()); wait > 0 {
		return rateLimited(r.source, wait)
	}
	return nil
}

func rateLimited(source Source, wait time.Duration) error {
	e := cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED,
		"the host of repository %s asked for fewer requests", source)
	e.RetryAfter = wait
	return e
}

func retryAfterOf(err error) time.Duration {
	if e, ok := errors.AsType[*cacheerr.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return upstream.HostOf(u)
}
