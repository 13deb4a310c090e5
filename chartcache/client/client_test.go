package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestNewRefusesAnEmptyTarget(t *testing.T) {
	_, err := New(Config{})
	require.Error(t, err)
}

func TestABareAddressIsResolvedByDNS(t *testing.T) {
	for target, want := range map[string]string{
		"chartcache:9090":             "dns:///chartcache:9090",
		"127.0.0.1:9090":              "dns:///127.0.0.1:9090",
		"[::1]:9090":                  "dns:///[::1]:9090",
		"passthrough:///chartcache":   "passthrough:///chartcache",
		"unix:/run/chartcache.sock":   "unix:/run/chartcache.sock",
		"unix:///run/chartcache.sock": "unix:///run/chartcache.sock",
	} {
		assert.Equal(t, want, targetOf(target))
	}
}

func TestErrorsCarryWhatTheServerSaid(t *testing.T) {
	tests := map[string]struct {
		err         error
		reason      Reason
		code        codes.Code
		retryAfter  time.Duration
		unreachable bool
		text        string
	}{
		"a reason of the contract": {
			err:    answered(t, codes.NotFound, "REPOSITORY_NOT_FOUND", "there is no repository a/b", 0),
			reason: chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND, code: codes.NotFound, text: "there is no repository a/b",
		},
		"a delay until the next try": {
			err:    answered(t, codes.Unavailable, "UPSTREAM_RATE_LIMITED", "slow down", 90*time.Second),
			reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED, code: codes.Unavailable, retryAfter: 90 * time.Second, text: "slow down",
		},
		"a reason of a newer server is a fault and not an absence": {
			err:    answered(t, codes.Unavailable, "SOMETHING_NEW", "new", 0),
			reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, code: codes.Unavailable, text: "new",
		},
		"no chartcache answered": {
			err: status.Error(codes.Unavailable, "connection refused"), code: codes.Unavailable, unreachable: true,
			text: "chartcache is unreachable: connection refused",
		},
		"a busy server turned the call away": {
			err: busy(t), code: codes.ResourceExhausted, retryAfter: time.Second, unreachable: true, text: "chartcache has too many calls in progress",
		},
		"a message is too large for gRPC": {
			err: status.Error(codes.ResourceExhausted, "message larger than max"), code: codes.ResourceExhausted,
			text: "call chartcache: ResourceExhausted: message larger than max",
		},
		"another server answered": {
			err: status.Error(codes.Unimplemented, "unknown service"), code: codes.Unimplemented, text: "call chartcache: Unimplemented: unknown service",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := errorOf(fmt.Errorf("outer: %w", errorOf(test.err)))
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, test.reason, e.Reason)
			assert.Equal(t, test.reason, ReasonOf(err))
			assert.Equal(t, test.code, e.Code)
			assert.Equal(t, test.retryAfter, e.RetryAfter)
			assert.Equal(t, test.unreachable, e.Unreachable())
			assert.Equal(t, test.unreachable, IsUnreachable(err))
			assert.Equal(t, test.text, e.Error())
		})
	}
	assert.NoError(t, errorOf(nil))
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED, ReasonOf(errors.New("other")))
	assert.False(t, IsUnreachable(nil))
}

// busy is an error as the server of chartcache makes it when it turns a call away.
func busy(t *testing.T) error {
	t.Helper()
	s, err := status.New(codes.ResourceExhausted, "chartcache has too many calls in progress").
		WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	require.NoError(t, err)
	return s.Err()
}

func TestAServerThatIsAwayIsUnreachable(t *testing.T) {
	client := dial(t, Config{Dialer: func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") }})
	_, err := client.GetRepository(testContext(t), Named("apps", "charts"))
	require.True(t, IsUnreachable(err), "%v", err)
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED, ReasonOf(err))
}

func TestACallThatItsCallerCancelsIsNotUnreachable(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	client := start(t, &fakeServer{getRepository: func(ctx context.Context, _ *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
		cancel()
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}})
	_, err := client.GetRepository(ctx, Named("apps", "charts"))
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, IsUnreachable(err))
}

func TestCallsHaveADeadlineUnlessTheirContextHasOne(t *testing.T) {
	deadlines := make(chan time.Duration, 1)
	client := start(t, &fakeServer{getRepository: func(ctx context.Context, _ *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
		deadline, _ := ctx.Deadline()
		deadlines <- time.Until(deadline)
		return &chartcachev1.GetRepositoryResponse{}, nil
	}})
	_, err := client.GetRepository(t.Context(), Named("apps", "charts"))
	require.NoError(t, err)
	assert.InDelta(t, 10, (<-deadlines).Seconds(), 5)

	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	_, err = client.GetRepository(ctx, Named("apps", "charts"))
	require.NoError(t, err)
	assert.Greater(t, <-deadlines, 30*time.Minute)
}

func TestReadsAreRepeatedOnlyWhenChartcacheDidNotAnswer(t *testing.T) {
	tests := map[string]struct {
		fail  func(ctx context.Context) error
		calls int32
		ok    bool
	}{
		"a lost call is repeated": {
			fail:  func(context.Context) error { return status.Error(codes.Unavailable, "the server stops") },
			calls: 2, ok: true,
		},
		"an answer about upstream is not": {
			fail: func(ctx context.Context) error {
				if err := forbidRetry(ctx); err != nil {
					return err
				}
				return answered(t, codes.Unavailable, "UPSTREAM_UNREACHABLE", "upstream is down", 0)
			},
			calls: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			client := start(t, &fakeServer{getRepository: func(ctx context.Context, _ *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
				if calls.Add(1) == 1 {
					return nil, test.fail(ctx)
				}
				return &chartcachev1.GetRepositoryResponse{}, nil
			}})
			_, err := client.GetRepository(testContext(t), Named("apps", "charts"))
			assert.Equal(t, test.ok, err == nil, "%v", err)
			assert.Equal(t, test.calls, calls.Load())
		})
	}
}

func TestRepositoriesAreConverted(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	client := start(t, &fakeServer{
		getRepository: func(_ context.Context, r *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
			if r.GetUrl() != "" {
				return &chartcachev1.GetRepositoryResponse{Repository: &chartcachev1.Repository{Url: r.GetUrl()}}, nil
			}
			return &chartcachev1.GetRepositoryResponse{Repository: &chartcachev1.Repository{
				Ref: r.GetRepository(), Url: "https://charts.example.com", Type: chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP,
				ObservedGeneration: 3, State: chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, Syncing: true,
				Revision:      &chartcachev1.RepositoryRevision{Revision: "r1", ObservedAt: timestamppb.New(at)},
				LastSyncTime:  timestamppb.New(at),
				LastCheckTime: timestamppb.New(at.Add(time.Minute)),
				LastError: &chartcachev1.RepositoryError{
					Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, Message: "500", Time: timestamppb.New(at),
				},
				StaleSince: timestamppb.New(at), ChartCount: 2, VersionCount: 5, IndexSizeBytes: 900, RejectedEntryCount: 1,
			}}, nil
		},
		sync: func(r *chartcachev1.SyncRepositoryRequest) (*chartcachev1.SyncRepositoryResponse, error) {
			return &chartcachev1.SyncRepositoryResponse{Repository: &chartcachev1.Repository{Ref: r.GetRepository(), Url: r.GetUrl()}, Changed: true}, nil
		},
	})
	got, err := client.GetRepository(testContext(t), Named("apps", "charts"))
	require.NoError(t, err)
	assert.Equal(t, Repository{
		Source: Named("apps", "charts"), URL: "https://charts.example.com", Type: chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP,
		ObservedGeneration: 3, State: chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, Syncing: true,
		Revision: Revision{Name: "r1", ObservedAt: at}, LastSyncTime: at, LastCheckTime: at.Add(time.Minute),
		LastError:  &RepositoryError{Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, Message: "500", Time: at},
		StaleSince: at, ChartCount: 2, VersionCount: 5, IndexSizeBytes: 900, RejectedEntryCount: 1,
	}, got)

	anonymous, err := client.GetRepository(testContext(t), ByURL("oci://registry.example.com/charts"))
	require.NoError(t, err)
	assert.Equal(t, ByURL("oci://registry.example.com/charts"), anonymous.Source)

	for _, source := range []Source{Named("apps", "charts"), ByURL("https://charts.example.com")} {
		synced, err := client.Sync(testContext(t), source)
		require.NoError(t, err)
		assert.True(t, synced.Changed)
		assert.Equal(t, source, synced.Repository.Source)
	}
}

func TestListingsFollowPagesAndStartAgainWhenTheyExpire(t *testing.T) {
	expiries := 0
	client := start(t, &fakeServer{
		listRepositories: func(r *chartcachev1.ListRepositoriesRequest) (*chartcachev1.ListRepositoriesResponse, error) {
			if r.GetPageToken() == "" {
				return &chartcachev1.ListRepositoriesResponse{Repositories: []*chartcachev1.Repository{{Url: "a"}}, NextPageToken: "2"}, nil
			}
			return &chartcachev1.ListRepositoriesResponse{Repositories: []*chartcachev1.Repository{{Url: "b"}}}, nil
		},
		listCharts: func(r *chartcachev1.ListChartsRequest) (*chartcachev1.ListChartsResponse, error) {
			if r.GetPageToken() == "" {
				return &chartcachev1.ListChartsResponse{
					Charts:        []*chartcachev1.ChartSummary{{Name: "one", VersionCount: 3, Latest: &chartcachev1.ChartVersion{Version: "1.0.0"}}},
					NextPageToken: "2", Revision: &chartcachev1.RepositoryRevision{Revision: "r"},
				}, nil
			}
			if expiries++; expiries == 1 {
				return nil, answered(t, codes.Aborted, "PAGE_EXPIRED", "changed", 0)
			}
			return &chartcachev1.ListChartsResponse{Charts: []*chartcachev1.ChartSummary{{Name: "two"}}, Revision: &chartcachev1.RepositoryRevision{Revision: "r"}, Stale: true}, nil
		},
		listVersions: func(r *chartcachev1.ListVersionsRequest) (*chartcachev1.ListVersionsResponse, error) {
			assert.Equal(t, "web", r.GetChart())
			assert.Equal(t, "^1", r.GetConstraint())
			assert.Equal(t, int32(2), r.GetPageSize())
			return &chartcachev1.ListVersionsResponse{Versions: []*chartcachev1.ChartVersion{{Version: "1.1.0"}, {Version: "1.0.0"}}, NextPageToken: "more"}, nil
		},
	})
	repositories, err := client.ListRepositories(testContext(t), "")
	require.NoError(t, err)
	assert.Len(t, repositories, 2)

	charts, err := client.ListCharts(testContext(t), Named("apps", "charts"), ListChartsOptions{})
	require.NoError(t, err)
	require.Len(t, charts.Charts, 2)
	assert.Equal(t, ChartSummary{Name: "one", VersionCount: 3, Latest: ChartVersion{Version: "1.0.0"}}, charts.Charts[0])
	assert.Equal(t, "r", charts.Revision.Name)
	assert.True(t, charts.Stale)

	versions, err := client.ListVersions(testContext(t), ByURL("https://charts.example.com"), "web", ListVersionsOptions{Constraint: "^1", Limit: 2})
	require.NoError(t, err)
	assert.Len(t, versions.Versions, 2)
}

func TestAListingThatExpiresAgainAndAgainFails(t *testing.T) {
	var calls atomic.Int32
	client := start(t, &fakeServer{listCharts: func(*chartcachev1.ListChartsRequest) (*chartcachev1.ListChartsResponse, error) {
		calls.Add(1)
		return nil, answered(t, codes.Aborted, "PAGE_EXPIRED", "changed", 0)
	}})
	_, err := client.ListCharts(testContext(t), Named("apps", "charts"), ListChartsOptions{})
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED, ReasonOf(err))
	assert.Equal(t, int32(1+pageRestarts), calls.Load())
}

func TestResolveSendsAndReturnsEverything(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	client := start(t, &fakeServer{resolve: func(r *chartcachev1.ResolveVersionRequest) (*chartcachev1.ResolveVersionResponse, error) {
		assert.Equal(t, "apps", r.GetRepository().GetNamespace())
		assert.Equal(t, "sha256:ab", r.GetDigest())
		assert.Equal(t, "r1", r.GetMinRevision().GetRevision())
		return &chartcachev1.ResolveVersionResponse{
			Version:       &chartcachev1.ChartVersion{Chart: r.GetChart(), Version: "1.2.3", Digest: "sha256:ab", ManifestDigest: "sha256:cd", Created: timestamppb.New(at), Deprecated: true},
			NewestVersion: "2.0.0", Revision: &chartcachev1.RepositoryRevision{Revision: "r2"}, Stale: true,
		}, nil
	}})
	got, err := client.Resolve(testContext(t), ChartRequest{
		Source: Named("apps", "charts"), Chart: "web", Version: "^1", Digest: "sha256:ab", MinRevision: Revision{Name: "r1", ObservedAt: at},
	})
	require.NoError(t, err)
	assert.Equal(t, Resolved{
		Version:       ChartVersion{Chart: "web", Version: "1.2.3", Digest: "sha256:ab", ManifestDigest: "sha256:cd", Created: at, Deprecated: true},
		NewestVersion: "2.0.0", Revision: Revision{Name: "r2"}, Stale: true,
	}, got)
}

func TestBackoffDoublesUpToItsBoundWithJitter(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 5 * time.Second, Rand: func() float64 { return 0.5 }}.withDefaults()
	assert.Equal(t, 750*time.Millisecond, b.delay(1))
	assert.Equal(t, 1500*time.Millisecond, b.delay(2))
	assert.Equal(t, 3*time.Second, b.delay(3))
	assert.Equal(t, 3750*time.Millisecond, b.delay(4))
	assert.Equal(t, 3750*time.Millisecond, b.delay(1000))
}
