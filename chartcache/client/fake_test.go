package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// fakeServer answers by functions; one that is not set is UNIMPLEMENTED.
type fakeServer struct {
	chartcachev1.UnimplementedChartCacheServiceServer
	getRepository    func(context.Context, *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error)
	listRepositories func(*chartcachev1.ListRepositoriesRequest) (*chartcachev1.ListRepositoriesResponse, error)
	sync             func(*chartcachev1.SyncRepositoryRequest) (*chartcachev1.SyncRepositoryResponse, error)
	listCharts       func(*chartcachev1.ListChartsRequest) (*chartcachev1.ListChartsResponse, error)
	listVersions     func(*chartcachev1.ListVersionsRequest) (*chartcachev1.ListVersionsResponse, error)
	resolve          func(*chartcachev1.ResolveVersionRequest) (*chartcachev1.ResolveVersionResponse, error)
	detail           func(*chartcachev1.GetChartDetailRequest) (*chartcachev1.GetChartDetailResponse, error)
	download         func(*chartcachev1.DownloadChartRequest, grpc.ServerStreamingServer[chartcachev1.DownloadChartResponse]) error
	watch            func(*chartcachev1.WatchRepositoriesRequest, grpc.ServerStreamingServer[chartcachev1.WatchRepositoriesResponse]) error
}

func (f *fakeServer) GetRepository(ctx context.Context, r *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
	return f.getRepository(ctx, r)
}

func (f *fakeServer) ListRepositories(_ context.Context, r *chartcachev1.ListRepositoriesRequest) (*chartcachev1.ListRepositoriesResponse, error) {
	return f.listRepositories(r)
}

func (f *fakeServer) SyncRepository(_ context.Context, r *chartcachev1.SyncRepositoryRequest) (*chartcachev1.SyncRepositoryResponse, error) {
	return f.sync(r)
}

func (f *fakeServer) ListCharts(_ context.Context, r *chartcachev1.ListChartsRequest) (*chartcachev1.ListChartsResponse, error) {
	return f.listCharts(r)
}

func (f *fakeServer) ListVersions(_ context.Context, r *chartcachev1.ListVersionsRequest) (*chartcachev1.ListVersionsResponse, error) {
	return f.listVersions(r)
}

func (f *fakeServer) ResolveVersion(_ context.Context, r *chartcachev1.ResolveVersionRequest) (*chartcachev1.ResolveVersionResponse, error) {
	return f.resolve(r)
}

func (f *fakeServer) GetChartDetail(_ context.Context, r *chartcachev1.GetChartDetailRequest) (*chartcachev1.GetChartDetailResponse, error) {
	return f.detail(r)
}

func (f *fakeServer) DownloadChart(r *chartcachev1.DownloadChartRequest, s grpc.ServerStreamingServer[chartcachev1.DownloadChartResponse]) error {
	return f.download(r, s)
}

func (f *fakeServer) WatchRepositories(r *chartcachev1.WatchRepositoriesRequest, s grpc.ServerStreamingServer[chartcachev1.WatchRepositoriesResponse]) error {
	return f.watch(r, s)
}

// instantly is a back-off that does not wait.
func instantly() Backoff {
	return Backoff{
		Rand:  func() float64 { return 0 },
		After: func(time.Duration) <-chan time.Time { c := make(chan time.Time, 1); c <- time.Time{}; return c },
	}
}

// start serves a fake over an in-memory connection and returns a client of it.
func start(t *testing.T, fake *fakeServer) *Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	chartcachev1.RegisterChartCacheServiceServer(server, fake)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return dial(t, Config{Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }})
}

func dial(t *testing.T, cfg Config) *Client {
	t.Helper()
	cfg.Target = "passthrough:///chartcache"
	cfg.Backoff = instantly()
	client, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// answered is an error as the server of chartcache makes it, with the trailer that forbids gRPC's own retries.
func answered(t *testing.T, code codes.Code, reason, message string, retryAfter time.Duration) error {
	t.Helper()
	s := status.New(code, message)
	s, err := s.WithDetails(&errdetails.ErrorInfo{Domain: "chartcache", Reason: reason})
	require.NoError(t, err)
	if retryAfter > 0 {
		s, err = s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
		require.NoError(t, err)
	}
	return s.Err()
}

func forbidRetry(ctx context.Context) error {
	return grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "-1"))
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
