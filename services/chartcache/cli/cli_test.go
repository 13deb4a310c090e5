package cli

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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
		"something local": {errors.New("the disk is full"), "the disk is full"},
	} {
		t.Run(name, func(t *testing.T) {
			c := connection{server: "here:1"}
			assert.EqualError(t, c.explain(test.err), test.want)
		})
	}
}
