package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// States lists the configured repositories.
type States interface {
	Repositories(namespace string) []catalog.State
}

// Blobs tells what the store of charts holds.
type Blobs interface {
	// Usage returns the size of all charts in bytes, and their number.
	Usage() (sizeBytes int64, blobs int)
	// Evictions returns the number of charts that were removed to make room.
	Evictions() int64
}

// stateCollector reads the state at each scrape, so that the series of a repository go with it by themselves.
type stateCollector struct {
	states       States
	blobs        Blobs
	repositories []repositoryGauge
	blobBytes    *prometheus.Desc
	blobCount    *prometheus.Desc
	evictions    *prometheus.Desc
}

// repositoryGauge is one figure of each repository; ok is false when a repository has none.
type repositoryGauge struct {
	desc  *prometheus.Desc
	value func(catalog.State) (value float64, ok bool)
}

// NewState returns a collector of the figures of repositories and of the store.
func NewState(states States, blobs Blobs) prometheus.Collector {
	gauge := func(name, help string, value func(catalog.State) (float64, bool)) repositoryGauge {
		return repositoryGauge{desc: prometheus.NewDesc(name, help, []string{"repository", "namespace"}, nil), value: value}
	}
	always := func(value func(catalog.State) float64) func(catalog.State) (float64, bool) {
		return func(s catalog.State) (float64, bool) { return value(s), true }
	}
	single := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &stateCollector{
		states: states,
		blobs:  blobs,
		repositories: []repositoryGauge{
			gauge("helm_repository_charts_discovered", "Number of charts that are served from a repository.",
				always(func(s catalog.State) float64 { return float64(s.Charts) })),
			gauge("chartcache_repository_versions", "Number of chart versions that are served from a repository: the entries of its index.",
				always(func(s catalog.State) float64 { return float64(s.Versions) })),
			gauge("chartcache_repository_index_bytes", "Size of the upstream index, uncompressed; 0 for OCI.",
				always(func(s catalog.State) float64 { return float64(s.IndexBytes) })),
			gauge("chartcache_repository_rejected_entries", "Number of index entries that were left out because they are invalid.",
				always(func(s catalog.State) float64 { return float64(s.Rejected) })),
			gauge("chartcache_repository_ready", "Whether the last sync succeeded: 1 or 0.",
				always(func(s catalog.State) float64 {
					return flag(s.State == chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED)
				})),
			gauge("chartcache_repository_syncing", "Whether a sync runs or waits for its turn: 1 or 0; the sum beyond --sync-concurrency waits.",
				always(func(s catalog.State) float64 { return flag(s.Syncing) })),
			gauge("chartcache_repository_last_check_timestamp_seconds", "When the last sync ended, whatever came of it; there is none before the first.",
				func(s catalog.State) (float64, bool) { return float64(s.LastCheck.Unix()), !s.LastCheck.IsZero() }),
			gauge("chartcache_repository_observed_timestamp_seconds", "When upstream was last seen to hold what is served: the time since then is the age of the index.",
				func(s catalog.State) (float64, bool) {
					return float64(s.Revision.ObservedAt.Unix()), !s.Revision.ObservedAt.IsZero()
				}),
		},
		blobBytes: single("chartcache_blob_bytes", "Size of the cached charts on disk."),
		blobCount: single("chartcache_blobs", "Number of cached charts."),
		evictions: single("chartcache_blob_evictions_total", "Charts that were removed to make room for others."),
	}
}

func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, g := range c.repositories {
		descs <- g.desc
	}
	descs <- c.blobBytes
	descs <- c.blobCount
	descs <- c.evictions
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(metrics chan<- prometheus.Metric) {
	for _, state := range c.states.Repositories("") {
		ref := state.Source.Ref
		if ref == nil {
			continue
		}
		for _, g := range c.repositories {
			if value, ok := g.value(state); ok {
				metrics <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, value, ref.Name, ref.Namespace)
			}
		}
	}
	size, count := c.blobs.Usage()
	metrics <- prometheus.MustNewConstMetric(c.blobBytes, prometheus.GaugeValue, float64(size))
	metrics <- prometheus.MustNewConstMetric(c.blobCount, prometheus.GaugeValue, float64(count))
	metrics <- prometheus.MustNewConstMetric(c.evictions, prometheus.CounterValue, float64(c.blobs.Evictions()))
}
