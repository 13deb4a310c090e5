package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func getCharts() *chartcachev1.GetRepositoryRequest {
	return &chartcachev1.GetRepositoryRequest{Source: &chartcachev1.GetRepositoryRequest_Repository{Repository: named("apps", "charts")}}
}

func TestTheTableHasEveryRegisteredMethodAndNoOther(t *testing.T) {
	registered := map[string]bool{}
	for service, info := range New(Config{Catalog: &fakeCatalog{}}).grpc.GetServiceInfo() {
		for _, m := range info.Methods {
			registered["/"+service+"/"+m.Name] = true
		}
	}
	require.NotEmpty(t, registered)
	table := methods()
	for name := range registered {
		assert.Contains(t, table, name, "a registered method is missing in the table")
	}
	for name, m := range table {
		assert.Contains(t, registered, name, "the table has a method that nobody serves")
		assert.NotEmpty(t, m.class, name)
		assert.True(t, m.timeout > 0 || m.class == watch, "%s has no timeout", name)
	}
}

func TestAMethodThatTheTableLacksIsRefused(t *testing.T) {
	c := &calls{methods: map[string]observed{}}
	_, err := c.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/a/B"}, func(context.Context, any) (any, error) {
		t.Error("it was called")
		return nil, nil
	})
	assert.Equal(t, codes.Unimplemented, status.Code(err))
	err = c.stream(nil, nil, &grpc.StreamServerInfo{FullMethod: "/a/B"}, func(any, grpc.ServerStream) error {
		t.Error("it was called")
		return nil
	})
	assert.Equal(t, codes.Unimplemented, status.Code(err))
}

func TestHealthSaysWhatItWasTold(t *testing.T) {
	f := start(t, &fakeCatalog{})
	health := healthv1.NewHealthClient(f.conn)
	for _, service := range []string{"", "chartcache.v1.ChartCacheService"} {
		answer, err := health.Check(testContext(t), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		assert.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, answer.GetStatus())
	}
	f.server.SetServing(true)
	answer, err := health.Check(testContext(t), &healthv1.HealthCheckRequest{Service: "chartcache.v1.ChartCacheService"})
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, answer.GetStatus())
}

func TestReflectionListsTheService(t *testing.T) {
	f := start(t, &fakeCatalog{})
	stream, err := reflectionv1.NewServerReflectionClient(f.conn).ServerReflectionInfo(testContext(t))
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	names := []string{}
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	assert.Contains(t, names, "chartcache.v1.ChartCacheService")
	assert.Contains(t, names, "grpc.health.v1.Health")
	require.NoError(t, stream.CloseSend())
}

func TestRequestsAreValidatedBeforeTheCatalogSeesThem(t *testing.T) {
	f := start(t, &fakeCatalog{}) // panics when it is asked
	_, err := f.client.GetRepository(testContext(t), &chartcachev1.GetRepositoryRequest{})
	assert.Equal(t, codes.InvalidArgument, status.Code(err))

	download, err := f.client.DownloadChart(testContext(t), &chartcachev1.DownloadChartRequest{})
	require.NoError(t, err)
	_, err = download.Recv()
	assert.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestAPanicIsAFaultOfOneCallAndIsLogged(t *testing.T) {
	f := start(t, &fakeCatalog{repository: func(context.Context, catalog.Source) (catalog.State, error) { panic("a bug with hunter2") }})
	for range 2 {
		_, err := f.client.GetRepository(testContext(t), getCharts())
		require.Equal(t, codes.Internal, status.Code(err))
		assert.NotContains(t, err.Error(), "hunter2")
	}
	assert.Contains(t, f.logs.String(), "a bug")
	assert.Contains(t, f.logs.String(), "server_test.go", "the log must have the stack")
}

func TestTheCauseOfAnErrorIsLoggedAndNotSent(t *testing.T) {
	f := start(t, &fakeCatalog{repository: func(context.Context, catalog.Source) (catalog.State, error) {
		return catalog.State{}, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, errors.New("no space left on device"), "the state cannot be written")
	}})
	_, err := f.client.GetRepository(testContext(t), getCharts())
	assert.Equal(t, "the state cannot be written", status.Convert(err).Message())
	assert.Contains(t, f.logs.String(), "no space left on device")
}

func TestAnswersThatAPolicyOfGRPCWouldRepeatForbidItAndOthersSayNothing(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"upstream is down":  {failure(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, "upstream is down"), []string{"-1"}},
		"there is no chart": {failure(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, "there is no chart"), nil},
		"a fault":           {failure(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, "a fault"), nil},
		"it stops":          {errStopping, nil},
		"it is busy":        {busy(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, &fakeCatalog{every: func(context.Context) error { return test.err }})
			var trailer metadata.MD
			_, err := f.client.GetRepository(testContext(t), getCharts(), grpc.Trailer(&trailer))
			require.Equal(t, status.Code(statusOf(test.err).Err()), status.Code(err))
			assert.Equal(t, test.want, trailer.Get("grpc-retry-pushback-ms"))
			stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
			require.NoError(t, err)
			_, err = stream.Recv()
			require.Error(t, err)
			assert.Equal(t, test.want, stream.Trailer().Get("grpc-retry-pushback-ms"))
		})
	}
}

func TestCallsAreReported(t *testing.T) {
	f := start(t, &fakeCatalog{repository: func(context.Context, catalog.Source) (catalog.State, error) { return catalog.State{}, nil }})
	_, err := f.client.GetRepository(testContext(t), getCharts())
	require.NoError(t, err)
	assert.Equal(t, []string{"GetRepository began", "GetRepository received", "GetRepository OK", "GetRepository sent"}, f.metrics.all())
}

func TestStopEndsWatchesAndLetsCallsFinish(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	f := start(t, &fakeCatalog{
		repositories: noStates,
		watch:        func(string) Subscription { return &events{} },
		repository: func(context.Context, catalog.Source) (catalog.State, error) {
			close(began)
			<-finish
			return catalog.State{URL: "https://charts.example.com"}, nil
		},
	})
	stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	_, err = stream.Header()
	require.NoError(t, err)

	answered := make(chan error, 1)
	go func() {
		_, err := f.client.GetRepository(testContext(t), getCharts())
		answered <- err
	}()
	<-began
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.server.Stop(testContext(t))
	}()
	_, err = stream.Recv()
	assert.Equal(t, codes.Unavailable, status.Code(err), "a watch ends at once, so that its client goes elsewhere")
	close(finish)
	assert.NoError(t, <-answered)
	<-stopped
}

func TestStopCutsOffWhatDoesNotEnd(t *testing.T) {
	began := make(chan struct{})
	f := start(t, &fakeCatalog{repository: func(ctx context.Context, _ catalog.Source) (catalog.State, error) {
		close(began)
		<-ctx.Done()
		return catalog.State{}, ctx.Err()
	}})
	answered := make(chan error, 1)
	go func() {
		_, err := f.client.GetRepository(testContext(t), getCharts())
		answered <- err
	}()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	f.server.Stop(ctx)
	assert.Error(t, <-answered)
}
