package catalog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Fetch opens the tarball of what Resolve returned for the same source, and downloads it first where it is not cached. The
// caller closes the reader. Errors: VERSION_NOT_FOUND when the repository changed since, every UPSTREAM_ reason,
// CREDENTIALS_UNAVAILABLE, CONFIGURATION_INVALID, DIGEST_MISMATCH, CHART_INVALID, TOO_LARGE, INTERNAL, those of Charts.
func (c *Catalog) Fetch(ctx context.Context, source Source, resolved Resolved) (*blob.Reader, ChartInfo, error) {
	v, err := c.view(ctx, source, Revision{})
	if err != nil {
		return nil, ChartInfo{}, err
	}
	defer v.close()
	want := resolved.Entry
	listed, ok, err := v.reader.Lookup(want.Chart, want.Version)
	if err != nil {
		return nil, ChartInfo{}, v.readFailed(err)
	}
	// A tarball is only given out through a repository that lists it, now.
	if !ok || c.knowledgeOf(v.r).complete(listed).Digest != want.Digest {
		return nil, ChartInfo{}, v.versionNotFound("it does not list chart %s %s with digest %s any more", want.Chart, want.Version, want.Digest)
	}
	reader, info, err := c.cached(v.r, want.Digest)
	hit := reader != nil
	if err == nil && !hit {
		if err = c.download(ctx, v, listed); err == nil {
			reader, info, err = c.cached(v.r, want.Digest)
		}
	}
	if err != nil {
		return nil, ChartInfo{}, err
	}
	if reader == nil {
		return nil, ChartInfo{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL,
			"the tarball of chart %s %s was evicted before it could be read; the cache is too small (limit --%s)",
			want.Chart, want.Version, blob.FlagStoreBytes)
	}
	c.cfg.Metrics.ChartServed(v.r.source, hit)
	return reader, info, nil
}

// cached opens a tarball that this repository itself gave before; nil when it has to be downloaded. One whose .prov file was
// evicted has to: "there is none" would be a wrong answer.
func (c *Catalog) cached(r *repository, digest string) (*blob.Reader, ChartInfo, error) {
	known, ok := c.knowledgeOf(r).downloaded(digest)
	if !ok {
		return nil, ChartInfo{}, nil
	}
	provenance, ok, err := c.provenance(known.Provenance)
	if err != nil || !ok {
		return nil, ChartInfo{}, err
	}
	reader, ok, err := c.cfg.Blobs.Open(digest)
	if err != nil {
		return nil, ChartInfo{}, fmt.Errorf("open a tarball: %w", err)
	}
	if !ok {
		return nil, ChartInfo{}, nil
	}
	return reader, ChartInfo{
		SizeBytes: reader.Size(), MediaType: known.MediaType, Provenance: provenance, CachedAt: known.CachedAt,
	}, nil
}

// provenance reads a .prov file; ok is false when it was evicted. No digest is no file.
func (c *Catalog) provenance(digest string) (data []byte, ok bool, err error) {
	if digest == "" {
		return nil, true, nil
	}
	reader, ok, err := c.cfg.Blobs.Open(digest)
	if err != nil || !ok {
		return nil, false, err
	}
	defer func() { _ = reader.Close() }()
	if data, err = io.ReadAll(reader); err != nil {
		return nil, false, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, err, "chartcache cannot read its disk")
	}
	return data, true, nil
}

// isCached reports whether the tarball of an entry would be found by cached.
func (c *Catalog) isCached(r *repository, listed index.Entry) (bool, error) {
	reader, _, err := c.cached(r, c.knowledgeOf(r).complete(listed).Digest)
	if reader == nil {
		return false, err
	}
	// It was only read.
	_ = reader.Close()
	return true, nil
}

// download downloads a tarball, once for all who want it, and remembers what it learned.
func (c *Catalog) download(ctx context.Context, v *view, listed index.Entry) error {
	r, spec, place := v.r, v.spec, v.place
	if spec.Invalid != nil {
		return spec.Invalid // it may lack credentials, so upstream must not be asked
	}
	_, err := c.share(ctx, r.key("download", place, listed.Chart, listed.Version, listedAs(listed)), func(ctx context.Context, _ *flight) error {
		select {
		case c.downloads <- struct{}{}:
			defer func() { <-c.downloads }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		// The caller may have looked just before the download of another one ended.
		if done, err := c.isCached(r, listed); done || err != nil {
			return err
		}
		if err := c.mayDownload(r); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
		defer cancel()
		got, err := c.transfer(ctx, r, spec, listed)
		if err != nil {
			err = explain(ctx, err)
			c.noteRefusal(r, err)
			return err
		}
		return c.edit(r, place, func(e *edit) error {
			e.remember(listed, got)
			return nil
		})
	})
	return r.unedited(err)
}

// transferred is what a download brought.
type transferred struct {
	digest, manifestDigest string
	metadata               blob.Metadata
	download               download
}

// transfer reads a tarball from upstream into the store.
func (c *Catalog) transfer(ctx context.Context, r *repository, spec Spec, listed index.Entry) (transferred, error) {
	up, err := c.upstream(ctx, spec)
	if err != nil {
		return transferred{}, err
	}
	e := c.knowledgeOf(r).complete(listed)
	body, err := up.Fetch(ctx, upstream.Chart{
		Name: e.Chart, Version: e.Version, URLs: e.URLs, Digest: e.Digest, ManifestDigest: e.ManifestDigest,
	})
	if err != nil {
		return transferred{}, fmt.Errorf("fetch a tarball: %w", err)
	}
	defer func() { _ = body.Body.Close() }()
	limit := cmp.Or(c.cfg.Limits.Upstream.ChartBytes, upstream.DefaultChartBytes)
	info, metadata, err := c.cfg.Blobs.IngestChart(ctx, body.Body, cmp.Or(e.Digest, body.Digest), limit, e.Chart, e.Version, c.cfg.Limits.Chart)
	if err != nil {
		return transferred{}, ingestError(r.source, listed, e, err)
	}
	got := transferred{
		digest: info.Digest, manifestDigest: body.ManifestDigest, metadata: metadata,
		download: download{MediaType: body.MediaType, CachedAt: c.cfg.Now()},
	}
	if len(body.Provenance) > 0 {
		info, err := c.cfg.Blobs.Ingest(ctx, bytes.NewReader(body.Provenance), "", int64(len(body.Provenance)))
		if err != nil {
			return transferred{}, fmt.Errorf("keep a provenance file: %w", err)
		}
		got.download.Provenance = info.Digest
	}
	return got, nil
}

// ingestError says of which chart the store refused the tarball.
func ingestError(source Source, listed, e index.Entry, err error) error {
	known, ok := errors.AsType[*cacheerr.Error](err)
	switch {
	case !ok:
		return err
	case known.Reason == chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH && listed.Digest == "" && e.Digest != "":
		return cacheerr.Wrap(known.Reason, err,
			"chart %s %s of repository %s: upstream gives another tarball than before, though its index did not change; the one before had digest %s. "+
				"Upstream should publish it under another version, or list its digest; then the next sync takes it",
			e.Chart, e.Version, source, e.Digest)
	default:
		return cacheerr.Wrap(known.Reason, err, "chart %s %s of repository %s: %s", e.Chart, e.Version, source, known.Message)
	}
}

// remember notes what a download brought.
func (e *edit) remember(listed index.Entry, got transferred) {
	before, again := e.knowledge.version(listed.Chart, listed.Version)
	isOCI := got.manifestDigest != ""
	if again && before.Digest != got.digest && !isOCI {
		e.c.cfg.Logger.Warn().Stringer("repository", e.r.source).Str("chart", listed.Chart).Str("version", listed.Version).
			Str("before", before.Digest).Str("digest", got.digest).Msg("a chart version was published anew with other content")
	}
	f := fact{Digest: got.digest, Download: &got.download}
	// What an HTTP repository lists a digest for needs no other.
	if isOCI || listed.Digest == "" {
		l := learned{Listed: listedAs(listed), Digest: got.digest, ManifestDigest: got.manifestDigest, LearnedAt: got.download.CachedAt}
		if again && before.Digest == got.digest {
			l.Created, l.Moved = before.Created, before.Moved
		}
		if isOCI {
			l.Metadata = bounded(got.metadata)
		}
		f.Chart, f.Version, f.Learned = listed.Chart, listed.Version, &l
	}
	e.learned = append(e.learned, f)
}

// describe learns the digests of a version of a registry from its manifest.
func (c *Catalog) describe(ctx context.Context, v *view, listed index.Entry) error {
	r, spec, place := v.r, v.spec, v.place
	if spec.Invalid != nil {
		return spec.Invalid // it may lack credentials, so upstream must not be asked
	}
	_, err := c.share(ctx, r.key("describe", place, listed.Chart, listed.Version, listedAs(listed)), func(ctx context.Context, _ *flight) error {
		// The caller may have looked just before another one learned it.
		if e := c.knowledgeOf(r).complete(listed); e.Digest != "" && e.ManifestDigest != "" {
			return nil
		}
		if err := c.mayDownload(r); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
		defer cancel()
		up, err := c.upstream(ctx, spec)
		if err != nil {
			return explain(ctx, err)
		}
		digest, manifest, created, err := up.Describe(ctx, upstream.Chart{Name: listed.Chart, Version: listed.Version, ManifestDigest: listed.ManifestDigest})
		if err != nil {
			err = explain(ctx, err)
			c.noteRefusal(r, err)
			return err
		}
		return c.edit(r, place, func(e *edit) error {
			e.learned = append(e.learned, fact{Chart: listed.Chart, Version: listed.Version, Learned: &learned{
				Listed: listedAs(listed), Digest: digest, ManifestDigest: manifest, Created: created, LearnedAt: c.cfg.Now(),
			}})
			return nil
		})
	})
	return r.unedited(err)
}

// mayDownload fails while upstream asked not to be asked for charts.
func (c *Catalog) mayDownload(r *repository) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := r.noDownloads.Sub(c.cfg.Now()); wait > 0 {
		return rateLimited(r.source, wait)
	}
	return nil
}

// noteRefusal notes that upstream asked for fewer requests. It is for this repository only: the charts may come from
// another host than the index.
func (c *Catalog) noteRefusal(r *repository, err error) {
	wait := retryAfterOf(err)
	if wait <= 0 || cacheerr.ReasonOf(err) != chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.noDownloads = c.cfg.Now().Add(wait)
}

// key names a piece of work for this repository at its current URL.
func (r *repository) key(what string, place int, parts ...string) string {
	return fmt.Sprintf("%s %d %d %q", what, r.id, place, parts)
}

// unedited turns what kept an edit from counting into what a caller can be told.
func (r *repository) unedited(err error) error {
	switch {
	case errors.Is(err, errGone):
		return notFound(r.source)
	case errors.Is(err, errSuperseded):
		return notSynced(r, "its URL was changed a moment ago")
	default:
		return err
	}
}
