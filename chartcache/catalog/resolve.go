package catalog

import (
	"context"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxPinLooks bounds how many versions of a registry's chart are described to find the one that a digest pins.
const maxPinLooks = 20

// Resolve says which version a query means now, and learns its digest where the repository does not list it: from the
// manifest for OCI, by a download for HTTP. Errors: those of Versions, VERSION_NOT_FOUND, and those of Fetch where upstream
// is asked.
func (c *Catalog) Resolve(ctx context.Context, source Source, query ResolveQuery) (Resolved, error) {
	w, err := c.constraints.parse(query.Version)
	if err != nil {
		return Resolved{}, err
	}
	digest := ""
	if query.Digest != "" {
		var ok bool
		if digest, ok = blob.NormalizeDigest(query.Digest); !ok {
			return Resolved{}, invalidArgument("the digest is not \"sha256:\" and 64 hexadecimal digits")
		}
	}
	var resolved Resolved
	err = c.look(ctx, source, query.Chart, query.Min, func(v *view) error {
		versions, err := v.versions(query.Chart)
		if err != nil {
			return err
		}
		e, err := v.choose(ctx, versions, w, digest)
		if err != nil {
			return err
		}
		resolved = Resolved{Entry: e, Newest: versions.newestStable(v.isOCI()), Revision: v.revision, Stale: v.stale}
		return nil
	})
	if err != nil {
		return Resolved{}, err
	}
	return resolved, nil
}

// choose returns the entry that is wanted, complete.
func (v *view) choose(ctx context.Context, versions *chartList, w wanted, digest string) (index.Entry, error) {
	if digest != "" {
		return v.pinned(ctx, versions, w, digest)
	}
	if i, ok := versions.pick(w, v.isOCI()); ok {
		return v.learn(ctx, versions.Entry(i))
	}
	chart, newest := versions.Chart(), versions.Version(0)
	if w.newest {
		return index.Entry{}, v.versionNotFound("chart %q has no stable version; the newest one is %s", chart, newest)
	}
	return index.Entry{}, v.versionNotFound("chart %q has no version that matches %q; the newest one is %s", chart, w.text, newest)
}

// pinned returns the entry whose tarball or manifest has a digest. Where digests are not known, it learns that of the
// version that is wanted, and in a registry, where that is cheap, those of the newest versions.
func (v *view) pinned(ctx context.Context, versions *chartList, w wanted, digest string) (index.Entry, error) {
	known := v.c.knowledgeOf(v.r)
	var unknown []index.Entry
	for i := range versions.Len() {
		listed := versions.Entry(i)
		switch e := known.complete(listed); {
		case e.Digest == digest || e.ManifestDigest == digest:
			return v.learn(ctx, listed)
		case e.Digest == "":
			unknown = append(unknown, listed)
		}
	}
	var candidates []index.Entry
	if i, ok := w.pick(len(unknown), func(i int) string { return unknown[i].Version }, v.isOCI()); ok {
		candidates = append(candidates, unknown[i])
	}
	if v.isOCI() {
		candidates = append(candidates, unknown[:min(len(unknown), maxPinLooks)]...)
	}
	for _, e := range candidates {
		e, err := v.learn(ctx, e)
		switch cacheerr.ReasonOf(err) {
		case chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID, chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND:
			continue // a broken version is not the one that is pinned
		}
		if err != nil {
			return index.Entry{}, err
		}
		if e.Digest == digest || e.ManifestDigest == digest {
			return e, nil
		}
	}
	return index.Entry{}, v.versionNotFound("chart %q has no version with digest %s", versions.Chart(), digest)
}

// learn completes an entry, with the help of upstream when nothing else helps.
func (v *view) learn(ctx context.Context, listed index.Entry) (index.Entry, error) {
	e := v.c.knowledgeOf(v.r).complete(listed)
	if !v.isComplete(e) {
		var err error
		if v.isOCI() {
			err = v.c.describe(ctx, v, listed)
		} else {
			err = v.c.download(ctx, v, listed)
		}
		if err != nil {
			return index.Entry{}, err
		}
		if e = v.c.knowledgeOf(v.r).complete(listed); !v.isComplete(e) {
			// Another sync replaced what was learned at the same moment.
			return index.Entry{}, v.versionNotFound("chart %q changed while its version %s was being looked up", e.Chart, e.Version)
		}
	}
	if _, ok := blob.NormalizeDigest(e.Digest); !ok {
		return index.Entry{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
			"repository %s lists chart %s %s with a digest that is not a sha256 digest", v.r.source, e.Chart, e.Version)
	}
	return e, nil
}

func (v *view) isOCI() bool {
	return typeOf(v.spec.URL) == chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI
}

func (v *view) isComplete(e index.Entry) bool {
	return e.Digest != "" && (e.ManifestDigest != "" || !v.isOCI())
}

// knowledgeOf returns what is known at the current URL.
func (c *Catalog) knowledgeOf(r *repository) *knowledge {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.knowledge
}
