package release

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// Bounds of lists in the status, as the API has them.
const (
	maxFailures = 5
	maxHistory  = 5
)

// takeOutcome takes what the runner holds for the object into the draft.
func (p *pass) takeOutcome() {
	outcome, ok := p.cfg.Runner.Outcome(p.key)
	if !ok {
		return
	}
	if outcome.UID != "" && outcome.UID != p.draft.UID {
		p.cfg.Runner.Forget(p.key)
		return
	}
	p.outcome = &outcome
	if outcome.Record != nil && outcome.Record.ResourceVersion != "" {
		p.seen.put(p.key, seen(Target{Namespace: outcome.Record.Namespace, Name: outcome.Record.Name}, outcome.Record))
	} else {
		p.seen.drop(p.key)
	}
	if last := p.draft.Status.Operation; last != nil && last.ID == outcome.Operation.ID && last.Phase != v1alpha1.OperationRunning {
		return // recorded already
	}
	p.apply(&outcome)
	p.count = true
}

// apply writes how an operation ended into the draft.
func (p *pass) apply(o *Outcome) {
	switch {
	case o.Interrupted:
		p.interrupted(o.Operation, 0)
	case o.Tolerated:
		p.tested(o, v1alpha1.TestsFailed, o.Problem.Message)
	case o.Problem != nil:
		p.failed(o)
	default:
		p.completed(o)
	}
}

// interrupted notes that an operation was cut off, and the revision that it left, if it is known. That is no failure.
func (p *pass) interrupted(operation v1alpha1.ReleaseOperation, revision int) {
	operation.Phase = v1alpha1.OperationInterrupted
	operation.Message = "Interrupted: " + strings.TrimPrefix(operation.Message, "Interrupted: ")
	p.draft.Status.Operation = &operation
	if revision > 0 {
		p.pushHistory(v1alpha1.ReleaseRevision{Revision: revision, Status: statusFailed, Digest: operation.Digest})
	}
}

// completed notes a success.
func (p *pass) completed(o *Outcome) {
	status, operation := &p.draft.Status, o.Operation
	operation.Phase = v1alpha1.OperationSucceeded
	took := o.Finished.Sub(operation.StartedAt.Time).Round(time.Second)
	switch operation.Type {
	case v1alpha1.OperationTest:
		status.FailedDigest, status.FailureCount = "", 0
		p.tested(o, v1alpha1.TestsPassed, fmt.Sprintf("Tests of revision %d passed in %s", operation.Revision, took))
		return
	case v1alpha1.OperationUninstall:
		// What never was deployed is removed before the next try, which is still one after a failure.
		if p.draft.DeletionTimestamp != nil || status.AppliedDigest != "" {
			status.FailedDigest, status.FailureCount = "", 0
		}
		status.AppliedDigest, status.History = "", nil
		operation.Message = fmt.Sprintf("Uninstalled in %s", took)
		p.normal(v1alpha1.ReasonUninstallCompleted, operation.Message)
	case v1alpha1.OperationRollback:
		status.AppliedDigest = operation.Digest
		operation.Message = clip(p.rolledBackMessage(o), maxMessageBytes)
		p.normal(v1alpha1.ReasonRollbackSucceeded, operation.Message)
	default:
		status.AppliedDigest = operation.Digest
		// A try whose tests are to come has not succeeded yet.
		if test := p.draft.Spec.Test; test == nil || !test.Enable || status.FailedDigest != operation.Digest {
			status.FailedDigest, status.FailureCount = "", 0
		}
		reason, verb := v1alpha1.ReasonInstallCompleted, "Installed"
		if operation.Type == v1alpha1.OperationUpgrade {
			reason, verb = v1alpha1.ReasonUpgradeCompleted, "Upgraded to"
		}
		operation.Message = fmt.Sprintf("%s chart %s %s in %s", verb, p.draft.Spec.Chart.Name, o.Record.ChartVersion, took)
		p.normal(reason, operation.Message)
	}
	if o.Record != nil {
		p.pushHistory(revisionOf(o.Record, operation.Digest))
	}
	p.drop(v1alpha1.ConditionTestSuccess) // that was another revision
	status.Operation = &operation
}

// tested notes how the tests of a revision ended, when that decides about nothing else.
func (p *pass) tested(o *Outcome, outcome v1alpha1.TestOutcome, message string) {
	operation := o.Operation
	operation.Phase, operation.Message = v1alpha1.OperationSucceeded, clip(message, maxFailureBytes)
	p.draft.Status.Operation = &operation
	p.noteTests(operation.Revision, outcome, operation.Message)
	if outcome == v1alpha1.TestsPassed {
		p.normal(v1alpha1.ReasonTestSucceeded, operation.Message)
	} else {
		p.warn(v1alpha1.ReasonTestFailed, operation.Message)
	}
}

// noteTests writes how the tests of a revision ended into its history and into the condition.
func (p *pass) noteTests(revision int, outcome v1alpha1.TestOutcome, message string) {
	for i := range p.draft.Status.History {
		if p.draft.Status.History[i].Revision == revision {
			p.draft.Status.History[i].Tests = outcome
		}
	}
	if outcome == v1alpha1.TestsPassed {
		p.set(v1alpha1.ConditionTestSuccess, metav1.ConditionTrue, v1alpha1.ReasonTestSucceeded, message)
	} else {
		p.set(v1alpha1.ConditionTestSuccess, metav1.ConditionFalse, v1alpha1.ReasonTestFailed, message)
	}
}

// rolledBackMessage says to what a release went back, and why. Which revision it was is not known when another process
// began the rollback.
func (p *pass) rolledBackMessage(o *Outcome) string {
	message := "Rolled back after upgrade failure"
	if o.RolledBackTo > 0 {
		message = fmt.Sprintf("Rolled back to revision %d after upgrade failure", o.RolledBackTo)
	}
	for _, failure := range p.draft.Status.Failures { // newest first
		if failure.Reason != v1alpha1.ReasonRollbackFailed {
			return message + ": " + failure.Message
		}
	}
	return message
}

// failed notes a failure.
func (p *pass) failed(o *Outcome) {
	status, operation := &p.draft.Status, o.Operation
	operation.Phase = v1alpha1.OperationFailed
	operation.Message = clip(o.Problem.Message, maxFailureBytes)
	if o.Revision > 0 {
		operation.Revision = o.Revision
		p.pushHistory(v1alpha1.ReleaseRevision{Revision: o.Revision, Status: statusFailed, Digest: operation.Digest})
	}
	switch operation.Type {
	case v1alpha1.OperationInstall, v1alpha1.OperationUpgrade, v1alpha1.OperationTest:
		if status.FailedDigest != operation.Digest {
			status.FailureCount = 0
		}
		status.FailedDigest = operation.Digest
	case v1alpha1.OperationUninstall:
		if len(status.Failures) == 0 || status.Failures[0].Reason != v1alpha1.ReasonUninstallFailed {
			status.FailureCount = 0
		}
	}
	if operation.Type == v1alpha1.OperationTest && o.Revision > 0 {
		p.noteTests(o.Revision, v1alpha1.TestsFailed, operation.Message)
	}
	if !isFetchReason(o.Problem.Reason) { // nothing was tried without a chart
		status.FailureCount++
	}
	status.Failures = append([]v1alpha1.ReleaseFailure{{
		Time: metav1.NewTime(o.Finished.Truncate(time.Second)), Reason: o.Problem.Reason, Message: operation.Message,
	}}, status.Failures...)
	status.Failures = status.Failures[:min(len(status.Failures), maxFailures)]
	status.Operation = &operation
	p.warn(o.Problem.Reason, operation.Message)
	if reason := failedReason(operation.Type); reason != o.Problem.Reason {
		p.warn(reason, operation.Message)
	}
	p.troubled(&Problem{Reason: o.Problem.Reason, Message: operation.Message}, true)
}

// pushHistory puts a revision on top of those that this object deployed.
func (p *pass) pushHistory(revision v1alpha1.ReleaseRevision) {
	history := []v1alpha1.ReleaseRevision{revision}
	for _, old := range p.draft.Status.History {
		if old.Revision == revision.Revision {
			continue
		}
		if old.Status == statusDeployed && revision.Status == statusDeployed {
			old.Status = statusSuperseded
		}
		history = append(history, old)
	}
	// The deployed one stays, however many failed since.
	for i := len(history) - 1; i > 0 && len(history) > maxHistory; i-- {
		if history[i].Status != statusDeployed {
			history = append(history[:i], history[i+1:]...)
		}
	}
	p.draft.Status.History = history
}

func revisionOf(record *helm.Release, digest string) v1alpha1.ReleaseRevision {
	return v1alpha1.ReleaseRevision{
		Revision: record.Revision, Status: string(record.Status), ChartVersion: record.ChartVersion,
		AppVersion: record.AppVersion, Digest: digest, Deployed: timeOf(record.LastDeployed),
	}
}

// recover finds out what became of an operation of an earlier process: the records that it wrote carry its id. A record
// that is still pending is left to the decision.
func (p *pass) recover(f *Facts, newest *helm.Release) {
	last := f.Last
	if last == nil || last.Phase != v1alpha1.OperationRunning || f.Running != nil {
		return
	}
	outcome := Outcome{Operation: *last, Finished: f.Now}
	wrote := f.Newest != nil && f.Newest.Operation == last.ID && f.Newest.Revision == last.Revision
	switch {
	case wrote && f.Newest.pending():
		return
	case last.Type == v1alpha1.OperationUninstall:
		// Of a release that the spec no longer names, these facts say nothing.
		deployed, ok := deployedTarget(p.draft)
		outcome.Interrupted = !f.Newest.absent() || ok && deployed != f.Target
	case wrote && f.Newest.is(statusDeployed):
		outcome.Record = newest
	case wrote && f.Newest.is(statusFailed):
		outcome.Revision = f.Newest.Revision
		outcome.Problem = &Problem{
			Reason: failedReason(last.Type), Message: clip("Helm says: "+f.Newest.Description, maxFailureBytes),
		}
	default:
		outcome.Interrupted = true
	}
	p.apply(&outcome)
	f.readStatus(&p.draft.Status)
}

// noteNewest writes what Helm's storage says of our release into the draft.
func (p *pass) noteNewest(f *Facts, newest *helm.Release) {
	status := &p.draft.Status
	if f.Elsewhere != nil {
		return
	}
	ours := f.Newest != nil && f.Newest.Owner == Ours
	if ours {
		status.HelmRelease = infoOf(newest)
	} else { // it is gone, or somebody else's, which a deletion must not touch
		status.HelmRelease = nil
	}
	if !ours || f.Newest.absent() {
		status.AppliedDigest, status.History = "", nil
	}
	f.readStatus(status)
}

func infoOf(release *helm.Release) *v1alpha1.HelmReleaseInfo {
	info := &v1alpha1.HelmReleaseInfo{
		Name: release.Name, Namespace: release.Namespace, Revision: release.Revision, Status: string(release.Status),
		FirstDeployed: timeOf(release.FirstDeployed), LastDeployed: timeOf(release.LastDeployed),
		Description: clip(release.Description, maxFailureBytes), AppVersion: release.AppVersion,
	}
	if release.ChartName != "" {
		info.Chart = release.ChartName + "-" + release.ChartVersion
	}
	return info
}

// timeOf returns a time as statuses hold it, in whole seconds, so that what was written compares equal to what is read.
func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	whole := metav1.NewTime(t.Truncate(time.Second))
	return &whole
}
