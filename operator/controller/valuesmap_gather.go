package controller

import (
	"context"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// valuesAtOnce is how many charts of one repository are asked about, or written, at once. With two repositories at a time, it is
// what one upstream host gets from us for this purpose.
const valuesAtOnce = 4

// gather finds out which ConfigMaps there should be.
func (p *valuesPass) gather(ctx context.Context, facts *valuesmap.Facts, registry bool) error {
	used := map[valuesmap.Chart]bool{}
	err := p.users(ctx, p.source, func(r *v1alpha1.HelmRelease, chart string) { p.noteUse(used, r, chart) })
	if err != nil {
		return err
	}
	if p.repository.Spec.ValuesConfigMapPolicy == v1alpha1.ValuesConfigMapLazy {
		keepUsed(facts, used)
		return p.gatherNewest(ctx, facts, registry)
	}
	return p.gatherUsed(ctx, facts, used)
}

// seenNow are the ConfigMaps that there are.
func (p *valuesPass) seenNow() []valuesmap.Existing {
	existing := make([]valuesmap.Existing, 0, len(p.existing))
	for _, have := range p.existing {
		existing = append(existing, have.Existing)
	}
	return existing
}

func (p *valuesPass) noteUse(used map[valuesmap.Chart]bool, r *v1alpha1.HelmRelease, chart string) {
	if p.ownNamespaceOnly && r.Namespace != p.repository.Namespace {
		return
	}
	for _, version := range valuesmap.VersionsOf(r, chart) {
		used[valuesmap.Chart{Name: chart, Version: version}] = true
	}
}

// keepUsed keeps the ConfigMaps of chart versions, whether the repository or Chart.yaml spells the version.
func keepUsed(facts *valuesmap.Facts, used map[valuesmap.Chart]bool) {
	for c := range used {
		bare := strings.TrimPrefix(c.Version, "v")
		facts.Used = append(facts.Used, valuesmap.Chart{Name: c.Name, Version: bare}, valuesmap.Chart{Name: c.Name, Version: "v" + bare})
	}
}

// gatherUsed wants the chart versions that releases use.
func (p *valuesPass) gatherUsed(ctx context.Context, facts *valuesmap.Facts, used map[valuesmap.Chart]bool) error {
	var mu sync.Mutex // guards facts
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(valuesAtOnce)
	for chart := range used {
		group.Go(func() error {
			wanted, err := p.resolve(groupCtx, chart)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				facts.Wanted = append(facts.Wanted, wanted)
			case isAbout(groupCtx, err):
				// Gone from the repository, or nobody can say: one that is there stays.
				keepUsed(facts, map[valuesmap.Chart]bool{chart: true})
				if !isGone(err) { // when it comes, the watch tells
					p.unresolved(chart, err)
				}
			default:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.gatherGone(ctx, facts, func(string) bool { return true })
}

// isAbout reports whether an error is about one chart, and not about chartcache or the whole repository.
func isAbout(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) { // a chart that takes long; chartcache goes on fetching it
		return true
	}
	if client.IsUnreachable(err) {
		return false
	}
	switch client.ReasonOf(err) {
	case chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED, chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED:
		return false
	}
	return true
}

// isGone reports whether a repository says that it has no such chart or version.
func isGone(err error) bool {
	switch client.ReasonOf(err) {
	case chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND:
		return true
	}
	return false
}

// resolve returns a chart version as the repository spells it, with its digest.
func (p *valuesPass) resolve(ctx context.Context, chart valuesmap.Chart) (valuesmap.Wanted, error) {
	found, err := p.charts.Resolve(ctx, client.ChartRequest{
		Source: p.source, Chart: chart.Name, Version: chart.Version, MinRevision: p.newest(p.source),
	})
	if err != nil {
		return valuesmap.Wanted{}, err
	}
	return valuesmap.Wanted{
		Chart: valuesmap.Chart{Name: chart.Name, Version: found.Version.Version}, Digest: found.Version.Digest,
	}, nil
}

// gatherNewest wants the newest version of every chart.
func (p *valuesPass) gatherNewest(ctx context.Context, facts *valuesmap.Facts, registry bool) error {
	list, err := p.charts.ListCharts(ctx, p.source, client.ListChartsOptions{MinRevision: p.newest(p.source)})
	if err != nil {
		return err
	}
	facts.Frozen = facts.Frozen || list.Stale
	listed := make(map[string]bool, len(list.Charts))
	for i := range list.Charts {
		latest := &list.Charts[i].Latest
		listed[list.Charts[i].Name] = true
		facts.Wanted = append(facts.Wanted, valuesmap.Wanted{
			Chart: valuesmap.Chart{Name: list.Charts[i].Name, Version: latest.Version}, Digest: latest.Digest,
		})
	}
	if registry {
		if err := p.askRegistry(ctx, facts, listed); err != nil {
			return err
		}
	}
	return p.gatherGone(ctx, facts, func(chart string) bool { return listed[chart] })
}

// askRegistry makes up for what a listing does not tell of the charts that have ConfigMaps already. A registry without a catalogue
// lists the charts that it was asked for, and no digests. A chartcache that lost its memory is made to ask again: that is a small
// request for each chart, once.
func (p *valuesPass) askRegistry(ctx context.Context, facts *valuesmap.Facts, listed map[string]bool) error {
	charts := map[string]string{} // with the version that is listed; without one, the newest is asked for
	for _, have := range facts.Ours() {
		charts[have.Chart.Name] = ""
	}
	for i := range facts.Wanted {
		chart := facts.Wanted[i].Chart
		if _, ok := charts[chart.Name]; !ok {
			continue
		}
		if charts[chart.Name] = chart.Version; facts.Wanted[i].Digest != "" {
			delete(charts, chart.Name)
		}
	}
	var mu sync.Mutex // guards facts and listed
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(valuesAtOnce)
	for chart, version := range charts {
		group.Go(func() error {
			wanted, err := p.resolve(groupCtx, valuesmap.Chart{Name: chart, Version: version})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				listed[chart] = true
				facts.Wanted = append(facts.Wanted, wanted)
			case !isAbout(groupCtx, err):
				return err
			case client.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND:
			case isGone(err): // it has other versions, which will be listed now that it was asked for
				facts.Frozen = true
				p.until(p.now.Add(firstValuesRetry))
			default:
				facts.Frozen = true
				p.unresolved(valuesmap.Chart{Name: chart, Version: version}, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// gatherGone finds out which of the chart versions that have a ConfigMap and are not wanted are gone from the repository.
func (p *valuesPass) gatherGone(ctx context.Context, facts *valuesmap.Facts, listed func(chart string) bool) error {
	wanted := map[valuesmap.Chart]bool{}
	for _, w := range facts.Wanted {
		wanted[w.Chart] = true
	}
	doubtful := map[string][]valuesmap.Chart{}
	for _, have := range facts.Ours() {
		if c := have.Chart; !wanted[c] {
			doubtful[c.Name] = append(doubtful[c.Name], c)
		}
	}
	if facts.Frozen {
		return nil
	}
	var mu sync.Mutex // guards facts
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(valuesAtOnce)
	for chart, versions := range doubtful {
		group.Go(func() error {
			has, known, err := p.versions(groupCtx, chart, listed(chart))
			mu.Lock()
			defer mu.Unlock()
			for _, version := range versions {
				facts.Gone[version] = known && !has[version.Version]
			}
			return err
		})
	}
	return group.Wait()
}

// versions returns the versions of a chart; known is false when nobody can say now.
func (p *valuesPass) versions(ctx context.Context, chart string, listed bool) (has map[string]bool, known bool, err error) {
	if !listed {
		return nil, true, nil
	}
	list, err := p.charts.ListVersions(ctx, p.source, chart, client.ListVersionsOptions{
		IncludePrereleases: true, MinRevision: p.newest(p.source),
	})
	switch {
	case client.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND:
		return nil, true, nil
	case err != nil && isAbout(ctx, err):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	has = make(map[string]bool, len(list.Versions))
	for i := range list.Versions {
		has[list.Versions[i].Version] = true
	}
	return has, true, nil
}
