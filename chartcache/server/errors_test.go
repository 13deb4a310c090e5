package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestEveryReasonHasACode(t *testing.T) {
	for value, name := range chartcachev1.ErrorReason_name {
		reason := chartcachev1.ErrorReason(value)
		if reason == chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			continue
		}
		assert.NotContains(t, []codes.Code{codes.Unknown, codes.OK}, codeOf(reason), name)
	}
}

func TestStatusOf(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: password hunter2")
	tests := map[string]struct {
		err        error
		code       codes.Code
		reason     string
		message    string
		retryAfter time.Duration
	}{
		"nothing": {nil, codes.OK, "", "", 0},
		"a reason": {
			failure(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, "there is no chart web"),
			codes.NotFound, "CHART_NOT_FOUND", "there is no chart web", 0,
		},
		"a wrapped reason with a cause and a delay": {
			fmt.Errorf("sync apps/charts: %w", &cacheerr.Error{
				Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED, Message: "slow down", RetryAfter: time.Minute, Err: cause,
			}),
			codes.Unavailable, "UPSTREAM_RATE_LIMITED", "slow down", time.Minute,
		},
		"a reason whose cause is a deadline": {
			cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, context.DeadlineExceeded, "upstream did not answer in time"),
			codes.Unavailable, "UPSTREAM_UNREACHABLE", "upstream did not answer in time", 0,
		},
		"the caller cancelled": {fmt.Errorf("wait: %w", context.Canceled), codes.Canceled, "", "the call was cancelled", 0},
		"the caller's deadline": {
			context.DeadlineExceeded, codes.DeadlineExceeded, "", "the call took longer than its deadline", 0,
		},
		"an error without a reason": {cause, codes.Internal, "INTERNAL", internalMessage, 0},
		"a status of gRPC":          {status.Error(codes.Unimplemented, "no"), codes.Unimplemented, "", "no", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := statusOf(test.err)
			assert.Equal(t, test.code, s.Code())
			assert.Equal(t, test.message, s.Message())
			reason, retryAfter := "", time.Duration(0)
			for _, detail := range s.Details() {
				switch d := detail.(type) {
				case *errdetails.ErrorInfo:
					require.Equal(t, "chartcache", d.GetDomain())
					reason = d.GetReason()
				case *errdetails.RetryInfo:
					retryAfter = d.GetRetryDelay().AsDuration()
				}
			}
			assert.Equal(t, test.reason, reason)
			assert.Equal(t, test.retryAfter, retryAfter)
		})
	}
}
