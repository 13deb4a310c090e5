package release

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Metrics counts what happens to releases, under the names of the original project. The series of an object go when the
// object goes.
type Metrics struct {
	duration  *prometheus.HistogramVec
	total     *prometheus.CounterVec
	errors    *prometheus.CounterVec
	rollbacks *prometheus.CounterVec
	infos     *prometheus.GaugeVec

	mu    sync.Mutex // guards known
	known map[types.NamespacedName]infoLabels
}

type infoLabels struct{ chart, version, status string }

// NewMetrics returns the metrics, registered.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "helm_release_operation_duration_seconds", Help: "How long Helm operations took.",
			Buckets: []float64{1, 5, 10, 30, 60, 120, 300, 600},
		}, []string{"release", "namespace", "operation"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_release_operation_total", Help: "Helm operations that ended, by outcome.",
		}, []string{"release", "namespace", "operation", "status"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_release_operation_errors_total", Help: "Helm operations that failed, by kind of error.",
		}, []string{"release", "namespace", "operation", "error_type"}),
		rollbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_release_rollbacks_total", Help: "Rollbacks after failed upgrades, by outcome.",
		}, []string{"release", "namespace", "status"}),
		infos: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "helm_release_info", Help: "The newest revision of a release; always 1.",
		}, []string{"release", "namespace", "chart", "version", "status"}),
		known: map[types.NamespacedName]infoLabels{},
	}
	for _, collector := range []prometheus.Collector{m.duration, m.total, m.errors, m.rollbacks, m.infos} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// operation counts an operation. An interrupted one neither succeeded nor failed.
func (m *Metrics) operation(key types.NamespacedName, o *Outcome) {
	if o.Interrupted {
		return
	}
	kind := strings.ToLower(string(o.Operation.Type))
	status := "success"
	if o.Problem != nil {
		status = "failure"
		m.errors.WithLabelValues(key.Name, key.Namespace, kind, errorType(o)).Inc()
	}
	m.duration.WithLabelValues(key.Name, key.Namespace, kind).Observe(o.Finished.Sub(o.Operation.StartedAt.Time).Seconds())
	m.total.WithLabelValues(key.Name, key.Namespace, kind, status).Inc()
	if o.Operation.Type == v1alpha1.OperationRollback {
		m.rollbacks.WithLabelValues(key.Name, key.Namespace, status).Inc()
	}
}

// errorType is the kind of a failure, in the words of the original project.
func errorType(o *Outcome) string {
	switch {
	case o.TimedOut:
		return "Timeout"
	case o.Problem.Reason == v1alpha1.ReasonAuthenticationFailed:
		return "Auth"
	case o.Problem.Reason == v1alpha1.ReasonSyncFailed, o.Problem.Reason == v1alpha1.ReasonDependencyNotReady:
		return "Network"
	case o.Problem.Reason == v1alpha1.ReasonChartNotFound, o.Problem.Reason == v1alpha1.ReasonRepositoryNotFound:
		return "NotFound"
	case o.Problem.Reason == v1alpha1.ReasonConfigurationError, o.Problem.Reason == v1alpha1.ReasonValuesError:
		return "Validation"
	}
	return "Unknown"
}

// info shows the newest revision of a release.
func (m *Metrics) info(key types.NamespacedName, release *v1alpha1.HelmReleaseInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, was := m.known[key]
	if release == nil || release.Chart == "" {
		if was {
			delete(m.known, key)
			m.infos.DeleteLabelValues(key.Name, key.Namespace, old.chart, old.version, old.status)
		}
		return
	}
	now := infoLabels{status: release.Status}
	now.chart, now.version = splitChart(release.Chart)
	if was && old != now {
		m.infos.DeleteLabelValues(key.Name, key.Namespace, old.chart, old.version, old.status)
	}
	if !was {
		// From zero on, so that increase() sees the first one, too.
		for _, status := range []string{"success", "failure"} {
			m.rollbacks.WithLabelValues(key.Name, key.Namespace, status)
		}
	}
	m.known[key] = now
	m.infos.WithLabelValues(key.Name, key.Namespace, now.chart, now.version, now.status).Set(1)
}

// splitChart parts "name-version". Names may hold hyphens, and so may versions; a version begins with a digit, or with a
// v before a digit, and the first such part that is followed by a dot begins it.
func splitChart(chart string) (name, version string) {
	for i := 1; i < len(chart)-1; i++ {
		if chart[i] != '-' {
			continue
		}
		rest := strings.TrimPrefix(chart[i+1:], "v")
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits > 0 && rest[digits] == '.' {
			return chart[:i], chart[i+1:]
		}
	}
	return chart, ""
}

// forget drops the series of an object.
func (m *Metrics) forget(key types.NamespacedName) {
	m.mu.Lock()
	delete(m.known, key)
	m.mu.Unlock()
	labels := prometheus.Labels{"release": key.Name, "namespace": key.Namespace}
	m.duration.DeletePartialMatch(labels)
	m.total.DeletePartialMatch(labels)
	m.errors.DeletePartialMatch(labels)
	m.rollbacks.DeletePartialMatch(labels)
	m.infos.DeletePartialMatch(labels)
}
