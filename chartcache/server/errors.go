package server

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Domain is the domain of the ErrorInfo of every error of this service.
const Domain = "chartcache"

// reasonPrefix is what the names of ErrorReason have in front of the reason of an ErrorInfo.
const reasonPrefix = "ERROR_REASON_"

// codeOf is the one table from a reason to the gRPC code that the contract gives it. A reason that is missing here
// would be Unknown; a test holds that none is.
func codeOf(reason chartcachev1.ErrorReason) codes.Code {
	switch reason {
	case chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT,
		chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID:
		return codes.InvalidArgument
	case chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED:
		return codes.Aborted
	case chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND:
		return codes.NotFound
	case chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED,
		chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_SUSPENDED,
		chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID,
		chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE,
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED,
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED,
		chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID,
		chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE:
		return codes.FailedPrecondition
	case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE,
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED,
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED:
		return codes.Unavailable
	case chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH:
		return codes.DataLoss
	case chartcachev1.ErrorReason_ERROR_REASON_INTERNAL:
		return codes.Internal
	default:
		return codes.Unknown
	}
}

// internalMessage is all that a caller learns of a fault of chartcache itself when the fault has no message of its own.
const internalMessage = "chartcache failed; its log says why"

// statusOf turns an error into the status that the caller gets. Only the message of a cacheerr.Error gets out.
func statusOf(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	var known *cacheerr.Error
	if errors.As(err, &known) {
		return statusWith(known)
	}
	// A call that its caller gave up has no reason of ours: gRPC's own codes say it.
	switch {
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the call was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "the call took longer than its deadline")
	}
	// A status that gRPC or generated code made, such as UNIMPLEMENTED.
	if s, ok := status.FromError(err); ok {
		return s
	}
	return statusWith(cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, internalMessage))
}

func statusWith(e *cacheerr.Error) *status.Status {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Domain: Domain,
		Reason: reasonName(e.Reason),
	}}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	s := status.New(codeOf(e.Reason), e.Message)
	detailed, err := s.WithDetails(details...)
	if err != nil { // only an OK status or a detail that cannot be marshalled gets here
		return s
	}
	return detailed
}

// reasonName is a reason as an ErrorInfo names it.
func reasonName(reason chartcachev1.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), reasonPrefix)
}

// invalid is the error for a malformed field.
func invalid(format string, args ...any) *cacheerr.Error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, format, args...)
}
