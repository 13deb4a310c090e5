package helm

import (
	"errors"
	"fmt"

	"github.com/ketches/helm-operator/operator/internal/readiness"
)

// Stage says how far an action had come when it failed.
type Stage string

// Stages of an action, in order.
const (
	// StageLoad reads the chart's tarball.
	StageLoad Stage = "Load"
	// StageValidate checks the chart, the values and the state of the release before anything is rendered.
	StageValidate Stage = "Validate"
	// StageRender runs the chart's templates and reads the manifests that come out.
	StageRender Stage = "Render"
	// StageStorage reads and writes the records of the release.
	StageStorage Stage = "Storage"
	// StageHooks runs the chart's hooks.
	StageHooks Stage = "Hooks"
	// StageApply writes and deletes objects.
	StageApply Stage = "Apply"
	// StageWait waits for objects to be ready, or to be gone.
	StageWait Stage = "Wait"
	// StageTest runs the chart's tests.
	StageTest Stage = "Test"
)

// Causes that callers tell apart with errors.Is.
var (
	// ErrNotFound says that there is no release, or no such revision of it.
	ErrNotFound = errors.New("release not found")
	// ErrPending says that another operation on the release is under way, or was when its process ended.
	ErrPending = errors.New("another operation on the release is pending")
	// ErrNotDeployed says that the newest revision of the release is not deployed.
	ErrNotDeployed = errors.New("the release is not deployed")
	// ErrNameInUse says that an install found a release of that name.
	ErrNameInUse = errors.New("the release name is in use")
	// ErrNamespaceNotFound says that the namespace of the release does not exist.
	ErrNamespaceNotFound = errors.New("the namespace of the release does not exist")
	// ErrOvertaken says that somebody else wrote the revision first that an action was to make. Nothing was done.
	ErrOvertaken = errors.New("another operation wrote this revision of the release first")
	// ErrConflict says that somebody else wrote the record meanwhile.
	ErrConflict = errors.New("the release record was written by somebody else meanwhile")
	// ErrRecordTooLarge says that the release does not fit into a Secret.
	ErrRecordTooLarge = errors.New("the release record is too large")
	// ErrChartName says that the chart is not the one that was asked for.
	ErrChartName = errors.New("the chart has another name than asked for")
	// ErrInvalidChart says that the tarball is not a chart that can be installed.
	ErrInvalidChart = errors.New("the chart cannot be installed")
	// ErrInvalidValues says that the values do not match the chart's values.schema.json.
	ErrInvalidValues = errors.New("the values do not match the chart's schema")
	// ErrTimeout says that a wait took longer than the timeout.
	ErrTimeout = readiness.ErrTimeout
	// ErrFailed says that an object that was waited for failed for good.
	ErrFailed = readiness.ErrFailed

	// errInterrupted is what every write of a fenced operation returns.
	errInterrupted = errors.New("the operation was interrupted")
)

// Error is what every action returns when it fails.
type Error struct {
	// Stage in which the action failed.
	Stage Stage
	// Revision of the release that was recorded as failed; 0 when the action left no failed revision.
	Revision int
	// Message for people: says what failed and, where known, why. It holds no values of the release.
	Message string
	// Err is the cause, for errors.Is and errors.As. Its own text may hold values of the release: never show it.
	Err error

	interrupted bool
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Interrupted reports whether the context of the action ended a wait. That is no failure of the release: its record is
// still pending, and nothing was cleaned up.
func (e *Error) Interrupted() bool { return e.interrupted }

// newError returns an error of an action that has not started to write.
func newError(stage Stage, err error, format string, args ...any) *Error {
	return &Error{Stage: stage, Err: err, Message: fmt.Sprintf(format, args...)}
}
