package server

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// within is how long a test waits for what should happen at once.
const within = 20 * time.Second

// largeChart is a catalog with one chart, whose detail has several MiB: far more than a connection takes of what nobody
// reads.
func largeChart(t *testing.T) *fakeCatalog {
	t.Helper()
	data := packed(t, "web/Chart.yaml", "name: web", "web/crds/a.yaml", string(bytes.Repeat([]byte("a"), 3<<20)))
	return &fakeCatalog{
		resolve: func(catalog.Source, catalog.ResolveQuery) (catalog.Resolved, error) {
			return catalog.Resolved{Entry: index.Entry{Chart: "web", Version: "1.2.3", Digest: someDigest}}, nil
		},
		fetch: func(catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
			return newTarball(data), catalog.ChartInfo{SizeBytes: int64(len(data))}, nil
		},
	}
}

func getWeb() *chartcachev1.GetChartDetailRequest {
	return &chartcachev1.GetChartDetailRequest{
		Source: &chartcachev1.GetChartDetailRequest_Repository{Repository: named("apps", "charts")}, Chart: "web",
	}
}

// unread makes a call and does not read what it answers.
func (f *fixture) unread(ctx context.Context, t *testing.T, fullMethod string, request any) grpc.ClientStream {
	t.Helper()
	stream, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, fullMethod)
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(request))
	require.NoError(t, stream.CloseSend())
	return stream
}

// happens waits until a call was said to have come so far.
func (f *fixture) happens(t *testing.T, word string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Contains(c, f.metrics.all(), word) }, within, time.Millisecond)
}

func TestTheTurnOfACallLastsUntilItsAnswerIsWritten(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, stream grpc.ClientStream, cancel context.CancelFunc, f *fixture){
		"the caller reads it": func(t *testing.T, stream grpc.ClientStream, _ context.CancelFunc, _ *fixture) {
			require.NoError(t, stream.RecvMsg(&chartcachev1.GetChartDetailResponse{}))
		},
		"the caller goes": func(_ *testing.T, _ grpc.ClientStream, cancel context.CancelFunc, _ *fixture) { cancel() },
		"the connection breaks": func(t *testing.T, _ grpc.ClientStream, _ context.CancelFunc, f *fixture) {
			require.NoError(t, f.conn.Close())
			f.connect(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := startWith(t, Config{Details: 1, Catalog: largeChart(t)})
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			stream := f.unread(ctx, t, chartcachev1.ChartCacheService_GetChartDetail_FullMethodName, getWeb())
			f.happens(t, "GetChartDetail OK")
			_, err := f.client.GetChartDetail(testContext(t), getWeb())
			require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
			end(t, stream, cancel, f)
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				runtime.GC() // what gRPC forgot is given back with its memory
				_, err := f.client.GetChartDetail(testContext(t), getWeb())
				assert.NoError(c, err)
			}, within, time.Millisecond)
			assert.Eventually(t, func() bool { return f.server.calls.details.in.Load() == 0 }, within, time.Millisecond, "and once only")
		})
	}
}

func TestDetailsHaveABoundOfTheirOwn(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(finish) })
	c := largeChart(t)
	c.repository = func(context.Context, catalog.Source) (catalog.State, error) { return catalog.State{}, nil }
	resolve := c.resolve
	c.resolve = func(s catalog.Source, q catalog.ResolveQuery) (catalog.Resolved, error) {
		close(began)
		<-finish
		return resolve(s, q)
	}
	f := startWith(t, Config{Calls: 1, Details: 1, Catalog: c})
	defer let()
	answered := make(chan error, 1)
	go func() {
		_, err := f.client.GetChartDetail(testContext(t), getWeb())
		answered <- err
	}()
	<-began
	_, err := f.client.GetChartDetail(testContext(t), getWeb())
	assert.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	_, err = f.client.GetRepository(testContext(t), getCharts())
	require.NoError(t, err, "other calls have one of theirs")
	let()
	assert.NoError(t, <-answered)
}

// endless is a subscription that always has one more event.
type endless struct{}

func (endless) Next(ctx context.Context) (catalog.Event, error) {
	return catalog.Event{Kind: catalog.EventBookmark, Token: string(bytes.Repeat([]byte("t"), 1000))}, ctx.Err()
}

func TestAStreamWhoseCallerDoesNotReadEndsWithItsTime(t *testing.T) {
	table := methods()
	const name = chartcachev1.ChartCacheService_DownloadChart_FullMethodName
	m := table[name]
	m.timeout = 50 * time.Millisecond
	table[name] = m
	content := newTarball(make([]byte, 8<<20))
	c := largeChart(t)
	c.fetch = func(catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
		return content, catalog.ChartInfo{SizeBytes: 8 << 20}, nil
	}
	f := startTable(t, Config{Catalog: c}, table)
	f.unread(testContext(t), t, name, &chartcachev1.DownloadChartRequest{
		Source: &chartcachev1.DownloadChartRequest_Repository{Repository: named("apps", "charts")}, Chart: "web",
	})
	select {
	case <-content.closed:
	case <-time.After(within):
		require.FailNow(t, "the download goes on")
	}
	f.happens(t, "DownloadChart DeadlineExceeded")
	assert.Eventually(t, func() bool { return f.server.calls.others.in.Load() == 0 }, within, time.Millisecond, "its turn is given back")
}

func TestAWatchWhoseCallerDoesNotReadEndsWhenTheServerStops(t *testing.T) {
	f := startWith(t, Config{Catalog: &fakeCatalog{repositories: noStates, watch: func(string) Subscription { return endless{} }}})
	f.unread(testContext(t), t, chartcachev1.ChartCacheService_WatchRepositories_FullMethodName, &chartcachev1.WatchRepositoriesRequest{})
	f.happens(t, "WatchRepositories sent")
	ctx, cutOff := context.WithCancel(testContext(t))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.server.Stop(ctx)
	}()
	f.happens(t, "WatchRepositories Unavailable")
	assert.Eventually(t, func() bool { return f.server.calls.watches.in.Load() == 0 }, within, time.Millisecond, "its handler has ended")
	cutOff()
	<-stopped
}
