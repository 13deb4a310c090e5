package release

import (
	"fmt"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// The rules of this file are about what is to go: with its HelmRelease, under a name that the spec gave up, or because an uninstall
// was begun.

// howToLeave ends the messages about what keeps a HelmRelease that is being deleted.
const howToLeave = "; set deletionPolicy to Orphan to leave the Helm release behind"

// deleting uninstalls what is ours and lets the object go when nothing of it is left.
func deleting(f *Facts) (Decision, bool) {
	if !f.Deleting {
		return Decision{}, false
	}
	switch {
	case f.Orphan:
		return Decision{Action: Finish, Because: "the deletion policy is Orphan"}, true
	case f.Newest.absent():
		return Decision{Action: Finish, Because: "nothing is deployed"}, true
	case f.Newest.Owner != Ours:
		return Decision{Action: Finish, Because: "the Helm release is not of this HelmRelease"}, true
	}
	if f.Newest.pending() && !ours(f) || f.Newest.is(statusUninstalling) && !uninstallsItself(f) {
		if decision, wait := waitForOthers(f); wait {
			decision.Problem.Message += howToLeave
			return decision, true
		}
	}
	if f.AccountProblem != nil {
		problem := *f.AccountProblem
		problem.Message += ", so that nothing can be uninstalled as it; create it, or set deletionPolicy to Orphan to leave the Helm release behind"
		return block(f, &problem), true
	}
	if f.Dependent != "" {
		return Decision{Action: Block, Because: "another release must be uninstalled first", Until: f.DependentUntil, Problem: &Problem{
			Reason: v1alpha1.ReasonDependencyNotReady, Temporary: true,
			Message: fmt.Sprintf("waiting for HelmRelease %s, which depends on this one, to be uninstalled", f.Dependent) + howToLeave,
		}}, true
	}
	if decision, wait := waitToUninstall(f); wait {
		decision.Problem.Message += howToLeave
		return decision, true
	}
	return Decision{Action: Uninstall, Because: "the HelmRelease is being deleted"}, true
}

// elsewhere decides about what an edited name or namespace no longer names.
func elsewhere(f *Facts) (Decision, bool) {
	switch {
	case f.Elsewhere == nil:
		return Decision{}, false
	case f.OnChange == v1alpha1.OnChangeOrphan:
		return Decision{Action: Abandon, Because: "release.onChange is Orphan"}, true
	case f.OnChange == v1alpha1.OnChangeReinstall:
		// Nothing is removed before its successor can be there.
		for _, obstacle := range []rule{notOurs, pendingOthers} {
			if decision, ok := obstacle(f); ok {
				return decision, true
			}
		}
		if decision := deploy(f, Install, ""); decision.Action == Block {
			return decision, true
		}
		if decision, wait := waitToUninstall(f); wait {
			return decision, true
		}
		return Decision{
			Action: Uninstall, Target: f.Elsewhere,
			Because: fmt.Sprintf("release.onChange is Reinstall, and spec.release now names %s", f.Target),
		}, true
	}
	return block(f, &Problem{
		Reason: v1alpha1.ReasonConfigurationError, Stalled: true,
		Message: fmt.Sprintf("the release is deployed as %s, but spec.release now names %s: release.onChange is Refuse; "+
			"change name and namespace back, set it to Reinstall or Orphan, or uninstall %s first", *f.Elsewhere, f.Target, *f.Elsewhere),
	}), true
}

// uninstallsItself reports that the newest operation is an uninstall of ours that has not come to its end.
func uninstallsItself(f *Facts) bool {
	return f.Last != nil && f.Last.Type == v1alpha1.OperationUninstall && f.Last.Phase != v1alpha1.OperationSucceeded
}

// uninstalling finishes an uninstall that was cut off, so that the release can be installed again. Someone else's has its time:
// it would delete what is installed meanwhile.
func uninstalling(f *Facts) (Decision, bool) {
	if !f.Newest.is(statusUninstalling) {
		return Decision{}, false
	}
	if !uninstallsItself(f) {
		if decision, wait := waitForOthers(f); wait {
			return decision, true
		}
	}
	if decision, wait := waitToUninstall(f); wait {
		return decision, true
	}
	if decision, wait := wait(f); wait {
		return decision, true
	}
	return Decision{Action: Uninstall, Because: "an uninstall was cut off"}, true
}

// waitToUninstall backs off after an uninstall that failed.
func waitToUninstall(f *Facts) (Decision, bool) {
	if !f.last(v1alpha1.OperationUninstall, v1alpha1.OperationFailed) || !f.Now.Before(f.retryAt()) {
		return Decision{}, false
	}
	return Decision{
		Action: BackOff, Because: "the last uninstall failed",
		Problem: failureProblem(f, v1alpha1.ReasonUninstallFailed), Until: f.retryAt(),
	}, true
}
