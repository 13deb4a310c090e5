package release

import (
	"strings"
	"time"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Target is where a Helm release lives.
type Target struct {
	// Namespace of the records and of the objects.
	Namespace string
	// Name of the release.
	Name string
}

// String returns "namespace/name".
func (t Target) String() string { return t.Namespace + "/" + t.Name }

// Words of Helm for the status of a record.
const (
	statusDeployed     = "deployed"
	statusFailed       = "failed"
	statusSuperseded   = "superseded"
	statusUninstalled  = "uninstalled"
	statusUninstalling = "uninstalling"
	pendingPrefix      = "pending-"
)

// Ownership says who made a Helm release.
type Ownership int

// Kinds of ownership.
const (
	// Ours was made by this HelmRelease.
	Ours Ownership = iota
	// Foreign was made by nobody that we know, such as the helm command.
	Foreign
	// OwnedByOther belongs to another HelmRelease, which exists.
	OwnedByOther
)

// Record is what matters of the newest record of a release in Helm's storage.
type Record struct {
	// Revision of the record.
	Revision int
	// Status as Helm calls it.
	Status string
	// Owner of the release.
	Owner Ownership
	// OwnerName is the other HelmRelease ("namespace/name") when Owner is OwnedByOther.
	OwnerName string
	// Operation is the id of the operation that wrote the record; empty when it was not ours.
	Operation string
	// Updated is when the record was last deployed. Of one that somebody works on, it is the last sign of life.
	Updated time.Time
	// Description by Helm.
	Description string
	// Equal reports that chart and values of the record are the desired ones.
	Equal bool
}

func (r *Record) pending() bool { return r != nil && strings.HasPrefix(r.Status, pendingPrefix) }

// absent reports that nothing is deployed: history that keepHistory left counts as nothing.
func (r *Record) absent() bool { return r == nil || r.Status == statusUninstalled }

func (r *Record) is(status string) bool { return r != nil && r.Status == status }

// Problem says why a release cannot be brought to what its spec wants.
type Problem struct {
	// Reason for conditions and events.
	Reason string
	// Message for people. It says how to mend it and holds neither values nor credentials.
	Message string
	// Temporary problems say nothing about the spec: what was found earlier still holds.
	Temporary bool
	// Stalled problems need an edit of the object.
	Stalled bool
	// RetryAfter is when to look again; zero means that an event or the interval will do.
	RetryAfter time.Duration
}

// RetryPolicy is the back-off after failures.
type RetryPolicy struct {
	// Limit of tries in a row; zero means no limit.
	Limit int32
	// Interval before the first retry; it doubles with each.
	Interval time.Duration
	// MaxInterval is the longest time between two tries.
	MaxInterval time.Duration
}

// After returns the wait after a number of failures in a row.
func (p RetryPolicy) After(failures int32) time.Duration {
	wait := p.Interval
	for i := int32(1); i < failures && wait < p.MaxInterval; i++ {
		wait *= 2
	}
	return min(wait, max(p.MaxInterval, p.Interval))
}

// Facts are all that Decide looks at.
type Facts struct {
	// Now is the time of the observation.
	Now time.Time

	// Deleting reports that the object is being deleted, Orphan that the release is then left behind.
	Deleting, Orphan bool
	// Suspended reports that nothing may change.
	Suspended bool
	// Problem is what is wrong with spec or values.
	Problem *Problem
	// ChartProblem is why it is not known which chart is meant now. When it is temporary, Desired is what was found earlier.
	ChartProblem *Problem

	// AccountProblem says why nothing can be done as the ServiceAccount that the spec names; nil means nothing.
	AccountProblem *Problem
	// DependencyProblem says which other releases must be Ready before this one is deployed; nil means none.
	DependencyProblem *Problem
	// Dependent is a release that depends on this one and must be uninstalled first, when deleting; empty means none.
	// DependentUntil is until when that is waited for; zero means until it is gone.
	Dependent      string
	DependentUntil time.Time

	// Target is where the release should be, or when deleting where it is.
	Target Target
	// Elsewhere is where a release of this object is deployed when that is not Target.
	Elsewhere *Target
	// OnChange says what happens to the release that is Elsewhere.
	OnChange v1alpha1.OnChangePolicy
	// Newest is the newest record at Target; nil means none.
	Newest *Record
	// Adopt allows to take over a foreign release.
	Adopt bool
	// PendingTimeout is how long someone else's operation may take.
	PendingTimeout time.Duration

	// Desired is the digest of what should be deployed; empty when it is not known.
	Desired string
	// Applied is the digest of what is deployed; empty when it is not known.
	Applied string
	// AppliedRevision is the revision that deployed Applied.
	AppliedRevision int
	// FailedDigest is the digest of what last failed.
	FailedDigest string
	// Failures is how often in a row an operation failed.
	Failures int32
	// FetchFailures is how many of the newest failures, in a row, are those of downloads of the chart: nothing was tried then.
	FetchFailures int32
	// ChartNews is when chartcache last told something of the repository of the chart; zero when it never did.
	ChartNews time.Time
	// LastFailure is the newest failure; nil means none.
	LastFailure *v1alpha1.ReleaseFailure
	// Retry is the back-off.
	Retry RetryPolicy
	// KnownFailed reports that the status knows the newest record to have failed: one that is marked as failed for another reason,
	// such as a write that did not get through, is no ground for a rollback.
	KnownFailed bool
	// Force asks for one upgrade even when nothing changed.
	Force bool

	// Last is the newest operation of the status; nil means none.
	Last *v1alpha1.ReleaseOperation
	// Running is the operation that runs in this process; nil means none.
	Running *v1alpha1.ReleaseOperation

	// Tests reports that the chart's tests are to run, Tested that they did in the revision that deployed Applied.
	Tests, Tested bool
	// Reinstall reports that a failed first install is removed before the next try.
	Reinstall bool
	// Rollback reports that a failed upgrade is rolled back.
	Rollback bool
	// RollbackTo is the revision to roll back to; 0 means that there is none.
	RollbackTo int
	// RollbackProblem says why there is none, when the spec names one.
	RollbackProblem string
}

// last reports whether the newest operation is of a type and in one of the phases.
func (f *Facts) last(kind v1alpha1.OperationType, phases ...v1alpha1.OperationPhase) bool {
	if f.Last == nil || f.Last.Type != kind {
		return false
	}
	for _, phase := range phases {
		if f.Last.Phase == phase {
			return true
		}
	}
	return false
}

// failedSame reports whether what should be deployed is what last failed.
func (f *Facts) failedSame() bool { return f.FailedDigest != "" && f.Desired == f.FailedDigest }

// clockSkew is how far the clocks of two machines, or one clock before and after it was set, may differ.
const clockSkew = time.Minute

// retryAt is when the next try is due; zero means now.
func (f *Facts) retryAt() time.Time { return f.tryAfter(f.Failures) }

// tryAfter is when the next try is due after a number of failures in a row; zero means now. A failure in the future is one of a
// clock that was wrong, which nobody should have to wait for.
func (f *Facts) tryAfter(failures int32) time.Time {
	if failures == 0 || f.LastFailure == nil || f.LastFailure.Time.After(f.Now.Add(clockSkew)) {
		return time.Time{}
	}
	return f.LastFailure.Time.Add(f.Retry.After(failures))
}

// unfetched reports that what should be deployed was not tried, because its chart could not be downloaded.
func (f *Facts) unfetched() bool {
	return f.FetchFailures > 0 && f.failedSame() &&
		(f.last(v1alpha1.OperationInstall, v1alpha1.OperationFailed) || f.last(v1alpha1.OperationUpgrade, v1alpha1.OperationFailed))
}

// exhausted reports that no try is left.
func (f *Facts) exhausted() bool { return f.Retry.Limit > 0 && f.Failures >= f.Retry.Limit }
