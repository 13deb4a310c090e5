package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/ketches/helm-operator/chartcache/client"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestErrorsSayWhatHelps(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"nobody answers":  {&client.Error{Code: codes.Unavailable, Message: "refused"}, "no chartcache answers at here:1 (give its address by --server, and --ca-file when it uses TLS): chartcache is unreachable: refused"},
		"it is busy":      {&client.Error{Code: codes.ResourceExhausted, Message: "too many calls", RetryAfter: time.Second}, "too many calls (try again in 1s)"},
		"upstream is":     {&client.Error{Code: codes.Unavailable, Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED, Message: "slow down", RetryAfter: 90 * time.Second}, "slow down (try again in 1m30s)"},
		"there is none":   {&client.Error{Code: codes.NotFound, Reason: chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, Message: "there is no chart"}, "there is no chart"},
		"it takes long":   {&client.Error{Code: codes.DeadlineExceeded, Message: "too late"}, "no answer in time (allow for more by --timeout): too late"},
		"it has colours":  {&client.Error{Code: codes.NotFound, Reason: chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, Message: "there is\r\x1b[31m\u009b no\n\tchart"}, "there is[31m no\n\tchart"},
		"something local": {errors.New("the disk is full"), "the disk is full"},
	} {
		t.Run(name, func(t *testing.T) {
			c := connection{server: "here:1"}
			assert.EqualError(t, c.explain(t.Context(), test.err), test.want)
		})
	}
}

func TestATimeoutOfItsOwnIsNotANobody(t *testing.T) {
	ended, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	c := connection{server: "here:1", timeout: 5 * time.Second}
	for ctx, code := range map[context.Context]codes.Code{t.Context(): codes.DeadlineExceeded, ended: codes.Unavailable} {
		err := c.explain(ctx, &client.Error{Code: code, Message: "late"})
		assert.EqualError(t, err, "no answer within --timeout 5s: late")
	}
	err := c.explain(t.Context(), &client.Error{Code: codes.Unavailable, Message: "refused"})
	assert.ErrorContains(t, err, "no chartcache answers at here:1")
}

func TestATerminalGetsNoControlCharactersAndAFileGetsAll(t *testing.T) {
	const readme = "# Web\x1b]0;title\a\r\n\ttext\u009b\n"
	for terminal, want := range map[bool]string{true: "# Web]0;title\n\ttext\n", false: readme} {
		var out strings.Builder
		require.NoError(t, printDetail(&out, terminal, client.Detail{Readme: readme}))
		assert.Equal(t, want, out.String())
	}
}

func TestEventsAreOneLineWithoutControlCharacters(t *testing.T) {
	bad := client.Source{URL: "https://charts.example.com/\x1b[2J\n"}
	for _, e := range []client.Event{
		&client.Deleted{Source: bad},
		&client.Changed{Repository: client.Repository{Source: bad}, Charts: []string{"a\x1b[2J"}},
		&client.Down{Err: errors.New("gone\x1b[2J")},
	} {
		_, text := describe(e)
		assert.NotContains(t, text, "\x1b")
		assert.NotContains(t, text, "\n")
	}
}
