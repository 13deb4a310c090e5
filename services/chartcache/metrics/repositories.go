package metrics

import (
	"context"
	"errors"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Repositories counts syncs and downloads. It implements catalog.Metrics.
//
// Repositories that are known by their URL only have no series of their own: there can be any number of them.
type Repositories struct {
	duration  *prometheus.HistogramVec
	syncs     *prometheus.CounterVec
	errors    *prometheus.CounterVec
	unchanged *prometheus.CounterVec
	anonymous *prometheus.CounterVec
	served    *prometheus.CounterVec
}

var _ catalog.Metrics = (*Repositories)(nil)

// Values of the label status.
const (
	statusSuccess = "success"
	statusFailure = "failure"
)

// NewRepositories makes the metrics and registers them.
func NewRepositories(registry prometheus.Registerer) (*Repositories, error) {
	m := &Repositories{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "helm_repository_sync_duration_seconds", Help: "Time that a sync of a repository took.",
			Buckets: []float64{.1, .5, 1, 5, 10, 30, 60, 120},
		}, []string{"repository", "namespace", "type"}),
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_repository_sync_total", Help: "Syncs of a repository by outcome: success or failure.",
		}, []string{"repository", "namespace", "type", "status"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_repository_sync_errors_total", Help: "Failed syncs of a repository by kind of error.",
		}, []string{"repository", "namespace", "error_type"}),
		unchanged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_repository_syncs_unchanged_total", Help: "Successful syncs that found nothing new.",
		}, []string{"repository", "namespace"}),
		anonymous: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_anonymous_syncs_total", Help: "Syncs of repositories that are known by their URL only, by outcome.",
		}, []string{"status"}),
		served: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_charts_served_total", Help: "Charts that were given out, by whether they were cached: hit or miss.",
		}, []string{"result"}),
	}
	return m, register(registry, m.duration, m.syncs, m.errors, m.unchanged, m.anonymous, m.served)
}

// register registers collectors, all or the first error.
func register(registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Synced counts a sync.
func (m *Repositories) Synced(report catalog.SyncReport) {
	status := statusSuccess
	if report.Err != nil {
		status = statusFailure
	}
	ref := report.State.Source.Ref
	if ref == nil {
		m.anonymous.WithLabelValues(status).Inc()
		return
	}
	kind := typeOf(report.State.Type)
	m.duration.WithLabelValues(ref.Name, ref.Namespace, kind).Observe(report.Took.Seconds())
	m.syncs.WithLabelValues(ref.Name, ref.Namespace, kind, status).Inc()
	switch {
	case report.Err != nil:
		m.errors.WithLabelValues(ref.Name, ref.Namespace, errorType(report.Err)).Inc()
	case !report.Changed:
		m.unchanged.WithLabelValues(ref.Name, ref.Namespace).Inc()
	}
}

// Removed deletes the series of a repository.
func (m *Repositories) Removed(source catalog.Source) {
	if source.Ref == nil {
		return
	}
	labels := prometheus.Labels{"repository": source.Ref.Name, "namespace": source.Ref.Namespace}
	m.duration.DeletePartialMatch(labels)
	m.syncs.DeletePartialMatch(labels)
	m.errors.DeletePartialMatch(labels)
	m.unchanged.DeletePartialMatch(labels)
}

// ChartServed counts a chart that was given out.
func (m *Repositories) ChartServed(_ catalog.Source, hit bool) {
	result := "miss"
	if hit {
		result = "hit"
	}
	m.served.WithLabelValues(result).Inc()
}

// typeOf is the label of a repository's type, as in spec.type.
func typeOf(t chartcachev1.RepositoryType) string {
	if t == chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI {
		return "oci"
	}
	return "helm"
}

// errorType is the label error_type.
func errorType(err error) string {
	switch cacheerr.ReasonOf(err) {
	case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE:
		var timeout net.Error
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
			return "Timeout"
		}
		return "Network"
	case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED,
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED:
		return "Network"
	case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED,
		chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE:
		return "Auth"
	case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND:
		return "NotFound"
	case chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID,
		chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED,
		chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID,
		chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
		chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE:
		return "Validation"
	default:
		return "Unknown"
	}
}
