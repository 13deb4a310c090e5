package server

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestWhoComesWhenTooManyCallsAreInProgressIsToldToTryAgain(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	f := startWith(t, Config{Calls: 1, Watches: 1, Catalog: &fakeCatalog{
		repositories: noStates,
		watch:        func(string) Subscription { return &events{} },
		repository: func(context.Context, catalog.Source) (catalog.State, error) {
			began <- struct{}{}
			<-finish
			return catalog.State{}, nil
		},
	}})
	var one sync.WaitGroup
	one.Go(func() {
		_, err := f.client.GetRepository(testContext(t), getCharts())
		assert.NoError(t, err)
	})
	<-began

	busyStatus := func(err error) {
		t.Helper()
		s := status.Convert(err)
		require.Equal(t, codes.ResourceExhausted, s.Code())
		require.Len(t, s.Details(), 1)
		retry, ok := s.Details()[0].(*errdetails.RetryInfo)
		require.True(t, ok)
		assert.Equal(t, time.Second, retry.GetRetryDelay().AsDuration())
	}
	_, err := f.client.GetRepository(testContext(t), getCharts())
	busyStatus(err)
	_, err = healthv1.NewHealthClient(f.conn).Check(testContext(t), &healthv1.HealthCheckRequest{})
	require.NoError(t, err, "a busy server is healthy")
	first, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	_, err = first.Header()
	require.NoError(t, err, "watches have a bound of their own")
	second, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	_, err = second.Recv()
	busyStatus(err)

	close(finish)
	one.Wait()
	go func() { <-began }()
	_, err = f.client.GetRepository(testContext(t), getCharts())
	assert.NoError(t, err, "there is room again")
}

func TestAPanicGivesItsTurnBack(t *testing.T) {
	f := startWith(t, Config{Calls: 1, Catalog: &fakeCatalog{
		repository: func(context.Context, catalog.Source) (catalog.State, error) { panic("a bug") },
	}})
	for range 3 {
		_, err := f.client.GetRepository(testContext(t), getCharts())
		assert.Equal(t, codes.Internal, status.Code(err))
	}
}

func TestAnOldConnectionEndsItsWatchesAndTheClientConnectsAnew(t *testing.T) {
	f := startWith(t, Config{ConnectionAge: 20 * time.Millisecond, ConnectionGrace: 20 * time.Millisecond, Catalog: &fakeCatalog{
		repositories: noStates,
		watch:        func(string) Subscription { return &events{} },
		repository:   func(context.Context, catalog.Source) (catalog.State, error) { return catalog.State{}, nil },
	}})
	stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	_, err = f.client.GetRepository(testContext(t), getCharts())
	assert.NoError(t, err)
}

func TestEveryCallHasADeadlineWhateverItsCallerSays(t *testing.T) {
	for name, m := range methods() {
		ctx, cancel := m.bound(t.Context())
		deadline, ok := ctx.Deadline()
		cancel()
		assert.Equal(t, m.class != watch, ok, name)
		if ok {
			assert.LessOrEqual(t, time.Until(deadline), m.timeout, name)
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	ctx, cancelBound := method{timeout: time.Hour}.bound(soon)
	defer cancelBound()
	want, _ := soon.Deadline()
	got, _ := ctx.Deadline()
	assert.Equal(t, want, got, "a caller who has less time keeps it")
}
