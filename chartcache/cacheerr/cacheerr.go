// Package cacheerr holds the one error type of chartcache. Every package below server returns it where a caller may act
// on the reason; chartcache/server maps it to a gRPC status in one place. It imports nothing of ours but the contract.
package cacheerr

import (
	"errors"
	"fmt"
	"time"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Error is an error with a reason that callers and users act on.
type Error struct {
	// Reason classifies the error.
	Reason chartcachev1.ErrorReason
	// Message says what failed, where, and how to mend it. It goes to users: it must never hold credentials, a URL with
	// user information or a query, or text that upstream sent.
	Message string
	// RetryAfter is how long to wait before the next try; zero when the caller decides.
	RetryAfter time.Duration
	// Err is the cause, for logs only; nil when there is none.
	Err error
}

// New returns an error with a reason and no cause.
func New(reason chartcachev1.ErrorReason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error with a reason that keeps its cause for logs. The cause is not part of the message.
func Wrap(reason chartcachev1.ErrorReason, err error, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...), Err: err}
}

// Error returns the message without the cause.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason of the outermost Error in the chain: UNSPECIFIED for nil, INTERNAL for an error without
// one.
func ReasonOf(err error) chartcachev1.ErrorReason {
	if err == nil {
		return chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return chartcachev1.ErrorReason_ERROR_REASON_INTERNAL
}
