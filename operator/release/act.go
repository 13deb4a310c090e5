package release

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// act does what was decided. It returns when to look again, or again when there is more to do at once.
func (p *pass) act(ctx context.Context, f *Facts, d Decision) (after time.Duration, again bool, err error) {
	log.FromContext(ctx).V(1).Info("Decided", "action", d.Action, "because", d.Because)
	switch d.Action {
	case Wait: // the runner wakes the object
		p.proceeding()
		return p.settings.interval, false, p.save(ctx)
	case Interrupt:
		log.FromContext(ctx).Info("Interrupting the operation", "operation", f.Running.Type, "because", d.Because)
		p.cfg.Runner.Interrupt(p.key, fmt.Errorf("%w: %s", ErrSuperseded, d.Because))
		return p.settings.interval, false, p.save(ctx)
	case Unlock:
		return 0, true, p.unlock(ctx, f, d)
	case Adopt:
		p.adopt(ctx, f)
		return 0, true, nil
	case Abandon:
		p.unlockLeft(ctx, f, *f.Elsewhere)
		p.abandon(ctx, f)
		return 0, true, nil
	case Finish:
		if f.Orphan {
			if deployed, ok := deployedTarget(p.draft); ok {
				p.unlockLeft(ctx, f, deployed)
			}
		}
		return 0, false, p.letGo(ctx, d)
	case Install, Upgrade, Rollback, Uninstall, Test:
		return p.start(ctx, f, d)
	case Stay:
		return p.stay(ctx, f, d)
	default:
		p.conclude(d)
		return p.lookAgain(f, d), false, p.save(ctx)
	}
}

// lookAgain is the wait until the next look at a release that is left as it is.
func (p *pass) lookAgain(f *Facts, d Decision) time.Duration {
	if d.Action == Suspend {
		return 0
	}
	if d.Until.IsZero() {
		return p.settings.interval
	}
	return min(max(d.Until.Sub(f.Now), time.Second), p.settings.interval)
}

// conclude writes the conditions of a release that is left as it is.
func (p *pass) conclude(d Decision) {
	p.observed()
	before := meta.FindStatusCondition(p.saved.Status.Conditions, v1alpha1.ConditionReady)
	switch d.Action {
	case Stay:
		p.succeeded()
	case Suspend:
		p.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReleaseSuspended, messageSuspended)
		p.set(v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonReleaseSuspended, messageSuspended)
		p.setStalled(false, "", "")
		if before == nil || before.Reason != v1alpha1.ReasonReleaseSuspended {
			p.normal(v1alpha1.ReasonReleaseSuspended, messageSuspended)
		}
	case Hold, BackOff: // the failure had its event
		p.troubled(d.Problem, true)
	default:
		p.troubled(d.Problem, !d.Problem.Temporary)
		after := meta.FindStatusCondition(p.draft.Status.Conditions, v1alpha1.ConditionReady)
		if before == nil || before.Status != after.Status || before.Reason != after.Reason || before.Message != after.Message {
			p.warn(after.Reason, after.Message)
		}
	}
}

// observed notes that the status is about the spec as it is now.
func (p *pass) observed() {
	status := &p.draft.Status
	fields := SourceFields(&p.draft.Spec.Chart)
	if len(fields) > 1 && status.ObservedGeneration != p.draft.Generation {
		p.warn(v1alpha1.ReasonConfigurationError,
			fmt.Sprintf("spec.chart names several sources (%v); %s is used", fields, fields[0]))
	}
	status.ObservedGeneration = p.draft.Generation
	// These fields of the original hold values, which may be secret.
	status.LastAppliedConfiguration, status.OriginalValues = "", ""
}

// unlock marks a pending record as interrupted. Somebody who wrote it meanwhile makes no difference: the next look tells.
func (p *pass) unlock(ctx context.Context, f *Facts, d Decision) error {
	if f.Last != nil && f.Last.ID == f.Newest.Operation && f.Last.Phase == v1alpha1.OperationRunning {
		// The status first: if the record were unlocked without it, the revision would look as if it had failed.
		p.interrupted(*f.Last, f.Newest.Revision)
		if err := p.save(ctx); err != nil {
			return err
		}
	}
	log.FromContext(ctx).Info("Unlocking a pending revision", "release", f.Target.String(), "revision", d.Revision, "because", d.Because)
	p.seen.drop(p.key)
	err := p.cfg.Helm.MarkInterrupted(ctx, f.Target.Namespace, f.Target.Name, d.Revision, d.Because)
	if errors.Is(err, helm.ErrConflict) || errors.Is(err, helm.ErrNotFound) {
		return nil
	}
	return err
}

// unlockLeft unlocks what an operation of ours left pending in a release that is left behind: nobody else would, and Helm refuses
// to work on it until then. That it cannot be done keeps nothing.
func (p *pass) unlockLeft(ctx context.Context, f *Facts, target Target) {
	if f.Last == nil || f.Last.Phase == v1alpha1.OperationSucceeded || f.Last.Phase == v1alpha1.OperationFailed {
		return
	}
	newest, found, err := p.cfg.Helm.Last(ctx, target.Namespace, target.Name)
	if err == nil && found && newest.Status.Pending() && newest.Labels[v1alpha1.OperationLabel] == f.Last.ID {
		err = p.cfg.Helm.MarkInterrupted(ctx, target.Namespace, target.Name, newest.Revision, "the release was left behind")
	}
	if err != nil {
		log.FromContext(ctx).Error(err, "Unlock a Helm release that is left behind", "release", target.String())
	}
}

// adopt takes note of what is deployed.
func (p *pass) adopt(ctx context.Context, f *Facts) {
	status := &p.draft.Status
	log.FromContext(ctx).Info("Adopted a release that is as it should be", "release", f.Target.String(), "revision", f.Newest.Revision)
	status.AppliedDigest = f.Desired
	p.pushHistory(v1alpha1.ReleaseRevision{
		Revision: f.Newest.Revision, Status: statusDeployed, ChartVersion: p.chart.version.Version,
		AppVersion: p.chart.version.AppVersion, Digest: f.Desired,
	})
	if deployed, ok := deployedTarget(p.draft); !ok || deployed != f.Target {
		// So that the next look finds it to be ours; it also fills in the rest.
		status.HelmRelease = &v1alpha1.HelmReleaseInfo{Namespace: f.Target.Namespace, Name: f.Target.Name, Revision: f.Newest.Revision}
		p.normal(v1alpha1.ReasonInstallCompleted, fmt.Sprintf("Took over the Helm release %s, revision %d", f.Target, f.Newest.Revision))
	}
}

// abandon forgets what is deployed elsewhere. It stays as it is.
func (p *pass) abandon(ctx context.Context, f *Facts) {
	status := &p.draft.Status
	log.FromContext(ctx).Info("Leaving a Helm release behind", "release", f.Elsewhere.String())
	p.normal(v1alpha1.ReasonUninstallCompleted, fmt.Sprintf("Left the Helm release %s behind, since spec.release names %s now", f.Elsewhere, f.Target))
	status.HelmRelease, status.History, status.Operation = nil, nil, nil
	status.AppliedDigest, status.FailedDigest, status.FailureCount = "", "", 0
}

// letGo removes the finalizer.
func (p *pass) letGo(ctx context.Context, d Decision) error {
	if err := p.save(ctx); err != nil {
		return err
	}
	log.FromContext(ctx).Info("Letting the object go", "because", d.Because)
	if err := p.cfg.Objects.RemoveFinalizer(ctx, p.draft); err != nil {
		return err
	}
	p.Forget(p.key)
	return nil
}

// start announces an operation in the status and runs it.
func (p *pass) start(ctx context.Context, f *Facts, d Decision) (time.Duration, bool, error) {
	if p.outcome != nil { // the runner holds one operation for an object, the one before included
		if err := p.save(ctx); err != nil {
			return 0, false, err
		}
	}
	queued := p.cfg.Runner.Queued(p.key)
	if !p.cfg.Runner.Reserve(p.key) { // the runner wakes the object when its turn comes
		if !queued && p.cfg.Runner.Queued(p.key) {
			return queuePatience, false, nil // mostly the turn comes first
		}
		if queued {
			p.observed()
			p.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, startedReason(v1alpha1.OperationType(d.Action)),
				fmt.Sprintf("%s waits until fewer Helm operations run: %s", d.Action, d.Because))
		}
		return p.settings.interval, false, p.save(ctx)
	}
	if d.Target != nil {
		elsewhere := *f
		elsewhere.Target = *d.Target
		f = &elsewhere
	}
	operation := p.announce(f, d)
	if err := p.save(ctx); err != nil {
		p.cfg.Runner.Return()
		return 0, false, err
	}
	log.FromContext(ctx).Info("Starting a Helm operation", "operation", operation.Type, "release", f.Target.String(),
		"revision", operation.Revision, "chart", p.chart.version.Version, "because", d.Because)
	p.cfg.Runner.Run(p.key, operation, p.work(ctx, f, d, operation))
	return p.settings.interval, false, nil
}

// announce writes the intent into the draft.
func (p *pass) announce(f *Facts, d Decision) v1alpha1.ReleaseOperation {
	status := &p.draft.Status
	operation := v1alpha1.ReleaseOperation{
		ID: p.cfg.NewOperationID(), Phase: v1alpha1.OperationRunning, Digest: f.Desired,
		StartedAt: metav1.NewTime(f.Now.Truncate(time.Second)),
	}
	if f.Newest != nil {
		operation.Revision = f.Newest.Revision
	}
	chart := fmt.Sprintf("chart %s %s", p.draft.Spec.Chart.Name, p.chart.version.Version)
	switch d.Action {
	case Install:
		operation.Type = v1alpha1.OperationInstall
		operation.Message = fmt.Sprintf("Installing %s as %s (timeout %s)", chart, f.Target, p.settings.install.Timeout)
	case Upgrade:
		operation.Type = v1alpha1.OperationUpgrade
		operation.Message = fmt.Sprintf("Upgrading to %s (timeout %s): %s", chart, p.settings.upgrade.Timeout, d.Because)
		if p.republished {
			operation.Message = fmt.Sprintf("Upgrading to %s (timeout %s): this version was published again with another content",
				chart, p.settings.upgrade.Timeout)
		}
	case Rollback:
		operation.Type, operation.Digest = v1alpha1.OperationRollback, p.digestOf(d.Revision)
		operation.Message = fmt.Sprintf("rolling back to revision %d (timeout %s)", d.Revision, p.settings.rollback.Timeout)
	case Test:
		operation.Type = v1alpha1.OperationTest
		operation.Message = fmt.Sprintf("Testing revision %d of %s (timeout %s)", f.Newest.Revision, f.Target, p.settings.test.Timeout)
	case Uninstall:
		operation.Type, operation.Digest = v1alpha1.OperationUninstall, ""
		operation.Message = fmt.Sprintf("Uninstalling %s (timeout %s): %s", f.Target, p.settings.uninstall.Timeout, d.Because)
	}
	if d.Action != Uninstall && d.Action != Test {
		operation.Revision++
	}
	if (d.Action == Install || d.Action == Upgrade) && p.wantForce != "" {
		status.HandledForce = p.wantForce
	}
	if d.Action == Install {
		// Names for the deletion, should this process not live to see the outcome.
		status.HelmRelease = &v1alpha1.HelmReleaseInfo{
			Namespace: f.Target.Namespace, Name: f.Target.Name, Revision: operation.Revision, Status: pendingPrefix + "install",
		}
	}
	status.Operation = &operation
	p.observed()
	var because *Problem
	if f.LastFailure != nil && (f.Failures > 0 && (f.failedSame() || d.Action == Uninstall) || f.unfetched()) {
		because = &Problem{Reason: f.LastFailure.Reason, Message: f.LastFailure.Message}
	}
	p.progressing(startedReason(operation.Type), operation.Message, because)
	if d.Action != Rollback && d.Action != Test { // RollbackSucceeded or RollbackFailed tells
		p.normal(startedReason(operation.Type), operation.Message)
	}
	return operation
}

// digestOf returns the desired digest that a revision deployed, as far as the status remembers.
func (p *pass) digestOf(revision int) string {
	for _, r := range p.draft.Status.History {
		if r.Revision == revision {
			return r.Digest
		}
	}
	return ""
}
