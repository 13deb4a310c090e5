package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

var testTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// deployed returns the facts of a release whose revision 3 is deployed as it should be, changed by the edits.
func deployed(edits ...func(*Facts)) Facts {
	f := Facts{
		Now: testTime, Target: Target{Namespace: "shop", Name: "app"},
		Newest:  &Record{Revision: 3, Status: "deployed", Operation: "op3", Updated: testTime.Add(-time.Hour)},
		Desired: "A", Applied: "A", AppliedRevision: 3,
		Last:           operation(v1alpha1.OperationUpgrade, v1alpha1.OperationSucceeded, "op3", 3, "A"),
		Retry:          RetryPolicy{Interval: time.Minute, MaxInterval: 15 * time.Minute},
		PendingTimeout: 11 * time.Minute,
	}
	for _, edit := range edits {
		edit(&f)
	}
	return f
}

func operation(kind v1alpha1.OperationType, phase v1alpha1.OperationPhase, id string, revision int, digest string) *v1alpha1.ReleaseOperation {
	return &v1alpha1.ReleaseOperation{ID: id, Type: kind, Phase: phase, Revision: revision, Digest: digest, Message: string(kind)}
}

// failedUpgrade is an upgrade to B that wrote the failed revision 4, some time ago.
func failedUpgrade(ago time.Duration) func(*Facts) {
	return func(f *Facts) {
		f.Desired, f.FailedDigest, f.Failures = "B", "B", 1
		f.Newest = &Record{Revision: 4, Status: "failed", Operation: "op4", Updated: testTime.Add(-ago)}
		f.KnownFailed = true
		f.Last = operation(v1alpha1.OperationUpgrade, v1alpha1.OperationFailed, "op4", 4, "B")
		f.LastFailure = failure(v1alpha1.ReasonUpgradeFailed, "it broke", ago)
	}
}

func failure(reason, message string, ago time.Duration) *v1alpha1.ReleaseFailure {
	return &v1alpha1.ReleaseFailure{Time: metav1.NewTime(testTime.Add(-ago)), Reason: reason, Message: message}
}

func absentRelease(f *Facts) { f.Newest, f.Applied, f.AppliedRevision, f.Last = nil, "", 0, nil }

func failedInstall(f *Facts) {
	failedUpgrade(2 * time.Minute)(f)
	f.Applied, f.AppliedRevision = "", 0
	f.Newest = &Record{Revision: 1, Status: "failed", Operation: "op1"}
	f.Last = operation(v1alpha1.OperationInstall, v1alpha1.OperationFailed, "op1", 1, "B")
}

func renamed(f *Facts) { f.Elsewhere, f.OnChange = &elsewhereTest, v1alpha1.OnChangeReinstall }

func dependent(f *Facts) { f.DependencyProblem = cacheAway }

func reinstall(f *Facts) { f.Reinstall = true }

func rollback(to int) func(*Facts) {
	return func(f *Facts) { f.Rollback, f.RollbackTo = true, to }
}

// rolledBackTo3 is a failed upgrade that was rolled back by revision 5.
func rolledBackTo3(f *Facts) {
	failedUpgrade(time.Minute)(f)
	rollback(3)(f)
	f.Newest = &Record{Revision: 5, Status: "deployed", Operation: "op5"}
	f.Last = operation(v1alpha1.OperationRollback, v1alpha1.OperationSucceeded, "op5", 5, "A")
	f.Applied, f.AppliedRevision = "A", 5
}

// pendingUpgrade is an upgrade that nobody runs any more.
func pendingUpgrade(id string, phase v1alpha1.OperationPhase, age time.Duration) func(*Facts) {
	return func(f *Facts) {
		f.Desired = "B"
		f.Newest = &Record{Revision: 4, Status: "pending-upgrade", Operation: id, Updated: testTime.Add(-age)}
		f.Last = operation(v1alpha1.OperationUpgrade, phase, "op4", 4, "B")
	}
}

// uninstallingFor is an uninstall of someone else, begun some time ago.
func uninstallingFor(age time.Duration) func(*Facts) {
	return func(f *Facts) { f.Newest.Status, f.Newest.Updated = "uninstalling", testTime.Add(-age) }
}

func runningOperation(kind v1alpha1.OperationType, digest string) func(*Facts) {
	return func(f *Facts) {
		f.Running = operation(kind, v1alpha1.OperationRunning, "op4", 4, digest)
		f.Newest = nil // not read while something runs
	}
}

var (
	chartGone     = &Problem{Reason: v1alpha1.ReasonChartNotFound, Message: "no chart"}
	cacheAway     = &Problem{Reason: v1alpha1.ReasonDependencyNotReady, Message: "away", Temporary: true, RetryAfter: time.Minute}
	valuesBroken  = &Problem{Reason: v1alpha1.ReasonValuesError, Message: "not YAML", Stalled: true}
	elsewhereTest = Target{Namespace: "old", Name: "app"}
)

func TestDecide(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		facts  Facts
		action Action
		reason string // of the problem; empty means that there is none
		check  func(*testing.T, Decision)
	}{
		// in sync
		"what is deployed as it should be is left alone":    {facts: deployed(), action: Stay},
		"it is left alone, too, while chartcache is away":   {facts: deployed(func(f *Facts) { f.ChartProblem = cacheAway }), action: Stay},
		"a forced upgrade happens though nothing changed":   {facts: deployed(func(f *Facts) { f.Force = true }), action: Upgrade},
		"a forced upgrade waits for chartcache":             {facts: deployed(func(f *Facts) { f.Force, f.ChartProblem = true, cacheAway }), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"changed values or a new chart are deployed":        {facts: deployed(func(f *Facts) { f.Desired = "B" }), action: Upgrade},
		"a change waits for chartcache":                     {facts: deployed(func(f *Facts) { f.Desired, f.ChartProblem = "B", cacheAway }), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"a revision of somebody else on top is upgraded":    {facts: deployed(func(f *Facts) { f.Newest.Revision = 4 }), action: Upgrade},
		"a superseded newest revision is upgraded":          {facts: deployed(func(f *Facts) { f.Newest.Status = "superseded" }), action: Upgrade},
		"a newest revision of unknown status is upgraded":   {facts: deployed(func(f *Facts) { f.Newest.Status = "unknown" }), action: Upgrade},
		"an equal release that is not known is adopted":     {facts: deployed(func(f *Facts) { f.Applied, f.AppliedRevision, f.Newest.Equal = "", 0, true }), action: Adopt},
		"a different release that is not known is upgraded": {facts: deployed(func(f *Facts) { f.Applied, f.AppliedRevision = "", 0 }), action: Upgrade},
		"nothing is adopted while chartcache is away": {
			facts:  deployed(func(f *Facts) { f.Applied, f.AppliedRevision, f.Newest.Equal, f.ChartProblem = "", 0, true, cacheAway }),
			action: Block, reason: v1alpha1.ReasonDependencyNotReady,
		},

		// a failed operation that left no failed revision
		"a revision that only was unlocked is not rolled back": {facts: deployed(failedUpgrade(2*time.Minute), rollback(3), func(f *Facts) { f.KnownFailed = false }), action: Upgrade},
		"nor blindly": {
			facts:  deployed(failedUpgrade(2*time.Minute), rollback(3), func(f *Facts) { f.KnownFailed, f.Desired, f.ChartProblem = false, "", chartGone }),
			action: Block, reason: v1alpha1.ReasonChartNotFound,
		},

		// dependsOn
		"an install waits for other releases":       {facts: deployed(absentRelease, dependent), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"an upgrade waits for other releases":       {facts: deployed(dependent, func(f *Facts) { f.Desired = "B" }), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"a retry waits for other releases":          {facts: deployed(failedUpgrade(time.Hour), dependent), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"a rollback does not wait for others":       {facts: deployed(failedUpgrade(0), rollback(3), dependent), action: Rollback},
		"what is deployed does not wait for others": {facts: deployed(dependent), action: Stay},
		"tests do not wait for other releases":      {facts: deployed(dependent, func(f *Facts) { f.Tests = true }), action: Test},

		// release.onChange
		"a renamed release is uninstalled where its successor may be": {facts: deployed(renamed, func(f *Facts) { f.Newest = nil }), action: Uninstall},
		"not while someone else has the new name":                     {facts: deployed(renamed, func(f *Facts) { f.Newest.Owner = Foreign }), action: Block, reason: v1alpha1.ReasonConfigurationError},
		"not while there is no chart for its successor":               {facts: deployed(renamed, func(f *Facts) { f.Newest, f.ChartProblem = nil, cacheAway }), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"not while its successor waits for another release": {
			facts:  deployed(renamed, func(f *Facts) { f.Newest, f.DependencyProblem = nil, cacheAway }),
			action: Block, reason: v1alpha1.ReasonDependencyNotReady,
		},

		// a rollback that is due although what should be deployed is not known any more
		"what failed is rolled back although the chart is gone":         {facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) { f.Desired, f.ChartProblem = "", chartGone }), action: Rollback, check: ofRevision(3)},
		"what failed is rolled back although the values are broken now": {facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) { f.Desired, f.Problem = "", valuesBroken }), action: Rollback, check: ofRevision(3)},
		"a failed rollback waits although the chart is gone": {
			facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) {
				f.Desired, f.ChartProblem = "", chartGone
				f.Last = operation(v1alpha1.OperationRollback, v1alpha1.OperationFailed, "op5", 5, "A")
			}),
			action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
		},
		"nothing is rolled back that did not fail":                {facts: deployed(rollback(3), func(f *Facts) { f.Desired, f.ChartProblem = "", chartGone }), action: Block, reason: v1alpha1.ReasonChartNotFound},
		"what was rolled back stays while the chart is gone":      {facts: deployed(rolledBackTo3, func(f *Facts) { f.Desired, f.ChartProblem = "", chartGone }), action: Block, reason: v1alpha1.ReasonChartNotFound},
		"a release of others is not rolled back, whatever failed": {facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) { f.Desired, f.ChartProblem, f.Newest.Owner = "", chartGone, Foreign }), action: Block, reason: v1alpha1.ReasonChartNotFound},

		// a first install that failed
		"a failed first install is upgraded":               {facts: deployed(failedInstall), action: Upgrade},
		"a failed first install is removed if so wished":   {facts: deployed(failedInstall, reinstall), action: Uninstall},
		"it is removed when the next try is due":           {facts: deployed(failedInstall, reinstall, func(f *Facts) { f.LastFailure = failure(v1alpha1.ReasonInstallFailed, "it broke", time.Second) }), action: BackOff, reason: v1alpha1.ReasonInstallFailed},
		"it is removed when something else is wanted, too": {facts: deployed(failedInstall, reinstall, func(f *Facts) { f.Desired = "C" }), action: Uninstall},
		"an interrupted first install is not removed": {
			facts: deployed(failedInstall, reinstall, func(f *Facts) {
				f.Last.Phase, f.FailedDigest, f.Failures, f.Newest.Description = v1alpha1.OperationInterrupted, "", 0, "interrupted: the operator is shutting down"
			}),
			action: Upgrade,
		},
		"nor one that was interrupted before an edit": {
			facts:  deployed(failedInstall, reinstall, func(f *Facts) { f.FailedDigest, f.Failures, f.Newest.Description = "", 0, "interrupted: superseded" }),
			action: Upgrade,
		},
		"what was deployed once is never removed": {facts: deployed(failedUpgrade(2*time.Minute), reinstall), action: Upgrade},

		// absent
		"what is absent is installed":                {facts: deployed(absentRelease), action: Install},
		"history that keepHistory left is absent":    {facts: deployed(func(f *Facts) { f.Newest.Status, f.Applied = "uninstalled", "" }), action: Install},
		"an install waits for chartcache":            {facts: deployed(absentRelease, func(f *Facts) { f.ChartProblem = cacheAway }), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"a failed install without record waits":      {facts: deployed(failedUpgrade(30*time.Second), absentRelease), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed},
		"a failed install without record is retried": {facts: deployed(failedUpgrade(2*time.Minute), absentRelease), action: Install},
		"force does not wait for the back-off":       {facts: deployed(failedUpgrade(time.Second), absentRelease, func(f *Facts) { f.Force = true }), action: Install},

		// spec
		"a suspended release is left alone": {facts: deployed(func(f *Facts) { f.Suspended, f.Desired = true, "B" }), action: Suspend},
		"a wrong spec is named":             {facts: deployed(func(f *Facts) { f.Problem = valuesBroken }), action: Block, reason: v1alpha1.ReasonValuesError},
		"a chart that is gone is named, though the release is deployed": {
			facts: deployed(func(f *Facts) { f.Desired, f.ChartProblem = "", chartGone }), action: Block, reason: v1alpha1.ReasonChartNotFound,
		},
		"the time of the next look comes from the problem": {
			facts: deployed(func(f *Facts) { f.Desired, f.ChartProblem = "", cacheAway }), action: Block, reason: v1alpha1.ReasonDependencyNotReady,
			check: func(t *testing.T, d Decision) { assert.Equal(t, testTime.Add(time.Minute), d.Until) },
		},
		"an edited name does not leave a release behind": {
			facts: deployed(func(f *Facts) { f.Elsewhere, f.Newest = &elsewhereTest, nil }), action: Block, reason: v1alpha1.ReasonConfigurationError,
			check: func(t *testing.T, d Decision) {
				assert.Contains(t, d.Problem.Message, "old/app")
				assert.True(t, d.Problem.Stalled)
			},
		},

		// ownership
		"a release of somebody else is refused": {facts: deployed(func(f *Facts) { f.Newest.Owner = Foreign }), action: Block, reason: v1alpha1.ReasonConfigurationError},
		"a release of somebody else is adopted where allowed": {
			facts: deployed(func(f *Facts) {
				f.Newest.Owner, f.Newest.Equal, f.Adopt, f.Applied, f.AppliedRevision = Foreign, true, true, "", 0
			}), action: Adopt,
		},
		"an adopted release that differs is upgraded": {
			facts: deployed(func(f *Facts) { f.Newest.Owner, f.Adopt, f.Applied, f.AppliedRevision = Foreign, true, "", 0 }), action: Upgrade,
		},
		"a release of another HelmRelease is refused, whatever adopt says": {
			facts:  deployed(func(f *Facts) { f.Newest.Owner, f.Newest.OwnerName, f.Adopt = OwnedByOther, "shop/other", true }),
			action: Block, reason: v1alpha1.ReasonConfigurationError,
			check: func(t *testing.T, d Decision) { assert.Contains(t, d.Problem.Message, "shop/other") },
		},
		"uninstalled history of somebody else is no obstacle": {
			facts: deployed(func(f *Facts) { f.Newest.Owner, f.Newest.Status = Foreign, "uninstalled" }), action: Install,
		},

		// pending
		"our own pending revision is unlocked":             {facts: deployed(pendingUpgrade("op4", v1alpha1.OperationRunning, time.Second)), action: Unlock, check: ofRevision(4)},
		"it is unlocked, too, when the status knows of it": {facts: deployed(pendingUpgrade("op4", v1alpha1.OperationInterrupted, time.Second)), action: Unlock, check: ofRevision(4)},
		"our own pending revision is unlocked without a chart": {
			facts: deployed(pendingUpgrade("op4", v1alpha1.OperationRunning, time.Second), func(f *Facts) { f.Desired, f.ChartProblem = "", chartGone }), action: Unlock,
		},
		"a pending revision whose failure could not be written is unlocked": {
			facts: deployed(failedUpgrade(time.Second), func(f *Facts) { f.Newest.Status = "pending-upgrade" }), action: Unlock,
		},
		"somebody else's pending revision is waited for": {
			facts: deployed(pendingUpgrade("", v1alpha1.OperationSucceeded, time.Minute)), action: Block, reason: v1alpha1.ReasonDependencyNotReady,
			check: func(t *testing.T, d Decision) { assert.Equal(t, testTime.Add(10*time.Minute), d.Until) },
		},
		"a pending revision with the copied label of an earlier operation is somebody else's": {
			facts:  deployed(pendingUpgrade("op3", v1alpha1.OperationInterrupted, time.Minute), func(f *Facts) { f.Last.ID, f.Last.Revision = "op3", 3 }),
			action: Block, reason: v1alpha1.ReasonDependencyNotReady,
		},
		"somebody else's pending revision is taken over after its time": {
			facts: deployed(pendingUpgrade("", v1alpha1.OperationSucceeded, 12*time.Minute)), action: Unlock, check: ofRevision(4),
		},
		"a suspended release is not unlocked": {
			facts: deployed(pendingUpgrade("op4", v1alpha1.OperationRunning, time.Hour), func(f *Facts) { f.Suspended = true }), action: Suspend,
		},
		"an upgrade after an interruption does not wait": {
			facts: deployed(pendingUpgrade("op4", v1alpha1.OperationInterrupted, time.Second), func(f *Facts) { f.Newest.Status = "failed" }), action: Upgrade,
		},
		"an interrupted upgrade is not rolled back": {
			facts: deployed(pendingUpgrade("op4", v1alpha1.OperationInterrupted, time.Second), rollback(3), func(f *Facts) { f.Newest.Status = "failed" }), action: Upgrade,
		},
		"finishing a cut off uninstall backs off when it failed": {
			facts:  deployed(failedUninstall(0), func(f *Facts) { f.Newest.Status, f.FailedDigest = "uninstalling", "" }),
			action: BackOff, reason: v1alpha1.ReasonUninstallFailed,
		},
		"somebody else's uninstall is waited for":              {facts: deployed(uninstallingFor(10 * time.Minute)), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"somebody else's uninstall is finished after its time": {facts: deployed(uninstallingFor(11 * time.Minute)), action: Uninstall},
		"our own uninstall goes on at once": {
			facts: deployed(uninstallingFor(0), func(f *Facts) {
				f.Last = operation(v1alpha1.OperationUninstall, v1alpha1.OperationInterrupted, "op4", 3, "")
			}),
			action: Uninstall,
		},
		"an uninstall that was cut off is finished": {facts: deployed(func(f *Facts) { f.Newest.Status = "uninstalling" }), action: Uninstall},

		// failed
		"a failed upgrade is not tried again at once": {
			facts: deployed(failedUpgrade(59 * time.Second)), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
			check: func(t *testing.T, d Decision) {
				assert.Equal(t, testTime.Add(time.Second), d.Until)
				assert.Contains(t, d.Problem.Message, "it broke")
				assert.Contains(t, d.Problem.Message, "12:00:01 UTC")
			},
		},
		"a failed upgrade is tried again after a minute":   {facts: deployed(failedUpgrade(time.Minute)), action: Upgrade},
		"the second retry waits twice as long":             {facts: deployed(failedUpgrade(time.Minute), func(f *Facts) { f.Failures = 2 }), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed},
		"no retry waits longer than the longest interval":  {facts: deployed(failedUpgrade(15*time.Minute), func(f *Facts) { f.Failures = 900 }), action: Upgrade},
		"something else than what failed is tried at once": {facts: deployed(failedUpgrade(time.Second), func(f *Facts) { f.Desired = "C" }), action: Upgrade},
		"what was deployed before is tried at once":        {facts: deployed(failedUpgrade(time.Second), func(f *Facts) { f.Desired = "A" }), action: Upgrade},
		"a failed upgrade that wrote nothing is retried later": {
			facts: deployed(failedUpgrade(time.Second), func(f *Facts) { f.Newest = &Record{Revision: 3, Status: "deployed"} }), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
		},
		"a failed first install is upgraded over": {
			facts: deployed(failedUpgrade(time.Hour), func(f *Facts) {
				f.Newest.Revision, f.Last.Type, f.Applied, f.AppliedRevision = 1, v1alpha1.OperationInstall, "", 0
			}), action: Upgrade,
		},
		"a failed first install is never adopted": {
			facts: deployed(failedUpgrade(time.Hour), func(f *Facts) { f.Newest.Equal, f.Applied, f.AppliedRevision = true, "", 0 }), action: Upgrade,
		},
		"the limit of tries ends them": {
			facts: deployed(failedUpgrade(time.Hour), func(f *Facts) { f.Retry.Limit = 1 }), action: Hold, reason: v1alpha1.ReasonUpgradeFailed,
			check: func(t *testing.T, d Decision) {
				assert.True(t, d.Problem.Stalled)
				assert.Contains(t, d.Problem.Message, v1alpha1.RetryAnnotation)
			},
		},
		"a failure of the future, by a clock that was wrong, is no reason to wait": {facts: deployed(failedUpgrade(-24 * time.Hour)), action: Upgrade},
		"clocks of two machines may differ a little": {
			facts: deployed(failedUpgrade(-10 * time.Second)), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
			check: func(t *testing.T, d Decision) { assert.Equal(t, testTime.Add(70*time.Second), d.Until) },
		},
		"below the limit it is tried again": {facts: deployed(failedUpgrade(time.Hour), func(f *Facts) { f.Retry.Limit = 2 }), action: Upgrade},
		"a forgotten failure is tried at once": {
			facts: deployed(failedUpgrade(time.Second), func(f *Facts) { f.FailedDigest, f.Failures = "", 0 }), action: Upgrade,
		},

		// rollback
		"a failed upgrade is rolled back at once": {
			facts: deployed(failedUpgrade(time.Second), rollback(3)), action: Rollback,
			check: func(t *testing.T, d Decision) { assert.Equal(t, 3, d.Revision) },
		},
		"it is rolled back even while chartcache is away": {
			facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) { f.ChartProblem = cacheAway }), action: Rollback,
		},
		"it is rolled back though the tries are used up": {
			facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) { f.Retry.Limit = 1 }), action: Rollback,
		},
		"an upgrade that wrote no revision is not rolled back": {
			facts: deployed(failedUpgrade(time.Second), rollback(2), func(f *Facts) { f.Newest = &Record{Revision: 3, Status: "deployed"} }), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
		},
		"an upgrade that failed before another failed revision was written is not rolled back": {
			facts: deployed(failedUpgrade(time.Second), rollback(2), func(f *Facts) { f.Newest.Revision = 3 }), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
		},
		"a failed install is not rolled back": {
			facts: deployed(failedUpgrade(time.Second), rollback(1), func(f *Facts) { f.Last.Type = v1alpha1.OperationInstall }), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
		},
		"without a good revision the upgrade is tried again": {facts: deployed(failedUpgrade(time.Hour), rollback(0)), action: Upgrade},
		"a revision that cannot be rolled back to is named": {
			facts: deployed(failedUpgrade(time.Second), rollback(0), func(f *Facts) { f.RollbackProblem = "no revision 9" }), action: BackOff, reason: v1alpha1.ReasonUpgradeFailed,
			check: func(t *testing.T, d Decision) {
				assert.Contains(t, d.Problem.Message, "it broke")
				assert.Contains(t, d.Problem.Message, "no revision 9")
			},
		},
		"a mended spec wins over the rollback": {
			facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) { f.Desired = "C" }), action: Upgrade,
		},
		"what was rolled back is held": {
			facts: deployed(rolledBackTo3), action: Hold, reason: v1alpha1.ReasonRolledBack,
			check: func(t *testing.T, d Decision) { assert.True(t, d.Problem.Stalled) },
		},
		"it is held however much time goes by":             {facts: deployed(rolledBackTo3, func(f *Facts) { f.Now = testTime.Add(1000 * time.Hour) }), action: Hold, reason: v1alpha1.ReasonRolledBack},
		"it is held though somebody else wrote a revision": {facts: deployed(rolledBackTo3, func(f *Facts) { f.Newest.Revision = 6 }), action: Hold, reason: v1alpha1.ReasonRolledBack},
		"a changed spec ends the hold":                     {facts: deployed(rolledBackTo3, func(f *Facts) { f.Desired = "C" }), action: Upgrade},
		"a spec that is back where it was is in sync":      {facts: deployed(rolledBackTo3, func(f *Facts) { f.Desired = "A" }), action: Stay},
		"the retry annotation ends the hold":               {facts: deployed(rolledBackTo3, func(f *Facts) { f.FailedDigest, f.Failures = "", 0 }), action: Upgrade},
		"the force annotation ends the hold":               {facts: deployed(rolledBackTo3, func(f *Facts) { f.Force = true }), action: Upgrade},
		"a failed rollback is tried again later": {
			facts: deployed(failedUpgrade(30*time.Second), rollback(3), func(f *Facts) {
				f.Newest.Revision, f.Last = 5, operation(v1alpha1.OperationRollback, v1alpha1.OperationFailed, "op5", 5, "A")
				f.LastFailure.Reason = v1alpha1.ReasonRollbackFailed
			}), action: BackOff, reason: v1alpha1.ReasonRollbackFailed,
		},
		"a failed rollback is tried again after the back-off": {
			facts: deployed(failedUpgrade(2*time.Minute), rollback(3), func(f *Facts) {
				f.Newest.Revision, f.Last = 5, operation(v1alpha1.OperationRollback, v1alpha1.OperationFailed, "op5", 5, "A")
			}), action: Rollback,
		},
		"an interrupted rollback is tried again at once": {
			facts: deployed(failedUpgrade(time.Second), rollback(3), func(f *Facts) {
				f.Newest.Revision, f.Last = 5, operation(v1alpha1.OperationRollback, v1alpha1.OperationInterrupted, "op5", 5, "A")
			}), action: Rollback,
		},

		// running
		"what runs is waited for":                    {facts: deployed(runningOperation(v1alpha1.OperationUpgrade, "A")), action: Wait},
		"a newer wish interrupts it":                 {facts: deployed(runningOperation(v1alpha1.OperationUpgrade, "B")), action: Interrupt},
		"an unknown wish does not":                   {facts: deployed(runningOperation(v1alpha1.OperationUpgrade, "B"), func(f *Facts) { f.Desired, f.ChartProblem = "", cacheAway }), action: Wait},
		"a wrong spec does not":                      {facts: deployed(runningOperation(v1alpha1.OperationUpgrade, "B"), func(f *Facts) { f.Problem = valuesBroken }), action: Wait},
		"suspending does not":                        {facts: deployed(runningOperation(v1alpha1.OperationInstall, "B"), func(f *Facts) { f.Suspended = true }), action: Wait},
		"a deletion interrupts it":                   {facts: deployed(runningOperation(v1alpha1.OperationInstall, "A"), func(f *Facts) { f.Deleting = true }), action: Interrupt},
		"a deletion does not interrupt an uninstall": {facts: deployed(runningOperation(v1alpha1.OperationUninstall, ""), func(f *Facts) { f.Deleting = true }), action: Wait},
		"a rollback is waited for":                   {facts: deployed(failedUpgrade(0), runningOperation(v1alpha1.OperationRollback, "A")), action: Wait},
		"a mended spec interrupts a rollback":        {facts: deployed(failedUpgrade(0), runningOperation(v1alpha1.OperationRollback, "A"), func(f *Facts) { f.Desired = "C" }), action: Interrupt},

		// deletion
		"a deleted object's release is uninstalled": {facts: deployed(isDeleting), action: Uninstall},
		"a suspended one's, too":                    {facts: deployed(isDeleting, func(f *Facts) { f.Suspended = true }), action: Uninstall},
		"one with a wrong spec, too":                {facts: deployed(isDeleting, func(f *Facts) { f.Problem = valuesBroken }), action: Uninstall},
		"a failed release is uninstalled":           {facts: deployed(failedUpgrade(0), isDeleting), action: Uninstall},
		"our own pending release is uninstalled":    {facts: deployed(pendingUpgrade("op4", v1alpha1.OperationInterrupted, 0), isDeleting), action: Uninstall},
		"a cut off uninstall goes on":               {facts: deployed(isDeleting, func(f *Facts) { f.Newest.Status = "uninstalling" }), action: Uninstall},
		"somebody else's uninstall has its time": {
			facts: deployed(uninstallingFor(10*time.Minute), isDeleting), action: Block, reason: v1alpha1.ReasonDependencyNotReady,
			check: func(t *testing.T, d Decision) {
				assert.Contains(t, d.Problem.Message, "is uninstalling)")
				assert.Contains(t, d.Problem.Message, howToLeave)
			},
		},
		"somebody else's operation is waited for first": {facts: deployed(pendingUpgrade("", v1alpha1.OperationSucceeded, 0), isDeleting), action: Block, reason: v1alpha1.ReasonDependencyNotReady},
		"but not for ever":                    {facts: deployed(pendingUpgrade("", v1alpha1.OperationSucceeded, time.Hour), isDeleting), action: Uninstall},
		"an orphan is left behind":            {facts: deployed(isDeleting, func(f *Facts) { f.Orphan = true }), action: Finish},
		"without a release the object goes":   {facts: deployed(absentRelease, isDeleting), action: Finish},
		"with history only the object goes":   {facts: deployed(isDeleting, func(f *Facts) { f.Newest.Status = "uninstalled" }), action: Finish},
		"somebody else's release stays":       {facts: deployed(isDeleting, func(f *Facts) { f.Newest.Owner = Foreign }), action: Finish},
		"another HelmRelease's release stays": {facts: deployed(isDeleting, func(f *Facts) { f.Newest.Owner = OwnedByOther }), action: Finish},
		"a failed uninstall is tried again later": {
			facts: deployed(isDeleting, failedUninstall(30*time.Second)), action: BackOff, reason: v1alpha1.ReasonUninstallFailed,
			check: func(t *testing.T, d Decision) { assert.Contains(t, d.Problem.Message, "Orphan") },
		},
		"a failed uninstall is tried again":      {facts: deployed(isDeleting, failedUninstall(time.Minute)), action: Uninstall},
		"Orphan leaves a failed uninstall alone": {facts: deployed(isDeleting, failedUninstall(0), func(f *Facts) { f.Orphan = true }), action: Finish},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decision := Decide(c.facts)
			assert.Equal(t, c.action, decision.Action, decision.Because)
			assert.NotEmpty(t, decision.Because)
			if c.reason == "" {
				assert.Nil(t, decision.Problem)
			} else {
				require.NotNil(t, decision.Problem)
				assert.Equal(t, c.reason, decision.Problem.Reason)
				assert.NotEmpty(t, decision.Problem.Message)
			}
			if c.check != nil {
				c.check(t, decision)
			}
		})
	}
}

func isDeleting(f *Facts) { f.Deleting = true; f.Desired = "" }

func failedUninstall(ago time.Duration) func(*Facts) {
	return func(f *Facts) {
		f.Last = operation(v1alpha1.OperationUninstall, v1alpha1.OperationFailed, "op4", 3, "")
		f.Failures, f.LastFailure = 1, failure(v1alpha1.ReasonUninstallFailed, "stuck", ago)
	}
}

func ofRevision(revision int) func(*testing.T, Decision) {
	return func(t *testing.T, d Decision) { assert.Equal(t, revision, d.Revision) }
}

func TestTheBackOffDoublesUpToItsBound(t *testing.T) {
	t.Parallel()
	policy := RetryPolicy{Interval: time.Minute, MaxInterval: 15 * time.Minute}
	var waits []time.Duration
	for failures := int32(1); failures <= 6; failures++ {
		waits = append(waits, policy.After(failures))
	}
	assert.Equal(t, []time.Duration{1, 2, 4, 8, 15, 15}, minutes(waits))
	assert.Equal(t, time.Hour, RetryPolicy{Interval: time.Hour, MaxInterval: time.Minute}.After(3), "the first wait is the least")
	assert.Equal(t, 15*time.Minute, policy.After(1<<30))
}

func minutes(durations []time.Duration) []time.Duration {
	for i := range durations {
		durations[i] /= time.Minute
	}
	return durations
}
