package release

import (
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Bounds of texts, in bytes. The API server refuses longer events; what is added to a failure's message has to fit, too.
const (
	maxEventBytes   = 1024
	maxMessageBytes = 1024
	maxFailureBytes = 800
)

// Messages that scripts of the original project look for.
const (
	messageReady     = "Release is ready"
	messageDeployed  = "Release is deployed"
	messageSuspended = "Release is suspended"
)

// set writes a condition of the draft.
func (p *pass) set(kind string, status metav1.ConditionStatus, reason, message string) {
	condition := metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: clip(message, maxMessageBytes),
		ObservedGeneration: p.draft.Generation,
	}
	conditions := &p.draft.Status.Conditions
	if old := meta.FindStatusCondition(*conditions, kind); old == nil || old.Status != status {
		condition.LastTransitionTime = metav1.NewTime(p.cfg.Now())
	}
	meta.SetStatusCondition(conditions, condition)
}

func (p *pass) drop(kind string) { meta.RemoveStatusCondition(&p.draft.Status.Conditions, kind) }

// setStalled writes Stalled, which is there only while it is true.
func (p *pass) setStalled(stalled bool, reason, message string) {
	if !stalled {
		p.drop(v1alpha1.ConditionStalled)
		return
	}
	p.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
}

// setReleased writes whether the newest revision is deployed, as the status knows it.
func (p *pass) setReleased() {
	deployed := p.draft.Status.HelmRelease
	switch {
	case deployed == nil:
		p.set(v1alpha1.ConditionReleased, metav1.ConditionFalse, "NotInstalled", "Release is not deployed")
	case deployed.Status == statusDeployed:
		p.set(v1alpha1.ConditionReleased, metav1.ConditionTrue, completedReason(deployed.Revision), messageDeployed)
	default:
		p.set(v1alpha1.ConditionReleased, metav1.ConditionFalse, "NotDeployed", "The newest revision is "+deployed.Status)
	}
}

// succeeded writes that all is well.
func (p *pass) succeeded() {
	reason := v1alpha1.ReasonUpgradeCompleted
	if deployed := p.draft.Status.HelmRelease; deployed != nil {
		reason = completedReason(deployed.Revision)
	}
	p.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, messageReady)
	p.set(v1alpha1.ConditionFailed, metav1.ConditionFalse, reason, messageReady)
	p.set(v1alpha1.ConditionProgressing, metav1.ConditionFalse, reason, messageReady)
	p.setStalled(false, "", "")
	p.setReleased()
	if test := p.draft.Spec.Test; test == nil || !test.Enable {
		p.drop(v1alpha1.ConditionTestSuccess)
	}
}

// troubled writes a problem. failed says whether something failed, or is only waited for.
func (p *pass) troubled(problem *Problem, failed bool) {
	p.set(v1alpha1.ConditionReady, metav1.ConditionFalse, problem.Reason, problem.Message)
	status := metav1.ConditionFalse
	if failed {
		status = metav1.ConditionTrue
	}
	p.set(v1alpha1.ConditionFailed, status, problem.Reason, problem.Message)
	p.set(v1alpha1.ConditionProgressing, metav1.ConditionFalse, problem.Reason, problem.Message)
	p.setStalled(problem.Stalled, problem.Reason, problem.Message)
	p.setReleased()
}

// unreadable writes that the API server did not answer what was asked. A release that is Ready stays so: nothing is known
// against it, and the next try mostly succeeds.
func (p *pass) unreadable(err error) {
	ready := meta.FindStatusCondition(p.draft.Status.Conditions, v1alpha1.ConditionReady)
	deleting := !p.draft.DeletionTimestamp.IsZero()
	isReady := ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == p.draft.Generation
	if p.running != nil || (isReady && !deleting) {
		return
	}
	problem := &Problem{Reason: v1alpha1.ReasonDependencyNotReady, Message: err.Error(), Temporary: true}
	if deleting {
		problem.Message += howToLeave
	}
	p.troubled(problem, false)
	if ready == nil || ready.Reason != problem.Reason || ready.Message != clip(problem.Message, maxMessageBytes) {
		p.warn(problem.Reason, problem.Message)
	}
}

// progressing writes that an operation runs. What failed before stays the cause until the operation has mended it.
func (p *pass) progressing(reason, message string, because *Problem) {
	p.set(v1alpha1.ConditionProgressing, metav1.ConditionTrue, reason, message)
	p.setStalled(false, "", "")
	if because != nil {
		p.set(v1alpha1.ConditionReady, metav1.ConditionFalse, because.Reason, because.Message+"; "+message)
		p.set(v1alpha1.ConditionFailed, metav1.ConditionTrue, because.Reason, because.Message)
	} else {
		p.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, reason, message)
		p.set(v1alpha1.ConditionFailed, metav1.ConditionFalse, reason, message)
	}
	p.setReleased()
}

// proceeding writes what the operation that runs waits for, if that is worth a word.
func (p *pass) proceeding() {
	operation := p.draft.Status.Operation
	if p.progress == "" || operation == nil || p.running == nil || operation.ID != p.running.ID || operation.Phase != v1alpha1.OperationRunning {
		return
	}
	noted := *operation
	noted.Message = clip(p.running.Message+"; "+p.progress, maxMessageBytes)
	p.draft.Status.Operation = &noted
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionProgressing} {
		before := meta.FindStatusCondition(p.draft.Status.Conditions, kind)
		if before == nil {
			continue
		}
		// What failed before, if anything did, stays in front; the operation and its progress follow.
		cause, _, _ := strings.Cut(before.Message, p.running.Message)
		p.set(kind, before.Status, before.Reason, cause+noted.Message)
	}
}

// completedReason is the reason of a deployed revision.
func completedReason(revision int) string {
	if revision <= 1 {
		return v1alpha1.ReasonInstallCompleted
	}
	return v1alpha1.ReasonUpgradeCompleted
}

// startedReason and failedReason name the beginning and the failure of an operation. What the API gives no reason for has
// the one of the operation that it belongs to.
func startedReason(kind v1alpha1.OperationType) string {
	switch kind {
	case v1alpha1.OperationInstall:
		return v1alpha1.ReasonInstallStarted
	case v1alpha1.OperationUninstall:
		return v1alpha1.ReasonUninstallStarted
	default:
		return v1alpha1.ReasonUpgradeStarted
	}
}

func failedReason(kind v1alpha1.OperationType) string {
	switch kind {
	case v1alpha1.OperationInstall:
		return v1alpha1.ReasonInstallFailed
	case v1alpha1.OperationUninstall:
		return v1alpha1.ReasonUninstallFailed
	case v1alpha1.OperationRollback:
		return v1alpha1.ReasonRollbackFailed
	case v1alpha1.OperationTest:
		return v1alpha1.ReasonTestFailed
	default:
		return v1alpha1.ReasonUpgradeFailed
	}
}

// clip cuts a text to a number of bytes, between characters.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const mark = "..."
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
