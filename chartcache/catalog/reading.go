package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxDescribed bounds how many versions of a registry are looked at in one sync to see whether their tags moved; those
// that were learned last come first.
const maxDescribed = 100

// reading is what a sync read from upstream, before it counts.
type reading struct {
	// unchanged says that upstream still holds what is served; nothing else is set then.
	unchanged  bool
	validators upstream.Validators
	// temp is a generation in a temporary file (HTTP).
	temp *disk.File
	// tags is what a registry holds, and moves are the versions whose tags moved (OCI).
	tags  map[string][]string
	moves []move
}

// move says that a tag names another manifest than before.
type move struct {
	chart, version string
	now            learned
}

// discard removes what is left of a temporary file.
func (f *reading) discard() {
	if f.temp != nil {
		f.temp.Close()
	}
}

// read asks upstream. What it returns must be discarded.
func (j *job) read(ctx context.Context) (*reading, error) {
	up, err := j.c.upstream(ctx, j.spec)
	if err != nil {
		return nil, err
	}
	listing, err := up.List(ctx, j.validators, j.known)
	if err != nil {
		return nil, fmt.Errorf("list repository %s: %w", j.r.source, err)
	}
	switch {
	case listing.Unchanged:
		return &reading{unchanged: true}, nil
	case listing.Index != nil:
		defer func() { _ = listing.Index.Close() }()
		before := j.c.hold(j.r)
		defer j.c.release(before)
		temp, err := j.c.store.build(func(b *index.Builder) error { return index.ReadHelm(listing.Index, before.readerOrNil(), b) })
		if err != nil {
			return nil, err
		}
		return &reading{validators: listing.Validators, temp: temp}, nil
	default:
		moves, err := j.findMoves(ctx, up, listing.Charts)
		if err != nil {
			return nil, err
		}
		tags := listing.Charts
		if tags == nil {
			tags = map[string][]string{}
		}
		return &reading{validators: listing.Validators, tags: tags, moves: moves}, nil
	}
}

// upstream makes the client of a repository, with the credentials as they are now.
func (c *Catalog) upstream(ctx context.Context, spec Spec) (upstream.Upstream, error) {
	cfg := upstream.Config{
		URL: spec.URL, PlainHTTP: spec.PlainHTTP, Limits: c.cfg.Limits.Upstream, Now: c.cfg.Now, UserAgent: c.cfg.UserAgent,
	}
	if spec.Credentials != nil {
		credentials, err := spec.Credentials(ctx)
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		cfg.Credentials = credentials
	}
	up, err := c.cfg.NewUpstream(cfg)
	if err != nil {
		return nil, fmt.Errorf("prepare upstream: %w", err)
	}
	return up, nil
}

// findMoves looks whether tags moved whose digests were learned. The list of tags alone does not tell.
func (j *job) findMoves(ctx context.Context, up upstream.Upstream, tags map[string][]string) ([]move, error) {
	var moves []move
	for _, o := range j.learnedAmong(tags) {
		now, err := j.movedTo(ctx, up, o)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look at chart %s: %w", o.chart, context.Cause(ctx))
		}
		if cacheerr.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED {
			j.c.noteRefusal(j.r, err)
			break // the rest is looked at by a later sync
		}
		// A manifest that cannot be read now is looked at again by the next sync; the repository itself did answer.
		if err != nil || now.ManifestDigest == o.now.ManifestDigest {
			continue
		}
		o.now = now
		moves = append(moves, o)
	}
	return moves, nil
}

// movedTo returns what a tag names now, all of it only where that is not what it named before: most tags cost one request
// without a body.
func (j *job) movedTo(ctx context.Context, up upstream.Upstream, o move) (learned, error) {
	chart := upstream.Chart{Name: o.chart, Version: o.version}
	manifest, err := up.ManifestDigest(ctx, chart)
	if err != nil {
		return learned{}, fmt.Errorf("look at a tag: %w", err)
	}
	if manifest == o.now.ManifestDigest {
		return o.now, nil
	}
	digest, manifest, created, err := up.Describe(ctx, chart)
	if err != nil {
		return learned{}, fmt.Errorf("describe a chart: %w", err)
	}
	return learned{Digest: digest, ManifestDigest: manifest, Created: created, LearnedAt: j.c.cfg.Now(), Moved: true}, nil
}

// learnedAmong returns the listed versions whose digests were learned, those learned last first.
func (j *job) learnedAmong(tags map[string][]string) []move {
	var found []move
	for chart, listed := range tags {
		for _, version := range listed {
			if l, ok := j.knowledge.version(chart, version); ok {
				found = append(found, move{chart: chart, version: version, now: l})
			}
		}
	}
	slices.SortFunc(found, func(a, b move) int {
		return cmp.Or(b.now.LearnedAt.Compare(a.now.LearnedAt), cmp.Compare(a.chart, b.chart), cmp.Compare(a.version, b.version))
	})
	return found[:min(len(found), maxDescribed)]
}
