package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/controller"
	"github.com/ketches/helm-operator/services/internal/buildinfo"
)

var _ controller.ChartCache = (*observedClient)(nil)

// observedClient is a client of chartcache whose calls are counted. Its connection state is a metric, and not a part of
// readiness: an operator that cannot ask chartcache still guards what is deployed, and a restart would not mend it.
type observedClient struct {
	*client.Client
	now       func() time.Time
	connected prometheus.Gauge
	duration  *prometheus.HistogramVec
}

// connect prepares the connection to chartcache. It does not wait for it.
func connect(opts *options, log zerolog.Logger) (*client.Client, error) {
	creds, err := opts.chartcacheTLS.Credentials(log)
	if err != nil {
		return nil, err
	}
	connection, err := client.New(client.Config{
		Target: opts.chartcacheAddress, TransportCredentials: creds, UserAgent: buildinfo.Get().UserAgent(process),
	})
	if err != nil {
		return nil, fmt.Errorf("--chartcache-address: %w", err)
	}
	return connection, nil
}

// newObservedClient wraps a client and registers its metrics.
func newObservedClient(c *client.Client, now func() time.Time, registry prometheus.Registerer) (*observedClient, error) {
	o := &observedClient{
		Client: c,
		now:    now,
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "helm_operator_chartcache_connected",
			Help: "1 while the watch of chartcache is connected. A replica that stands by does not watch: use max().",
		}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "helm_operator_chartcache_request_duration_seconds",
			Help:    "Duration of calls of chartcache by method and by reason of the failure: OK, UNREACHABLE, or chartcache's own.",
			Buckets: []float64{.005, .05, .25, 1, 5, 30, 120},
		}, []string{"method", "reason"}),
	}
	for _, collector := range []prometheus.Collector{o.connected, o.duration} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// GetRepository implements controller.ChartCache.
func (o *observedClient) GetRepository(ctx context.Context, source client.Source) (client.Repository, error) {
	return observe(o, "GetRepository", func() (client.Repository, error) { return o.Client.GetRepository(ctx, source) })
}

// ListCharts implements controller.ChartCache.
func (o *observedClient) ListCharts(ctx context.Context, source client.Source, options client.ListChartsOptions) (client.ChartList, error) {
	return observe(o, "ListCharts", func() (client.ChartList, error) { return o.Client.ListCharts(ctx, source, options) })
}

// ListVersions implements controller.ChartCache.
func (o *observedClient) ListVersions(ctx context.Context, source client.Source, chart string, options client.ListVersionsOptions) (client.VersionList, error) {
	return observe(o, "ListVersions", func() (client.VersionList, error) {
		return o.Client.ListVersions(ctx, source, chart, options)
	})
}

// Sync implements controller.ChartCache.
func (o *observedClient) Sync(ctx context.Context, source client.Source) (client.SyncResult, error) {
	return observe(o, "Sync", func() (client.SyncResult, error) { return o.Client.Sync(ctx, source) })
}

// Resolve implements controller.ChartCache.
func (o *observedClient) Resolve(ctx context.Context, request client.ChartRequest) (client.Resolved, error) {
	return observe(o, "Resolve", func() (client.Resolved, error) { return o.Client.Resolve(ctx, request) })
}

// Download implements controller.ChartCache.
func (o *observedClient) Download(ctx context.Context, request client.ChartRequest, w io.Writer) (client.Downloaded, error) {
	return observe(o, "Download", func() (client.Downloaded, error) { return o.Client.Download(ctx, request, w) })
}

// Detail implements controller.ChartCache.
func (o *observedClient) Detail(ctx context.Context, request client.ChartRequest, parts ...client.Part) (client.Detail, error) {
	return observe(o, "Detail", func() (client.Detail, error) { return o.Client.Detail(ctx, request, parts...) })
}

// Watch implements controller.ChartCache.
func (o *observedClient) Watch(ctx context.Context, handle func(client.Event)) error {
	defer o.connected.Set(0)
	return o.Client.Watch(ctx, func(event client.Event) {
		switch event.(type) {
		case *client.Up:
			o.connected.Set(1)
		case *client.Down:
			o.connected.Set(0)
		}
		handle(event)
	})
}

// observe measures one call.
func observe[T any](o *observedClient, method string, call func() (T, error)) (T, error) {
	started := o.now()
	answer, err := call()
	o.duration.WithLabelValues(method, reasonLabel(err)).Observe(o.now().Sub(started).Seconds())
	return answer, err
}

func reasonLabel(err error) string {
	switch {
	case err == nil:
		return "OK"
	case client.IsUnreachable(err):
		return "UNREACHABLE"
	default:
		return strings.TrimPrefix(client.ReasonOf(err).String(), "ERROR_REASON_")
	}
}
