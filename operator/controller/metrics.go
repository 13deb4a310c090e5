package controller

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// reconcileMetrics counts reconciles, under the names of the original project.
type reconcileMetrics struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
	now      func() time.Time
}

func newReconcileMetrics(registry prometheus.Registerer, now func() time.Time) (*reconcileMetrics, error) {
	m := &reconcileMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_operator_reconcile_total", Help: "Reconciles, by outcome.",
		}, []string{"controller", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "helm_operator_reconcile_duration_seconds", Help: "How long reconciles took.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10},
		}, []string{"controller"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_operator_reconcile_errors_total", Help: "Reconciles that failed, by kind of error.",
		}, []string{"controller", "error_type"}),
		now: now,
	}
	for _, collector := range []prometheus.Collector{m.total, m.duration, m.errors} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// measure returns a reconciler that is counted.
func (m *reconcileMetrics) measure(controller string, inner reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
		begin := m.now()
		result, err := inner.Reconcile(ctx, request)
		m.duration.WithLabelValues(controller).Observe(m.now().Sub(begin).Seconds())
		outcome := "success"
		if err != nil {
			outcome = "error"
			m.errors.WithLabelValues(controller, errorType(err)).Inc()
		}
		m.total.WithLabelValues(controller, outcome).Inc()
		return result, err
	})
}

// errorType is the kind of an error of the API server, in the words of the original project.
func errorType(err error) string {
	switch {
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return "Timeout"
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return "Auth"
	case apierrors.IsNotFound(err):
		return "NotFound"
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return "Validation"
	case apierrors.ReasonForError(err) == "":
		return "Network" // the API server did not answer
	}
	return "Unknown"
}
