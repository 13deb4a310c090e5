package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestAFailedCallIsOneLineWhoseLevelSaysWhoseFaultItIs(t *testing.T) {
	reason := func(r chartcachev1.ErrorReason) error {
		return &cacheerr.Error{Reason: r, Message: "the message", Err: errors.New("the cause")}
	}
	for name, test := range map[string]struct {
		err                 error
		level, code, reason string
	}{
		"nothing":     {nil, "debug", "OK", ""},
		"the caller":  {reason(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND), "debug", "NotFound", "REPOSITORY_NOT_FOUND"},
		"a caller":    {reason(chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT), "debug", "InvalidArgument", "INVALID_ARGUMENT"},
		"it gave up":  {context.Canceled, "debug", "Canceled", ""},
		"no time":     {context.DeadlineExceeded, "info", "DeadlineExceeded", ""},
		"upstream":    {reason(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED), "info", "Unavailable", "UPSTREAM_FAILED"},
		"a state":     {reason(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE), "info", "FailedPrecondition", "TOO_LARGE"},
		"a forgery":   {reason(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH), "warn", "DataLoss", "DIGEST_MISMATCH"},
		"busy":        {busy(), "warn", "ResourceExhausted", ""},
		"chartcache":  {reason(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL), "error", "Internal", "INTERNAL"},
		"an accident": {io.ErrUnexpectedEOF, "error", "Internal", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, &fakeCatalog{repository: func(context.Context, catalog.Source) (catalog.State, error) { return catalog.State{}, test.err }})
			_, err := f.client.GetRepository(testContext(t), getCharts())
			require.Equal(t, test.err != nil, err != nil)
			lines := strings.Split(strings.TrimSpace(f.logs.String()), "\n")
			require.Len(t, lines, 1)
			var line map[string]any
			require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
			assert.Equal(t, test.level, line["level"])
			assert.Equal(t, "/chartcache.v1.ChartCacheService/GetRepository", line["method"])
			assert.Equal(t, test.code, line["code"])
			assert.Equal(t, "apps/charts", line["repository"])
			assert.Contains(t, line, "took")
			assert.Equal(t, test.reason, orEmpty(line["reason"]))
			if test.reason != "" {
				assert.Equal(t, "the cause", line["error"])
			}
		})
	}
}

func orEmpty(v any) string {
	text, _ := v.(string)
	return text
}

func TestARequestThatIsRefusedLeavesNoTextOfItsOwnInTheLog(t *testing.T) {
	f := start(t, &fakeCatalog{})
	_, err := f.client.GetRepository(testContext(t), &chartcachev1.GetRepositoryRequest{
		Source: &chartcachev1.GetRepositoryRequest_Url{Url: "https://user:hunter2@charts.example.com/?token=hunter2"},
	})
	require.Error(t, err)
	assert.Contains(t, f.logs.String(), "INVALID_ARGUMENT")
	assert.NotContains(t, f.logs.String(), "hunter2")
}

func TestWatchesThatEndBecauseTheServerStopsAreNoNews(t *testing.T) {
	f := start(t, &fakeCatalog{repositories: noStates, watch: func(string) Subscription { return &events{} }})
	stream, err := f.client.WatchRepositories(testContext(t), &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	_, err = stream.Header()
	require.NoError(t, err)
	f.server.Stop(testContext(t))
	_, err = stream.Recv()
	require.Error(t, err)
	assert.Contains(t, f.logs.String(), `"level":"debug","method":"/chartcache.v1.ChartCacheService/WatchRepositories"`)
	assert.NotContains(t, f.logs.String(), `"level":"info"`)
}

func TestMessagesOfStreamsAreCountedAsTheyCome(t *testing.T) {
	f := start(t, &fakeCatalog{repositories: noStates, watch: func(string) Subscription {
		return &events{all: []catalog.Event{{Kind: catalog.EventBookmark, Token: "1"}, {Kind: catalog.EventBookmark, Token: "2"}}}
	}})
	ctx, cancel := context.WithCancel(testContext(t))
	stream, err := f.client.WatchRepositories(ctx, &chartcachev1.WatchRepositoriesRequest{})
	require.NoError(t, err)
	for range 2 {
		_, err := stream.Recv()
		require.NoError(t, err)
	}
	cancel()
	ended := []string{"WatchRepositories began", "WatchRepositories received", "WatchRepositories sent", "WatchRepositories sent", "WatchRepositories Canceled"}
	assert.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, ended, f.metrics.all()) }, 10*time.Second, time.Millisecond)
}

func TestALineThatNobodyWantsCostsNothing(t *testing.T) {
	c := &calls{log: zerolog.New(io.Discard).Level(zerolog.InfoLevel), now: at, methods: observe(methods(), noMetrics{})}
	const name = chartcachev1.ChartCacheService_ResolveVersion_FullMethodName
	request := any(getCharts())
	allocations := testing.AllocsPerRun(100, func() {
		one := c.begin(name, c.methods[name])
		one.request = request
		c.end(&one, nil)
	})
	assert.LessOrEqual(t, allocations, 3.0, "the call, and the status that it got")
}
