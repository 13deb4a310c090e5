package client

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// lost is what a client sees of a server that went away.
func lost() error { return status.Error(codes.Unavailable, "the connection broke") }

func TestACallWaitsWhenTheServerAsksForALittlePatience(t *testing.T) {
	tests := map[string]struct {
		code     codes.Code
		asks     time.Duration
		failures int // before it succeeds
		calls    int
		waits    []time.Duration
		ok       bool
	}{
		"once":                        {code: codes.ResourceExhausted, asks: time.Second, failures: 1, calls: 2, waits: []time.Duration{time.Second}, ok: true},
		"the longest that it accepts": {code: codes.Unavailable, asks: 5 * time.Second, failures: 1, calls: 2, waits: []time.Duration{5 * time.Second}, ok: true},
		"for longer":                  {code: codes.Unavailable, asks: 6 * time.Second, failures: 1, calls: 1},
		"not at all":                  {code: codes.ResourceExhausted, failures: 1, calls: 1},
		"for another kind of failure": {code: codes.FailedPrecondition, asks: time.Second, failures: 1, calls: 1},
		"for ever": {
			code: codes.ResourceExhausted, asks: time.Second, failures: 100, calls: 1 + askedRetries,
			waits: []time.Duration{time.Second, time.Second, time.Second},
		},
		"beyond the deadline": {code: codes.Unavailable, asks: 4 * time.Second, failures: 1, calls: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			calls := 0
			client := start(t, &fakeServer{getRepository: func(ctx context.Context, _ *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
				if calls++; calls <= test.failures {
					if err := forbidRetry(ctx); err != nil {
						return nil, err
					}
					return nil, answered(t, test.code, "UPSTREAM_RATE_LIMITED", "slow down", test.asks)
				}
				return &chartcachev1.GetRepositoryResponse{}, nil
			}})
			var waits []time.Duration
			client.backoff.After = func(d time.Duration) <-chan time.Time {
				waits = append(waits, d)
				return instantly().After(d)
			}
			ctx := testContext(t)
			if name == "beyond the deadline" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
			}
			_, err := client.GetRepository(ctx, Named("apps", "charts"))
			assert.Equal(t, test.ok, err == nil, "%v", err)
			assert.Equal(t, test.waits, waits)
			assert.Equal(t, test.calls, calls)
			if !test.ok {
				var e *Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, test.asks, e.RetryAfter)
				assert.Equal(t, Named("apps", "charts"), e.Source)
			}
		})
	}
}

func TestEveryUnaryCallIsRepeatedWhenItIsLost(t *testing.T) {
	calls := 0
	fail := func() error {
		if calls++; calls == 1 {
			return lost()
		}
		return nil
	}
	client := start(t, &fakeServer{
		getRepository: func(context.Context, *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
			return &chartcachev1.GetRepositoryResponse{}, fail()
		},
		listRepositories: func(*chartcachev1.ListRepositoriesRequest) (*chartcachev1.ListRepositoriesResponse, error) {
			return &chartcachev1.ListRepositoriesResponse{}, fail()
		},
		sync: func(*chartcachev1.SyncRepositoryRequest) (*chartcachev1.SyncRepositoryResponse, error) {
			return &chartcachev1.SyncRepositoryResponse{}, fail()
		},
		listCharts: func(*chartcachev1.ListChartsRequest) (*chartcachev1.ListChartsResponse, error) {
			return &chartcachev1.ListChartsResponse{}, fail()
		},
		listVersions: func(*chartcachev1.ListVersionsRequest) (*chartcachev1.ListVersionsResponse, error) {
			return &chartcachev1.ListVersionsResponse{}, fail()
		},
		resolve: func(*chartcachev1.ResolveVersionRequest) (*chartcachev1.ResolveVersionResponse, error) {
			return &chartcachev1.ResolveVersionResponse{}, fail()
		},
		detail: func(*chartcachev1.GetChartDetailRequest) (*chartcachev1.GetChartDetailResponse, error) {
			return &chartcachev1.GetChartDetailResponse{}, fail()
		},
	})
	source := Named("apps", "charts")
	for name, call := range map[string]func(context.Context) error{
		"ListRepositories": func(ctx context.Context) error { _, err := client.ListRepositories(ctx, ""); return err },
		"GetRepository":    func(ctx context.Context) error { _, err := client.GetRepository(ctx, source); return err },
		"Sync":             func(ctx context.Context) error { _, err := client.Sync(ctx, source); return err },
		"ListCharts": func(ctx context.Context) error {
			_, err := client.ListCharts(ctx, source, ListChartsOptions{})
			return err
		},
		"ListVersions": func(ctx context.Context) error {
			_, err := client.ListVersions(ctx, source, "web", ListVersionsOptions{})
			return err
		},
		"Resolve": func(ctx context.Context) error {
			_, err := client.Resolve(ctx, ChartRequest{Source: source, Chart: "web"})
			return err
		},
		"Detail": func(ctx context.Context) error {
			_, err := client.Detail(ctx, ChartRequest{Source: source, Chart: "web"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			calls = 0
			require.NoError(t, call(testContext(t)))
			assert.Equal(t, 2, calls)
		})
	}
}

func TestALostCallIsRepeatedAfterManyAnswersThatForbidIt(t *testing.T) {
	const answers = 12
	calls := 0
	client := start(t, &fakeServer{getRepository: func(ctx context.Context, _ *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
		switch calls++; {
		case calls <= answers:
			if err := forbidRetry(ctx); err != nil {
				return nil, err
			}
			return nil, answered(t, codes.NotFound, "REPOSITORY_NOT_FOUND", "there is no such repository", 0)
		case calls == answers+1:
			return nil, lost()
		}
		return &chartcachev1.GetRepositoryResponse{}, nil
	}})
	for range answers {
		_, err := client.GetRepository(testContext(t), Named("apps", "charts"))
		require.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND, ReasonOf(err), "%v", err)
	}
	_, err := client.GetRepository(testContext(t), Named("apps", "charts"))
	require.NoError(t, err)
	assert.Equal(t, answers+2, calls)
}

func TestTheAffinityNamesNoRepositoryAndReplacesAnEarlierOne(t *testing.T) {
	secret := ByURL("https://charts.example.com/?token=hunter2")
	assert.Regexp(t, "^[0-9a-f]{16}$", (&Client{}).affinity(secret))
	assert.NotEqual(t, (&Client{}).affinity(Named("a", "b")), (&Client{}).affinity(Named("b", "a")))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "other", "kept")
	ctx = withAffinity(withAffinity(ctx, "one"), "two")
	md, _ := metadata.FromOutgoingContext(ctx)
	assert.Equal(t, metadata.MD{"other": {"kept"}, affinityHeader: {"two"}}, md)
}
