package metrics

import (
	"path"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ketches/helm-operator/chartcache/server"
)

// Calls measures gRPC calls.
type Calls struct{ handling *prometheus.HistogramVec }

// NewCalls makes the metric and registers it.
func NewCalls(registry prometheus.Registerer) (*Calls, error) {
	c := &Calls{handling: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "chartcache_grpc_handling_seconds", Help: "Time of gRPC calls, streams from start to end.",
		// Answers from memory take less than a millisecond, downloads from upstream minutes.
		Buckets: []float64{.0005, .002, .01, .05, .25, 1, 5, 30, 120, 600},
	}, []string{"method", "code"})}
	return c, register(registry, c.handling)
}

// Observe counts one call.
func (c *Calls) Observe(report server.CallReport) {
	c.handling.WithLabelValues(path.Base(report.Method), report.Code.String()).Observe(report.Took.Seconds())
}
