package release

import (
	"fmt"
	"strings"
	"time"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Action is what a Decision does.
type Action string

// Actions. Install, Upgrade, Rollback and Uninstall start a Helm operation.
const (
	// Wait leaves everything as it is until the operation that runs here has ended.
	Wait Action = "Wait"
	// Interrupt ends the readiness wait of the operation that runs here.
	Interrupt Action = "Interrupt"
	// Block says what is wrong.
	Block Action = "Block"
	// Suspend says that nothing is done.
	Suspend Action = "Suspend"
	// Stay says that all is well.
	Stay Action = "Stay"
	// Hold waits for an edit or a request.
	Hold Action = "Hold"
	// BackOff waits for the time of the next try.
	BackOff Action = "BackOff"
	// Unlock marks a pending record as interrupted.
	Unlock Action = "Unlock"
	// Adopt notes that what is deployed is what should be.
	Adopt Action = "Adopt"
	// Install deploys for the first time.
	Install Action = "Install"
	// Upgrade deploys over what is there.
	Upgrade Action = "Upgrade"
	// Rollback goes back to a good revision.
	Rollback Action = "Rollback"
	// Uninstall removes the release.
	Uninstall Action = "Uninstall"
	// Test runs the chart's tests.
	Test Action = "Test"
	// Abandon leaves a release behind that the spec no longer names.
	Abandon Action = "Abandon"
	// Finish lets the object go.
	Finish Action = "Finish"
)

// Decision is what to do now.
type Decision struct {
	// Action to take.
	Action Action
	// Because says why, for logs and for the message of the operation.
	Because string
	// Problem that blocks, for Block, Hold and BackOff.
	Problem *Problem
	// Revision to roll back to, or to unlock.
	Revision int
	// Target of an Uninstall when it is not that of the facts; nil means that it is.
	Target *Target
	// Until is when to look again; zero means at the interval.
	Until time.Time
}

// rule returns a decision, or false when it does not apply.
type rule func(*Facts) (Decision, bool)

// Decide says what to do. The first rule that applies wins; the last one always does.
func Decide(f Facts) Decision {
	for _, rule := range []rule{
		running,
		deleting,
		suspended,
		pendingOurs,
		rollBackBlindly,
		blocked,
		elsewhere,
		notOurs,
		pendingOthers,
		uninstalling,
		absent,
		forced,
		rolledBack,
		mustRollBack,
		untested,
		inSync,
		adoptable,
		unsure,
		failedBefore,
	} {
		if decision, ok := rule(&f); ok {
			return decision
		}
	}
	return deploy(&f, Upgrade, whyUpgrade(&f))
}

// whyUpgrade says why what is deployed is not what should be.
func whyUpgrade(f *Facts) string {
	switch {
	case f.Last != nil && f.Last.Phase == v1alpha1.OperationInterrupted:
		return "the operation before was interrupted"
	case f.Newest.is(statusFailed):
		return "the newest revision failed"
	case f.Applied == "":
		return "it is not known whether what is deployed is what should be"
	}
	return "what should be deployed has changed"
}

// running waits for the operation that runs here, unless it works for something that is no longer wanted.
func running(f *Facts) (Decision, bool) {
	if f.Running == nil {
		return Decision{}, false
	}
	wait := Decision{Action: Wait, Because: fmt.Sprintf("%s is running", f.Running.Type)}
	switch {
	case f.Running.Type == v1alpha1.OperationUninstall:
		return wait, true
	case f.Deleting:
		return Decision{Action: Interrupt, Because: "the HelmRelease is being deleted"}, true
	case f.Suspended, f.Problem != nil, f.ChartProblem != nil, f.Desired == "":
		return wait, true
	case f.Running.Type == v1alpha1.OperationTest:
		return wait, true // tests are never cut off
	case f.Running.Type == v1alpha1.OperationRollback && f.Desired != f.FailedDigest,
		f.Running.Type != v1alpha1.OperationRollback && f.Desired != f.Running.Digest:
		return Decision{Action: Interrupt, Because: "superseded by a newer desired state"}, true
	}
	return wait, true
}

func suspended(f *Facts) (Decision, bool) {
	return Decision{Action: Suspend, Because: "spec.suspend is set"}, f.Suspended
}

// ours reports that the newest record was written by the newest operation, and that nothing runs it any more. The
// revision is compared, too, because `helm upgrade` copies the labels of the revision before.
func ours(f *Facts) bool {
	return f.Last != nil && f.Last.Phase != v1alpha1.OperationSucceeded &&
		f.Newest.Operation == f.Last.ID && f.Newest.Revision == f.Last.Revision
}

// pendingOurs unlocks what this or an earlier process left when it was interrupted.
func pendingOurs(f *Facts) (Decision, bool) {
	if !f.Newest.pending() || !ours(f) {
		return Decision{}, false
	}
	return Decision{Action: Unlock, Because: "the operation was interrupted", Revision: f.Newest.Revision}, true
}

// blocked says what is wrong with spec, values or chart when that leaves unknown what is wanted.
func blocked(f *Facts) (Decision, bool) {
	switch {
	case f.Problem != nil:
		return block(f, f.Problem), true
	case f.ChartProblem != nil && f.Desired == "":
		return block(f, f.ChartProblem), true
	}
	return Decision{}, false
}

// notOurs refuses a Helm release that somebody else made.
func notOurs(f *Facts) (Decision, bool) {
	switch {
	case f.Newest.absent() || f.Newest.Owner == Ours:
		return Decision{}, false
	case f.Newest.Owner == OwnedByOther:
		return block(f, &Problem{
			Reason: v1alpha1.ReasonConfigurationError, Stalled: true,
			Message: fmt.Sprintf("the Helm release %s belongs to the HelmRelease %s; two cannot own one", f.Target, f.Newest.OwnerName),
		}), true
	case !f.Adopt:
		return block(f, &Problem{
			Reason: v1alpha1.ReasonConfigurationError, Stalled: true,
			Message: fmt.Sprintf("the Helm release %s exists and was not made by this HelmRelease; set release.adopt to Always "+
				"to take it over", f.Target),
		}), true
	}
	return Decision{}, false
}

// pendingOthers waits for someone else's operation and takes over when it takes too long.
func pendingOthers(f *Facts) (Decision, bool) {
	if !f.Newest.pending() {
		return Decision{}, false
	}
	if decision, wait := waitForOthers(f); wait {
		return decision, true
	}
	return Decision{Action: Unlock, Because: "an operation of someone else did not end in time", Revision: f.Newest.Revision}, true
}

// waitForOthers returns the decision to wait while someone else's operation has time left.
func waitForOthers(f *Facts) (Decision, bool) {
	until := f.Newest.Updated.Add(f.PendingTimeout)
	if !f.Now.Before(until) {
		return Decision{}, false
	}
	return Decision{
		Action: Block, Because: "someone else's Helm operation is running", Until: until,
		Problem: &Problem{
			Reason: v1alpha1.ReasonDependencyNotReady, Temporary: true,
			Message: fmt.Sprintf("another Helm operation works on %s (revision %d is %s); it is taken over if it has not ended by %s",
				f.Target, f.Newest.Revision, f.Newest.Status, clock(until)),
		},
	}, true
}

// absent installs, also over the history that keepHistory left.
func absent(f *Facts) (Decision, bool) {
	if !f.Newest.absent() {
		return Decision{}, false
	}
	if !f.Force {
		if decision, wait := wait(f); wait {
			return decision, true
		}
	}
	return deploy(f, Install, "nothing is deployed"), true
}

// forced upgrades once because an annotation asks for it.
func forced(f *Facts) (Decision, bool) {
	if !f.Force {
		return Decision{}, false
	}
	return deploy(f, Upgrade, "the force annotation asks for it"), true
}

// rolledBack holds what failed and was rolled back until something changes.
func rolledBack(f *Facts) (Decision, bool) {
	if !f.last(v1alpha1.OperationRollback, v1alpha1.OperationSucceeded) || !f.failedSame() {
		return Decision{}, false
	}
	return Decision{
		Action: Hold, Because: "what failed was rolled back and has not changed",
		Problem: &Problem{Reason: v1alpha1.ReasonRolledBack, Stalled: true, Message: f.Last.Message},
	}, true
}

// failedRevision reports that the newest record is of an upgrade, or of tests after it, that failed.
func (f *Facts) failedRevision() bool {
	failed := f.last(v1alpha1.OperationUpgrade, v1alpha1.OperationFailed) || f.last(v1alpha1.OperationTest, v1alpha1.OperationFailed)
	return failed && f.KnownFailed && f.Last.Revision == f.Newest.Revision
}

// mustRollBack rolls back an upgrade that failed after it had written a revision, and tries a rollback again that did
// not succeed.
func mustRollBack(f *Facts) (Decision, bool) {
	if !f.Rollback || !f.Newest.is(statusFailed) || !f.failedSame() {
		return Decision{}, false
	}
	again := f.last(v1alpha1.OperationRollback, v1alpha1.OperationFailed, v1alpha1.OperationInterrupted)
	first := f.failedRevision()
	switch {
	case !first && !again:
		return Decision{}, false
	case f.RollbackTo == 0: // nothing to go back to, so the upgrade is tried again
		return Decision{}, false
	case f.last(v1alpha1.OperationRollback, v1alpha1.OperationFailed):
		if decision, wait := wait(f); wait {
			return decision, true
		}
	}
	return Decision{Action: Rollback, Because: "the upgrade failed", Revision: f.RollbackTo}, true
}

// rollBackBlindly rolls back although it is not known what should be deployed, because spec, values or chart are wrong now: what
// failed was what should be deployed before, and stays broken until they are mended.
func rollBackBlindly(f *Facts) (Decision, bool) {
	if f.AccountProblem != nil { // nothing is done as an account that is not there
		return Decision{}, false
	}
	if f.Problem == nil && f.ChartProblem == nil || f.Desired != "" || f.FailedDigest == "" || f.Elsewhere != nil ||
		!f.Rollback || !f.Newest.is(statusFailed) || f.Newest.Owner != Ours || f.RollbackTo == 0 {
		return Decision{}, false
	}
	switch {
	case f.failedRevision():
	case f.last(v1alpha1.OperationRollback, v1alpha1.OperationInterrupted):
	case f.last(v1alpha1.OperationRollback, v1alpha1.OperationFailed) && !f.exhausted():
		if until := f.retryAt(); f.Now.Before(until) {
			problem := failureProblem(f, v1alpha1.ReasonRollbackFailed)
			problem.Message += "; next try at " + clock(until)
			return Decision{Action: BackOff, Because: "the rollback failed a short time ago", Problem: problem, Until: until}, true
		}
	default:
		return Decision{}, false
	}
	return Decision{Action: Rollback, Because: "the upgrade failed", Revision: f.RollbackTo}, true
}

// untested runs the tests of what is deployed as it should be.
func untested(f *Facts) (Decision, bool) {
	if _, ok := inSync(f); !ok || !f.Tests || f.Tested {
		return Decision{}, false
	}
	if decision, wait := wait(f); wait { // they could not run
		return decision, true
	}
	return Decision{Action: Test, Because: fmt.Sprintf("revision %d was not tested", f.Newest.Revision)}, true
}

// inSync leaves alone what is as it should be.
func inSync(f *Facts) (Decision, bool) {
	if !f.Newest.is(statusDeployed) || f.Applied == "" || f.Applied != f.Desired || f.AppliedRevision != f.Newest.Revision {
		return Decision{}, false
	}
	return Decision{Action: Stay, Because: "what should be deployed is"}, true
}

// adoptable takes note of a deployed revision that already is what it should be but that the status does not know: one
// of the original operator, of a restored backup, or of someone else where adopting is allowed.
func adoptable(f *Facts) (Decision, bool) {
	if !f.Newest.is(statusDeployed) || f.Applied != "" || !f.Newest.Equal || f.ChartProblem != nil {
		return Decision{}, false
	}
	return Decision{Action: Adopt, Because: "what is deployed equals what should be"}, true
}

// unsure upgrades over revisions that somebody else wrote on top of ours, whatever they hold.
func unsure(f *Facts) (Decision, bool) {
	if !f.Newest.is(statusDeployed) || f.AppliedRevision == 0 || f.AppliedRevision == f.Newest.Revision ||
		f.Applied != f.Desired || f.failedSame() {
		return Decision{}, false
	}
	return deploy(f, Upgrade, fmt.Sprintf("revision %d was not deployed by this HelmRelease", f.Newest.Revision)), true
}

// neverDeployed reports that all there is of the release is a first install that failed, which is to be removed.
func (f *Facts) neverDeployed() bool {
	return f.Reinstall && f.Newest.is(statusFailed) && f.Newest.Revision == 1 && f.Applied == "" && f.Newest.Owner == Ours &&
		f.KnownFailed && !f.last(v1alpha1.OperationInstall, v1alpha1.OperationInterrupted) &&
		!strings.HasPrefix(f.Newest.Description, "interrupted: ") // which is no failure
}

// failedBefore waits before the same thing is tried again.
func failedBefore(f *Facts) (Decision, bool) {
	if decision, wait := wait(f); wait {
		return decision, true
	}
	if f.neverDeployed() {
		if decision, wait := waitToUninstall(f); wait {
			return decision, true
		}
		return Decision{Action: Uninstall, Because: "install.remediation is Uninstall, and the first install failed"}, true
	}
	switch {
	case f.unfetched():
		return deploy(f, Upgrade, "its chart could not be downloaded before"), true
	case f.failedSame():
		return deploy(f, Upgrade, fmt.Sprintf("try %d after a failure", f.Failures+1)), true
	}
	return Decision{}, false
}

// wait returns the decision to wait, or to give up, when what should be done is what failed before.
func wait(f *Facts) (Decision, bool) {
	if f.unfetched() {
		return waitForChart(f)
	}
	if !f.failedSame() || f.Failures == 0 {
		return Decision{}, false
	}
	problem := failureProblem(f, v1alpha1.ReasonUpgradeFailed)
	if f.RollbackProblem != "" {
		problem.Message += "; not rolled back: " + f.RollbackProblem
	}
	if f.exhausted() {
		problem.Stalled = true
		problem.Message += fmt.Sprintf("; not tried again after %d failures (retry.limit): change the spec or set the annotation %s",
			f.Failures, v1alpha1.RetryAnnotation)
		return Decision{Action: Hold, Because: "no try is left", Problem: problem}, true
	}
	if until := f.retryAt(); f.Now.Before(until) {
		if f.Failures > 1 {
			problem.Message += fmt.Sprintf("; failed %d times", f.Failures)
		}
		problem.Message += "; next try at " + clock(until)
		return Decision{Action: BackOff, Because: "it failed a short time ago", Problem: problem, Until: until}, true
	}
	return Decision{}, false
}

// newsPause is the shortest time between two downloads of a chart, however often chartcache has news of its repository.
const newsPause = 5 * time.Second

// waitForChart waits before a chart that could not be downloaded is asked for again. News of its repository since then end the wait:
// it may have been mended. That is not counted as a try.
func waitForChart(f *Facts) (Decision, bool) {
	until := f.tryAfter(f.FetchFailures)
	if f.ChartNews.After(f.Last.StartedAt.Time) && until.After(f.LastFailure.Time.Add(newsPause)) {
		until = f.LastFailure.Time.Add(newsPause)
	}
	if !f.Now.Before(until) {
		return Decision{}, false
	}
	problem := failureProblem(f, v1alpha1.ReasonUpgradeFailed)
	problem.Message += "; next try at " + clock(until)
	return Decision{Action: BackOff, Because: "the chart could not be downloaded a short time ago", Problem: problem, Until: until}, true
}

// deploy starts an operation that needs the chart, or says why the chart cannot be had.
func deploy(f *Facts, action Action, because string) Decision {
	if f.ChartProblem != nil {
		return block(f, f.ChartProblem)
	}
	if f.DependencyProblem != nil {
		return block(f, f.DependencyProblem)
	}
	return Decision{Action: action, Because: because}
}

func block(f *Facts, problem *Problem) Decision {
	decision := Decision{Action: Block, Because: problem.Reason, Problem: problem}
	if problem.RetryAfter > 0 {
		decision.Until = f.Now.Add(problem.RetryAfter)
	}
	return decision
}

// failureProblem is the last failure as a problem.
func failureProblem(f *Facts, fallbackReason string) *Problem {
	if f.LastFailure == nil {
		return &Problem{Reason: fallbackReason, Message: "the last operation failed"}
	}
	return &Problem{Reason: f.LastFailure.Reason, Message: f.LastFailure.Message}
}

// clock spells a time in messages.
func clock(t time.Time) string { return t.UTC().Format("15:04:05 MST") }
