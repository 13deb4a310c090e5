package metrics

import (
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/ketches/helm-operator/chartcache/server"
)

// Calls measures gRPC calls. It is the Metrics of a server.
type Calls struct {
	handling *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	received *prometheus.CounterVec
	sent     *prometheus.CounterVec
}

// NewCalls makes the metrics and registers them.
func NewCalls(registry prometheus.Registerer) (*Calls, error) {
	method := []string{"method"}
	c := &Calls{
		handling: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "chartcache_grpc_handling_seconds", Help: "Time of gRPC calls, streams from start to end.",
			// Answers from memory take less than a millisecond, downloads from upstream minutes.
			Buckets: []float64{.0005, .002, .01, .05, .25, 1, 5, 30, 120, 600},
		}, []string{"method", "code"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "chartcache_grpc_in_flight", Help: "gRPC calls in progress, watches included.",
		}, method),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_grpc_messages_received_total", Help: "Messages of gRPC calls that came from callers.",
		}, method),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_grpc_messages_sent_total", Help: "Messages of gRPC calls that went to callers, chunks of charts included.",
		}, method),
	}
	return c, register(registry, c.handling, c.inFlight, c.received, c.sent)
}

// Method implements server.Metrics. The series of the method are there from now on, with the value 0.
func (c *Calls) Method(fullMethod string) server.MethodMetrics {
	labels := prometheus.Labels{"method": path.Base(fullMethod)}
	return &methodCalls{
		handling: c.handling.MustCurryWith(labels),
		inFlight: c.inFlight.With(labels), received: c.received.With(labels), sent: c.sent.With(labels),
	}
}

// methodCalls are the series of one method.
type methodCalls struct {
	handling       prometheus.ObserverVec
	inFlight       prometheus.Gauge
	received, sent prometheus.Counter
}

// Began implements server.MethodMetrics.
func (m *methodCalls) Began() { m.inFlight.Inc() }

// Received implements server.MethodMetrics.
func (m *methodCalls) Received() { m.received.Inc() }

// Sent implements server.MethodMetrics.
func (m *methodCalls) Sent() { m.sent.Inc() }

// Ended implements server.MethodMetrics.
func (m *methodCalls) Ended(code codes.Code, took time.Duration) {
	m.inFlight.Dec()
	m.handling.WithLabelValues(code.String()).Observe(took.Seconds())
}
