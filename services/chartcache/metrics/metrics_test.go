package metrics

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// series returns every sample of a registry, as "name{label="value"}" and its value; of a histogram its count.
func series(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := []string{}
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			sort.Strings(labels)
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			all[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return all
}

func report(source catalog.Source, kind chartcachev1.RepositoryType, changed bool, err error) catalog.SyncReport {
	return catalog.SyncReport{Took: 2 * time.Second, Err: err, Changed: changed, State: catalog.State{Source: source, Type: kind}}
}

func TestSyncsAreCountedAndGoWithTheirRepository(t *testing.T) {
	const http, oci = chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP, chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI
	registry := prometheus.NewRegistry()
	m, err := NewRepositories(registry)
	require.NoError(t, err)
	one, two := catalog.ByRef("apps", "one"), catalog.ByRef("apps", "two")
	m.Synced(report(one, http, true, nil))
	m.Synced(report(one, http, false, nil))
	m.Synced(report(two, oci, false, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, "refused")))
	m.Synced(report(catalog.ByURL("https://charts.example.com"), http, true, nil))
	m.ChartServed(one, true)
	m.ChartServed(one, false)
	want := map[string]float64{
		`helm_repository_sync_duration_seconds{namespace="apps",repository="one",type="helm"}`:       2,
		`helm_repository_sync_duration_seconds{namespace="apps",repository="two",type="oci"}`:        1,
		`helm_repository_sync_total{namespace="apps",repository="one",status="success",type="helm"}`: 2,
		`helm_repository_sync_total{namespace="apps",repository="two",status="failure",type="oci"}`:  1,
		`helm_repository_sync_errors_total{error_type="Auth",namespace="apps",repository="two"}`:     1,
		`chartcache_repository_syncs_unchanged_total{namespace="apps",repository="one"}`:             1,
		`chartcache_anonymous_syncs_total{status="success"}`:                                         1,
		`chartcache_charts_served_total{result="hit"}`:                                               1,
		`chartcache_charts_served_total{result="miss"}`:                                              1,
	}
	assert.Equal(t, want, series(t, registry))

	m.Removed(two)
	m.Removed(catalog.ByURL("https://charts.example.com"))
	for name := range want {
		if strings.Contains(name, `"two"`) {
			delete(want, name)
		}
	}
	assert.Equal(t, want, series(t, registry))
}

func TestTheBucketsOfTheOriginal(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewRepositories(registry)
	require.NoError(t, err)
	m.Synced(report(catalog.ByRef("apps", "one"), chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP, true, nil))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != "helm_repository_sync_duration_seconds" {
			continue
		}
		bounds := []float64{}
		for _, b := range family.GetMetric()[0].GetHistogram().GetBucket() {
			bounds = append(bounds, b.GetUpperBound())
		}
		assert.Equal(t, []float64{.1, .5, 1, 5, 10, 30, 60, 120}, bounds)
	}
}

func TestEveryReasonHasAnErrorType(t *testing.T) {
	for value, name := range chartcachev1.ErrorReason_name {
		kind := errorType(cacheerr.New(chartcachev1.ErrorReason(value), "failed"))
		assert.Contains(t, []string{"Network", "Auth", "NotFound", "Validation", "Timeout", "Unknown"}, kind, name)
	}
	timeout := cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, context.DeadlineExceeded, "no answer")
	assert.Equal(t, "Timeout", errorType(timeout))
	assert.Equal(t, "Unknown", errorType(errors.New("other")))
}

type fakeStates []catalog.State

func (f fakeStates) Repositories(string) []catalog.State { return f }

type fakeBlobs struct{}

func (fakeBlobs) Usage() (int64, int) { return 1000, 3 }

func (fakeBlobs) Evictions() int64 { return 7 }

func TestStateIsReadAtEachScrape(t *testing.T) {
	registry := prometheus.NewRegistry()
	at := time.Unix(1700000000, 0)
	require.NoError(t, registry.Register(NewState(fakeStates{
		{
			Source: catalog.ByRef("apps", "one"), State: chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED,
			Syncing: true, Charts: 2, Versions: 5, IndexBytes: 900, Rejected: 1, LastCheck: at, Revision: catalog.Revision{Name: "r", ObservedAt: at},
		},
		{Source: catalog.ByRef("apps", "new"), State: chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING},
		{Source: catalog.ByURL("https://charts.example.com"), Charts: 9},
	}, fakeBlobs{})))
	assert.Equal(t, map[string]float64{
		`helm_repository_charts_discovered{namespace="apps",repository="one"}`:                  2,
		`chartcache_repository_versions{namespace="apps",repository="one"}`:                     5,
		`chartcache_repository_index_bytes{namespace="apps",repository="one"}`:                  900,
		`chartcache_repository_rejected_entries{namespace="apps",repository="one"}`:             1,
		`chartcache_repository_ready{namespace="apps",repository="one"}`:                        1,
		`chartcache_repository_syncing{namespace="apps",repository="one"}`:                      1,
		`chartcache_repository_last_check_timestamp_seconds{namespace="apps",repository="one"}`: 1700000000,
		`chartcache_repository_observed_timestamp_seconds{namespace="apps",repository="one"}`:   1700000000,
		`helm_repository_charts_discovered{namespace="apps",repository="new"}`:                  0,
		`chartcache_repository_versions{namespace="apps",repository="new"}`:                     0,
		`chartcache_repository_index_bytes{namespace="apps",repository="new"}`:                  0,
		`chartcache_repository_rejected_entries{namespace="apps",repository="new"}`:             0,
		`chartcache_repository_ready{namespace="apps",repository="new"}`:                        0,
		`chartcache_repository_syncing{namespace="apps",repository="new"}`:                      0,
		`chartcache_blob_bytes{}`:           1000,
		`chartcache_blobs{}`:                3,
		`chartcache_blob_evictions_total{}`: 7,
	}, series(t, registry))
}

func TestCallsAreMeasuredByMethodAndCode(t *testing.T) {
	registry := prometheus.NewRegistry()
	c, err := NewCalls(registry)
	require.NoError(t, err)
	m := c.Method("/chartcache.v1.ChartCacheService/ListCharts")
	for range 3 {
		m.Began()
		m.Received()
	}
	m.Sent()
	m.Ended(codes.OK, time.Second)
	m.Ended(codes.NotFound, time.Second)
	assert.Equal(t, map[string]float64{
		`chartcache_grpc_handling_seconds{code="OK",method="ListCharts"}`:       1,
		`chartcache_grpc_handling_seconds{code="NotFound",method="ListCharts"}`: 1,
		`chartcache_grpc_in_flight{method="ListCharts"}`:                        1,
		`chartcache_grpc_messages_received_total{method="ListCharts"}`:          3,
		`chartcache_grpc_messages_sent_total{method="ListCharts"}`:              1,
	}, series(t, registry))
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRequestsToUpstreamAreCountedForABoundedNumberOfHosts(t *testing.T) {
	registry := prometheus.NewRegistry()
	u, err := NewUpstream(registry)
	require.NoError(t, err)
	transport := u.Wrap(roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Host == "down.example.com" {
			return nil, errors.New("connection refused")
		}
		return &http.Response{StatusCode: http.StatusNotModified, Body: http.NoBody}, nil
	}))
	get := func(host string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/index.yaml?token=secret", nil)
		require.NoError(t, err)
		response, err := transport.RoundTrip(request)
		if err == nil {
			require.NoError(t, response.Body.Close())
		}
	}
	get("up.example.com")
	get("up.example.com")
	get("down.example.com")
	for i := range maxHosts + 10 {
		get(fmt.Sprintf("host-%d.example.com", i))
	}
	got := series(t, registry)
	assert.InDelta(t, 2, got[`chartcache_upstream_requests_total{code="304",host="up.example.com"}`], 0)
	assert.InDelta(t, 1, got[`chartcache_upstream_requests_total{code="error",host="down.example.com"}`], 0)
	assert.InDelta(t, 12, got[`chartcache_upstream_requests_total{code="304",host="other"}`], 0)
	requests, received := 0, 0
	for name := range got {
		requests += strings.Count(name, "chartcache_upstream_requests_total{")
		received += strings.Count(name, "chartcache_upstream_received_bytes_total{")
	}
	assert.Equal(t, maxHosts+1, requests)
	assert.Equal(t, maxHosts, received, "a host that does not answer sends nothing")
}

func TestBytesOfUpstreamAreCountedAsTheyCome(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zipped := gzip.NewWriter(w)
		_, _ = zipped.Write(bytes.Repeat([]byte("a"), 1<<20))
		_ = zipped.Close()
	}))
	t.Cleanup(server.Close)
	registry := prometheus.NewRegistry()
	u, err := NewUpstream(registry)
	require.NoError(t, err)
	transport := u.Wrap(&http.Transport{DisableCompression: true})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	require.NoError(t, err)
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	counted := fmt.Sprintf("chartcache_upstream_received_bytes_total{host=%q}", request.URL.Host)
	assert.Zero(t, series(t, registry)[counted])
	first := make([]byte, 10)
	_, err = io.ReadFull(response.Body, first)
	require.NoError(t, err)
	assert.InDelta(t, 10, series(t, registry)[counted], 0, "before the end")
	rest, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.InDelta(t, 10+len(rest), series(t, registry)[counted], 0)
	assert.Less(t, len(rest), 1<<20, "they are counted compressed")
}

// TestEveryMetricIsDocumentedAndNamedWell runs the checks that Prometheus' own tools make of names, units and help texts.
func TestEveryMetricIsDocumentedAndNamedWell(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewRepositories(registry)
	require.NoError(t, err)
	u, err := NewUpstream(registry)
	require.NoError(t, err)
	c, err := NewCalls(registry)
	require.NoError(t, err)
	at := time.Unix(1700000000, 0)
	one := catalog.State{Source: catalog.ByRef("apps", "one"), LastCheck: at, Revision: catalog.Revision{ObservedAt: at}}
	require.NoError(t, registry.Register(NewState(fakeStates{one}, fakeBlobs{})))
	m.Synced(report(one.Source, one.Type, false, nil))
	m.Synced(report(one.Source, one.Type, false, errors.New("failed")))
	m.Synced(report(catalog.ByURL("https://charts.example.com"), one.Type, true, nil))
	m.ChartServed(one.Source, true)
	c.Method("/chartcache.v1.ChartCacheService/ListCharts").Ended(codes.OK, time.Second)
	u.requests.WithLabelValues("host", "200").Inc()
	u.received.WithLabelValues("host").Inc()

	families, err := registry.Gather()
	require.NoError(t, err)
	assert.Len(t, families, 23, "none is left out here")
	for _, family := range families {
		assert.NotEmpty(t, family.GetHelp(), family.GetName())
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestAHostThatIsNotTextGetsALabelAllTheSame(t *testing.T) {
	hosts := hostSet{known: map[string]bool{}}
	assert.Equal(t, "_.example.com", hosts.label("\xff.example.com"))
}
