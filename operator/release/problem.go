package release

import (
	"errors"
	"time"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// retryDependency is when something is looked at again that says no time itself. Mostly an event comes first.
const retryDependency = time.Minute

// reasonRow says what a reason of chartcache means for a release.
type reasonRow struct {
	reason string
	// temporary problems say nothing about the spec, so that what is deployed stays Ready.
	temporary bool
	// stalled problems need an edit of the HelmRelease.
	stalled bool
}

// chartReasons is the one table from chartcache's reasons to those of conditions. What is missing in it means that
// chartcache cannot answer.
func chartReasons() map[client.Reason]reasonRow {
	return map[client.Reason]reasonRow{
		chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT:     {reason: v1alpha1.ReasonConfigurationError, stalled: true},
		chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID:   {reason: v1alpha1.ReasonConfigurationError, stalled: true},
		chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND: {reason: v1alpha1.ReasonRepositoryNotFound},
		chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND:      {reason: v1alpha1.ReasonChartNotFound},
		chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND:    {reason: v1alpha1.ReasonChartNotFound},

		chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED:   {reason: v1alpha1.ReasonDependencyNotReady, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_SUSPENDED:    {reason: v1alpha1.ReasonDependencyNotReady, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID:   {reason: v1alpha1.ReasonConfigurationError, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE: {reason: v1alpha1.ReasonAuthenticationFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED:   {reason: v1alpha1.ReasonAuthenticationFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE:    {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND:      {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED:         {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED:   {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED:          {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH:         {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID:           {reason: v1alpha1.ReasonSyncFailed, temporary: true},
		chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE:               {reason: v1alpha1.ReasonSyncFailed, temporary: true},
	}
}

// isFetchReason reports whether a failure with a reason is that of a download: no other failure of an operation has such a one.
func isFetchReason(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSyncFailed, v1alpha1.ReasonAuthenticationFailed, v1alpha1.ReasonDependencyNotReady,
		v1alpha1.ReasonChartNotFound, v1alpha1.ReasonRepositoryNotFound:
		return true
	}
	return false
}

// chartProblem says what an error of chartcache means for a release.
func chartProblem(err error) *Problem {
	row, ok := chartReasons()[client.ReasonOf(err)]
	if !ok {
		row = reasonRow{reason: v1alpha1.ReasonDependencyNotReady, temporary: true}
	}
	problem := &Problem{Reason: row.reason, Message: err.Error(), Temporary: row.temporary, Stalled: row.stalled}
	if row.temporary {
		problem.RetryAfter = retryDependency
	}
	var e *client.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		problem.RetryAfter = e.RetryAfter
	}
	return problem
}
