package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// errorDomain is the domain of the ErrorInfo of every error that chartcache itself answers with.
const errorDomain = "chartcache"

// Error is the failure of a call. Every error of a Client's call has one in its chain.
type Error struct {
	// Reason is what the server said; ERROR_REASON_UNSPECIFIED when no chartcache answered.
	Reason Reason
	// Message says what failed, for people. It holds no credentials.
	Message string
	// Source is the repository that the call was about; zero for calls about none in particular.
	Source Source
	// RetryAfter is how long the server asks to wait before the next try; zero when it does not say.
	RetryAfter time.Duration
	// Code is the gRPC status code.
	Code codes.Code

	cause error
}

// Error returns the message, with what failed in front when no chartcache answered.
func (e *Error) Error() string {
	switch {
	case e.busy():
		return e.Message
	case e.Unreachable():
		return "chartcache is unreachable: " + e.Message
	case e.Reason == chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		return fmt.Sprintf("call chartcache: %s: %s", e.Code, e.Message)
	default:
		return e.Message
	}
}

// Unreachable reports whether the server could not be reached, did not answer in time, or turned the call away because it is
// busy, so that nothing is known about the request itself: it makes sense to repeat it. It is false when the caller
// cancelled.
func (e *Error) Unreachable() bool {
	if e.Reason != chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return false
	}
	return e.Code == codes.Unavailable || e.Code == codes.DeadlineExceeded || e.busy()
}

// busy reports whether the server turned the call away. Without a time to come back, the code has other meanings, such as a
// message that is too large.
func (e *Error) busy() bool {
	return e.Reason == chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED && e.Code == codes.ResourceExhausted && e.RetryAfter > 0
}

// Unwrap returns context.Canceled or context.DeadlineExceeded when the call ended for one of them, else nil or what a
// writer failed with.
func (e *Error) Unwrap() error { return e.cause }

// ReasonOf returns the reason of the Error in a chain: UNSPECIFIED for nil, for other errors, and when no chartcache
// answered.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// IsUnreachable reports whether a chain has an Error that is Unreachable.
func IsUnreachable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unreachable()
}

// errorOf turns what gRPC returned into an Error; nil stays nil.
func errorOf(err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	s := status.Convert(err)
	e := &Error{Code: s.Code(), Message: s.Message()}
	switch s.Code() {
	case codes.Canceled:
		e.cause = context.Canceled
	case codes.DeadlineExceeded:
		e.cause = context.DeadlineExceeded
	}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain {
				e.Reason = reasonNamed(d.GetReason())
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	return e
}

// about notes what a call that failed was about.
func about(err error, source Source) error {
	var e *Error
	if errors.As(err, &e) {
		e.Source = source
	}
	return err
}

// reasonNamed maps the reason of an ErrorInfo. One that this client does not know comes from a newer server: the call
// did reach it, so it counts as a fault of its own and not as unreachable.
func reasonNamed(name string) Reason {
	if value, ok := chartcachev1.ErrorReason_value["ERROR_REASON_"+name]; ok && value != 0 {
		return Reason(value)
	}
	return chartcachev1.ErrorReason_ERROR_REASON_INTERNAL
}
