package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	// ociListConcurrency is how many charts of one registry are listed at once: enough to hide latency, few enough for
	// registries that limit rates.
	ociListConcurrency = 4
	// catalogFactor is how many times Limits.Tags a catalogue may name repositories that are not below our path. Such
	// names cost a comparison each.
	catalogFactor = 10
)

// List checks that the registry accepts the credentials, then lists the tags of the charts that its catalogue names and
// of the known ones.
func (r *ociRepository) List(ctx context.Context, _ Validators, known []string) (Listing, error) {
	if err := r.registry.Ping(ctx); err != nil {
		return Listing{}, r.registryError(ctx, err, "cannot open the registry of "+r.display)
	}
	catalogue, err := r.catalogue(ctx)
	if err != nil {
		return Listing{}, err
	}
	charts, err := r.listAll(ctx, known, catalogue)
	if err != nil {
		return Listing{}, err
	}
	return Listing{Charts: charts}, nil
}

// Versions lists the tags of one chart.
func (r *ociRepository) Versions(ctx context.Context, chart string) ([]string, error) {
	versions, err := r.tags(ctx, chart)
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, r.noChart(chart)
	}
	return versions, nil
}

// catalogue returns the charts, or what may be charts, below the repository's path; nil when the registry has no
// catalogue or does not show it to us.
func (r *ociRepository) catalogue(ctx context.Context) ([]string, error) {
	what := "cannot read the catalogue of " + r.display
	limit := r.cfg.Limits.Tags
	var names []string
	seen, pages := 0, 0
	err := r.registry.Repositories(ctx, "", func(page []string) error {
		seen += len(page)
		pages++
		for _, name := range page {
			if chart, ok := r.below(name); ok {
				names = append(names, chart)
			}
		}
		if len(names) > limit {
			return tooLarge(what, int64(limit), "charts", FlagTags)
		}
		// Pages are counted too, since an empty one may link to the next for ever.
		if seen > limit*catalogFactor || pages > limit {
			return tooLarge(what, int64(limit*catalogFactor), "repositories", FlagTags)
		}
		return nil
	})
	if err != nil && catalogueMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, r.registryError(ctx, err, what)
	}
	return names, nil
}

// below returns the path of a registry's repository below ours.
func (r *ociRepository) below(name string) (chart string, ok bool) {
	if r.prefix == "" {
		return name, name != ""
	}
	chart, ok = strings.CutPrefix(name, r.prefix+"/")
	return chart, ok && chart != ""
}

// catalogueMissing says whether a registry answered that it does not offer its catalogue to us. Anything else (rate
// limits, server errors, broken connections) must fail the listing, or charts would seem to vanish.
func catalogueMissing(err error) bool {
	answer, ok := errors.AsType[*errcode.ErrorResponse](err)
	if !ok {
		return false
	}
	return answer.StatusCode >= 300 && answer.StatusCode < 500 || answer.StatusCode == http.StatusNotImplemented
}

// listAll lists known charts, and those of the catalogue that turn out to be charts.
func (r *ociRepository) listAll(ctx context.Context, known, catalogue []string) (map[string][]string, error) {
	asked := make(map[string]bool, len(known))
	for _, name := range known {
		asked[name] = true
	}
	names := slices.Concat(known, catalogue)
	slices.Sort(names)
	names = slices.Compact(names)

	// mu guards what the goroutines gather.
	var mu sync.Mutex
	charts := map[string][]string{}
	var refused error

	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(ociListConcurrency)
	for _, name := range names {
		group.Go(func() error {
			versions, err := r.listOne(groupCtx, name, asked[name])
			mu.Lock()
			defer mu.Unlock()
			switch cacheerr.ReasonOf(err) {
			case chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED:
				if len(versions) > 0 {
					charts[name] = versions
				}
			case chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND:
			case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED:
				if asked[name] {
					refused = err
				}
			default:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	// Registries refuse what does not exist as they refuse what we may not read, so a chart that is refused while others
	// are not is left out. When all that were asked for are, it is the credentials.
	if refused != nil && len(charts) == 0 {
		return nil, refused
	}
	return charts, nil
}

// listOne lists one chart; nil when what the catalogue names is not a chart.
func (r *ociRepository) listOne(ctx context.Context, name string, known bool) ([]string, error) {
	versions, err := r.tags(ctx, name)
	if !known && cacheerr.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE {
		return nil, nil // nobody asked for it, and it may be an image; whoever asks gets the error
	}
	if err != nil || known {
		return versions, err
	}
	// A catalogue mixes charts with container images. The manifest of one version tells them apart.
	newest := newestVersion(versions)
	if newest == "" {
		return nil, nil
	}
	_, err = r.manifest(ctx, Chart{Name: name, Version: newest})
	switch cacheerr.ReasonOf(err) {
	case chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		return versions, nil
	case chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID, chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH:
		return nil, nil
	default:
		return nil, err
	}
}

// newestVersion returns the newest semantic version of versions; "" when there is none.
func newestVersion(versions []string) string {
	var newest *semver.Version
	for _, v := range versions {
		parsed, err := semver.NewVersion(v)
		if err == nil && (newest == nil || parsed.GreaterThan(newest)) {
			newest = parsed
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Original()
}

// tags lists the versions of a chart: CHART_NOT_FOUND when the registry has no such repository.
func (r *ociRepository) tags(ctx context.Context, chart string) ([]string, error) {
	repo, ok := r.repository(ctx, chart)
	if !ok {
		return nil, r.noChart(chart)
	}
	what := fmt.Sprintf("cannot list the versions of %s of %s", chart, r.display)
	limit := r.cfg.Limits.Tags
	var versions []string
	err := repo.Tags(ctx, "", func(page []string) error {
		if len(versions)+len(page) > limit {
			return tooLarge(what, int64(limit), "tags", FlagTags)
		}
		for _, tag := range page {
			versions = append(versions, versionOf(tag))
		}
		return nil
	})
	if err == nil {
		return versions, nil
	}
	err = r.registryError(ctx, err, what)
	if cacheerr.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND {
		return nil, r.noChart(chart)
	}
	return nil, err
}

func (r *ociRepository) noChart(chart string) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND,
		"%s holds no chart %q", r.display, chart)
}
