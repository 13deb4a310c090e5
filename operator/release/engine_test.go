package release

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

func TestANewReleaseIsInstalledOnceAndThenLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("replicas: 2") })

	release := b.settle()

	assert.Equal(t, []string{"install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, "Release is ready", b.condition(v1alpha1.ConditionReady).Message)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionReleased).Status)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionFailed).Status)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionProgressing).Status)
	assert.Equal(t, []string{v1alpha1.ReleaseFinalizer}, release.Finalizers)
	assert.Equal(t, map[string]any{"replicas": float64(2)}, b.helm.installed.Values)
	assert.Equal(t, "web", b.helm.installed.ChartName)
	assert.Equal(t, map[string]string{
		v1alpha1.OwnerLabel: OwnerHash("shop", "app"), v1alpha1.OperationLabel: "op1",
	}, b.helm.installed.Labels)
	status := release.Status
	assert.Equal(t, "web-1.0.0", status.HelmRelease.Chart)
	assert.Equal(t, 1, status.HelmRelease.Revision)
	assert.Equal(t, "deployed", status.HelmRelease.Status)
	assert.Equal(t, status.DesiredDigest, status.AppliedDigest)
	assert.Equal(t, "1.0.0", status.ChartVersion)
	assert.Equal(t, v1alpha1.OperationSucceeded, status.Operation.Phase)
	events := b.events.take()
	require.Len(t, events, 2)
	assert.Contains(t, events[0], "Normal InstallStarted: Installing chart web 1.0.0 as shop/app")
	assert.Contains(t, events[1], "Normal InstallCompleted: Installed chart web 1.0.0")

	writes := b.objects.writes
	after := b.once()
	assert.Equal(t, 10*time.Minute, after)
	assert.Equal(t, writes, b.objects.writes, "a pass without a change must not write")
	assert.Empty(t, b.events.take())
	assert.Empty(t, b.helm.done())
}

func TestTheIntentIsWrittenBeforeHelmIsCalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 1)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()

	status := b.objects.get().Status
	require.NotNil(t, status.Operation)
	assert.Equal(t, v1alpha1.OperationRunning, status.Operation.Phase)
	assert.Equal(t, "op1", status.Operation.ID)
	assert.Equal(t, 1, status.Operation.Revision)
	assert.Equal(t, status.DesiredDigest, status.Operation.Digest)
	assert.Equal(t, "app", status.HelmRelease.Name, "a deletion must know what to remove")
	b.assertReady(metav1.ConditionUnknown, v1alpha1.ReasonInstallStarted)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionProgressing).Status)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionReleased).Status)
	b.runner.Interrupt(appKey, ErrSuperseded)
	b.awaitWake()
}

func TestNothingIsStartedFromAStaleObject(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stale := b.objects.get()
	stale.Finalizers = []string{v1alpha1.ReleaseFinalizer}
	b.objects.edit(func(*v1alpha1.HelmRelease) {})

	after, err := b.engine.Reconcile(t.Context(), stale)

	require.NoError(t, err)
	assert.Equal(t, conflictPause, after)
	assert.Empty(t, b.helm.done())
	assert.Empty(t, b.events.take(), "what was not written did not happen")
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done(), "the slot was given back")
}

func TestChangedValuesUpgradeAndEqualOnesDoNot(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("a: 1000680000\nb: {}") })
	b.settle()
	b.helm.done()

	b.values("# a comment\n\"b\": {}\n'a': 1000680000\n")
	b.settle()
	assert.Empty(t, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)

	b.values("a: \"1000680000\"\nb: {}")
	release := b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Equal(t, 2, release.Status.HelmRelease.Revision)

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Values = nil })
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done(), "emptied values are a change")
	b.settle()
	assert.Empty(t, b.helm.done())
}

func TestOptionsThatDoNotChangeTheObjectsUpgradeNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	no := false
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: "3m", Wait: &no, ReuseValues: true, DisableHooks: true}
		r.Spec.Interval = "1m"
	})

	b.settle()

	assert.Empty(t, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, time.Minute, b.once())
}

func TestANewVersionOfTheChartIsDeployed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.charts.offer("1.3.0", "sha256:three")
	b.charts.resolved.NewestVersion = "2.0.0"

	release := b.settle()

	assert.Equal(t, "web-1.3.0", release.Status.HelmRelease.Chart)
	assert.Equal(t, "2.0.0", release.Status.LatestVersion)
	assert.Equal(t, []byte("web-1.3.0"), b.helm.upgraded.Chart)

	b.events.take()
	b.charts.offer("1.3.0", "sha256:changed")
	release = b.settle()
	assert.Equal(t, 3, release.Status.HelmRelease.Revision, "the same version with another content is another chart")
	assert.Contains(t, strings.Join(b.events.take(), "\n"), "published again")
	assert.Empty(t, release.Status.LatestVersion)
}

func TestAFailedInstallIsNeverReadyAndIsUpgradedOver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{err: errUnready}, {err: errUnready}}

	release := b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonInstallFailed)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, errUnready.Error())
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionFailed).Status)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionReleased).Status)
	assert.Equal(t, "failed", release.Status.HelmRelease.Status)
	assert.EqualValues(t, 1, release.Status.FailureCount)
	assert.Contains(t, b.events.take()[1], "Warning InstallFailed: Install of chart web 1.0.0 failed: "+errUnready.Error())
	assert.Equal(t, []string{"install"}, b.helm.done())

	assert.Equal(t, time.Minute, b.once(), "it is tried again after the back-off")
	assert.Empty(t, b.helm.done())
	assert.Empty(t, b.events.take())

	b.now = b.now.Add(time.Minute)
	release = b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUpgradeFailed)
	assert.EqualValues(t, 2, release.Status.FailureCount)
	assert.Equal(t, 2*time.Minute, b.once())

	b.now = b.now.Add(2 * time.Minute)
	release = b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionFailed).Status)
	assert.Zero(t, release.Status.FailureCount)
	assert.Empty(t, release.Status.FailedDigest)
	assert.Len(t, release.Status.Failures, 2)
}

func TestAChartThatDoesNotRenderIsNamedAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{err: errors.New("web/templates/bad.yaml:3: nil pointer"), unwritten: true}}

	release := b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonInstallFailed)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "bad.yaml")
	assert.Nil(t, release.Status.HelmRelease)
	b.values("mended: true")
	b.settle()
	assert.Equal(t, []string{"install", "install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestErrorsOfHelmHaveTheirOwnReasons(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		reason string
	}{
		"values that do not match the schema": {helm.ErrInvalidValues, v1alpha1.ReasonValuesError},
		"a chart of another name":             {helm.ErrChartName, v1alpha1.ReasonConfigurationError},
		"a missing namespace":                 {helm.ErrNamespaceNotFound, v1alpha1.ReasonInstallFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.helm.results = []result{{err: c.err, unwritten: true}}
			b.settle()
			b.assertReady(metav1.ConditionFalse, c.reason)
			assert.Contains(t, strings.Join(b.events.take(), "\n"), "Warning "+c.reason)
		})
	}
}

func TestAFailedUpgradeIsRolledBackAndHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.events.take()
	b.helm.done()
	b.helm.results = []result{{err: errUnready}}
	b.values("bad: true")

	release := b.settle()

	assert.Equal(t, []string{"upgrade", "rollback 1"}, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	message := b.condition(v1alpha1.ConditionReady).Message
	assert.Contains(t, message, "Rolled back to revision 1 after upgrade failure")
	assert.Contains(t, message, errUnready.Error())
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionStalled).Status)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionReleased).Status)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionProgressing).Status)
	assert.Equal(t, 3, release.Status.HelmRelease.Revision)
	events := strings.Join(b.events.take(), "\n")
	assert.Contains(t, events, "Warning UpgradeFailed")
	assert.Contains(t, events, "Normal RollbackSucceeded: Rolled back to revision 1 after upgrade failure")
	assert.Equal(t, []string{"superseded", "failed", "deployed"}, b.written())

	b.now = b.now.Add(100 * time.Hour)
	writes := b.objects.writes
	b.settle()
	b.restart()
	b.settle()
	assert.Empty(t, b.helm.done(), "what failed is not tried again")
	assert.Equal(t, writes, b.objects.writes)

	b.values("mended: true")
	release = b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Equal(t, 4, release.Status.HelmRelease.Revision)
	for _, condition := range release.Status.Conditions {
		assert.NotEqual(t, v1alpha1.ConditionStalled, condition.Type)
	}
}

func TestAReleaseThatWasRolledBackIsReadyWhenItsSpecGoesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback, func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("good: true") })
	b.settle()
	b.helm.results = []result{{err: errUnready}}
	b.values("bad: true")
	b.settle()
	b.helm.done()

	b.values("good: true")
	b.settle()

	assert.Empty(t, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestTheRetryAnnotationEndsAHold(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.results = []result{{err: errUnready}}
	b.values("bad: true")
	b.settle()
	b.helm.done()

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Annotations = map[string]string{v1alpha1.RetryAnnotation: "1"} })
	release := b.settle()

	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Equal(t, "1", release.Status.HandledRetry)
}

func TestTheForceAnnotationUpgradesOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Annotations = map[string]string{v1alpha1.ForceAnnotation: "now"} })

	release := b.settle()
	b.settle()

	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	assert.Equal(t, "now", release.Status.HandledForce)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestTheRevisionToRollBackToIsTheNewestGoodOne(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.results = []result{{err: errUnready}, {err: errors.New("rollback broke")}}
	b.values("bad: true")
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonRollbackFailed)
	// Helm marks the failed revision as superseded when a rollback fails.
	b.helm.records[appTarget][1].Status = helm.StatusSuperseded
	b.helm.records[appTarget][0].Status = helm.StatusSuperseded
	b.helm.done()
	b.now = b.now.Add(2 * time.Minute)

	b.settle()

	assert.Equal(t, []string{"rollback 1"}, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, errUnready.Error())
}

func TestAnUpgradeThatCannotBeDownloadedIsNotRolledBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.done()
	b.charts.offer("1.1.0", "sha256:two")
	b.charts.download = chartcacheError(17, "the tarball does not match its digest")

	release := b.settle()

	assert.Empty(t, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonSyncFailed)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "digest")
	assert.Equal(t, "deployed", release.Status.HelmRelease.Status)
	assert.Contains(t, strings.Join(b.events.take(), "\n"), "Warning SyncFailed")

	b.charts.download = nil
	b.now = b.now.Add(time.Minute)
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAReleaseStaysReadyWhileChartcacheIsAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	writes := b.objects.writes
	b.charts.fail(unreachable())

	b.settle()

	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, writes, b.objects.writes)

	b.values("changed: true")
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "unreachable")

	b.charts.offer("1.0.0", "sha256:one")
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAnAnswerForAnotherSpecIsNotRemembered(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.charts.fail(chartcacheError(10, "no version of chart web matches ^9.0.0"))
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "^9.0.0" })
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonChartNotFound)

	b.charts.fail(unreachable())
	b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
}

func TestAnOperationOfAKilledProcessGoesOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status helm.Status // of the record that was left; empty means none
		calls  []string
		ready  string
		fails  int32
	}{
		"a pending record is unlocked and upgraded": {helm.StatusPendingInstall, []string{"unlock 1", "upgrade"}, v1alpha1.ReasonUpgradeCompleted, 0},
		"without a record it is installed":          {"", []string{"install"}, v1alpha1.ReasonInstallCompleted, 0},
		"a success that was not noted is noted":     {helm.StatusDeployed, nil, v1alpha1.ReasonInstallCompleted, 0},
		"a failure that was not noted is a failure": {helm.StatusFailed, nil, v1alpha1.ReasonInstallFailed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.helm.began = make(chan string, 10)
			b.helm.results = []result{{blocks: true}}
			b.once()
			b.awaitBegin()
			old := b.runner
			b.helm.done()
			b.helm.mu.Lock()
			switch c.status {
			case "":
				b.helm.records = map[Target][]helm.Release{}
			default:
				b.helm.records[appTarget][0].Status = c.status
			}
			b.helm.mu.Unlock()
			b.restart()

			release := b.settle()

			assert.Equal(t, c.calls, b.helm.done())
			assert.Equal(t, c.ready, b.condition(v1alpha1.ConditionReady).Reason)
			assert.Equal(t, c.fails, release.Status.FailureCount, "an interruption is no failure")
			old.Interrupt(appKey, ErrSuperseded)
		})
	}
}

func TestAShutdownUnlocksWhatItInterrupts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()
	ctx, cancel := contextWithCancel(t)
	ended := make(chan error, 1)
	go func() { ended <- b.runner.Start(ctx) }()

	cancel()

	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the runner did not stop")
	}
	assert.Equal(t, []string{"install", "unlock 1"}, b.helm.done())
	assert.Equal(t, []string{"failed"}, b.written())
	assert.Equal(t, v1alpha1.OperationInterrupted, b.objects.get().Status.Operation.Phase)
	assert.False(t, b.runner.Reserve(appKey), "a stopped runner starts nothing")

	b.restart()
	release := b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Zero(t, release.Status.FailureCount)
}

func TestANewerSpecSupersedesAWait(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()
	b.once()
	if _, running := b.runner.Running(appKey); !running {
		t.Fatal("an unchanged spec must not interrupt")
	}

	b.values("newer: true")
	release := b.settle()

	assert.Equal(t, []string{"install", "unlock 1", "upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Zero(t, release.Status.FailureCount)
	assert.Empty(t, release.Status.Failures)
}

func TestAPanicFailsOneReleaseOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{panics: true}}

	b.settle()

	assert.EqualValues(t, 1, b.objects.get().Status.FailureCount)
	assert.Equal(t, []string{"install", "unlock 1"}, b.helm.done())
}

func TestADeletedReleaseIsUninstalledByTheNamesOfItsStatus(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "one", Namespace: "other"}
		r.Spec.Uninstall = &v1alpha1.UninstallSpec{Timeout: "7m", DisableHooks: true}
	})
	b.settle()
	b.helm.done()
	b.events.take()
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = nil
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})

	release := b.settle()

	assert.Equal(t, []string{"uninstall other/one"}, b.helm.done())
	assert.Equal(t, 7*time.Minute, b.helm.removed.Timeout)
	assert.True(t, b.helm.removed.DisableHooks)
	assert.Empty(t, release.Finalizers)
	events := strings.Join(b.events.take(), "\n")
	assert.Contains(t, events, "Normal UninstallStarted")
	assert.Contains(t, events, "Normal UninstallCompleted")
}

func TestAFailedUninstallKeepsTheObjectAndSaysHowToLeave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.results = []result{{err: errors.New("a finalizer holds Pod x")}}
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})

	release := b.settle()

	assert.NotEmpty(t, release.Finalizers)
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUninstallFailed)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "Pod x")
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "Orphan")

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	release = b.settle()
	assert.Empty(t, release.Finalizers)
}

func TestADeletedObjectWithoutOurFinalizerIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(testTime)
		r.DeletionTimestamp = &now
		r.Finalizers = []string{"somebody.else/finalizer"}
	})
	assert.Zero(t, b.once())
	assert.Zero(t, b.objects.writes)
}

func TestHistoryThatWasKeptIsInstalledOver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.records[appTarget] = []helm.Release{{Name: "app", Namespace: "shop", Revision: 1, Status: helm.StatusUninstalled}}

	release := b.settle()

	assert.Equal(t, []string{"install"}, b.helm.done())
	assert.True(t, b.helm.installed.Replace)
	assert.Equal(t, 2, release.Status.HelmRelease.Revision)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAReleaseOfTheOriginalIsAdoptedWithoutAnUpgrade(t *testing.T) {
	t.Parallel()
	first := testTime.Add(-1000 * time.Hour)
	legacy := func(values map[string]any, version string) *bench {
		b := newBench(t, func(r *v1alpha1.HelmRelease) {
			r.Spec.Values = v1alpha1.ValuesFromString("replicas: 2")
			when := metav1.NewTime(first.Truncate(time.Second))
			r.Status.HelmRelease = &v1alpha1.HelmReleaseInfo{Name: "app", Namespace: "shop", Revision: 7, Status: "deployed", FirstDeployed: &when}
			r.Status.LastAppliedConfiguration = "replicas: 2"
		})
		b.helm.records[appTarget] = []helm.Release{{
			Name: "app", Namespace: "shop", Revision: 7, Status: helm.StatusDeployed, FirstDeployed: first.Add(300 * time.Millisecond),
			ChartName: "web", ChartVersion: version, Values: values,
		}}
		return b
	}

	b := legacy(map[string]any{"replicas": float64(2)}, "1.0.0")
	release := b.settle()
	assert.Empty(t, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.NotEmpty(t, release.Status.AppliedDigest)
	assert.Empty(t, release.Status.LastAppliedConfiguration, "values do not stay in the status")
	writes := b.objects.writes
	b.settle()
	assert.Equal(t, writes, b.objects.writes)

	b = legacy(map[string]any{"replicas": float64(3)}, "1.0.0")
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done(), "other values are another release")

	b = legacy(map[string]any{"replicas": float64(2)}, "0.9.0")
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done(), "another version is another release")
}

func TestReleasesOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.records[appTarget] = []helm.Release{{
		Name: "app", Namespace: "shop", Revision: 4, Status: helm.StatusDeployed, ChartName: "web", ChartVersion: "1.0.0",
	}}

	release := b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "release.adopt")
	assert.Nil(t, release.Status.HelmRelease, "a deletion must not remove it")

	b.objects.other = &types.NamespacedName{Namespace: "shop", Name: "twin"}
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Adopt: v1alpha1.AdoptAlways} })
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "shop/twin")
	assert.Empty(t, b.helm.done())

	b.objects.other = nil
	release = b.settle()
	assert.Empty(t, b.helm.done(), "it is adopted as it is")
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Equal(t, 4, release.Status.HelmRelease.Revision)
}

func TestARenamedReleaseIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "typo"} })

	release := b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "shop/app")
	assert.Equal(t, "app", release.Status.HelmRelease.Name)
	assert.Empty(t, b.helm.done())

	b.helm.records = map[Target][]helm.Release{} // somebody runs helm uninstall
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestASuspendedReleaseIsLeftAloneUntilItResumes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	b.events.take()
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Suspend = true })
	b.values("later: true")

	assert.Zero(t, b.once())
	release := b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonReleaseSuspended)
	assert.Equal(t, "Release is suspended", b.condition(v1alpha1.ConditionReady).Message)
	assert.Equal(t, 1, release.Status.HelmRelease.Revision)
	assert.Empty(t, b.helm.done())
	assert.Len(t, b.events.take(), 1)

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Suspend = false })
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAReleaseThatIsGoneIsInstalledAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.records = map[Target][]helm.Release{}
	b.helm.done()

	b.settle()

	assert.Equal(t, []string{"install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestAnAPIServerThatDoesNotAnswerIsNamedAndReadyStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.lastError = errors.New("secrets is forbidden")
	_, err := b.engine.Reconcile(t.Context(), b.objects.get())
	require.Error(t, err)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "forbidden")
	assert.Contains(t, b.events.take()[0], "forbidden")

	b.helm.lastError = nil
	b.settle()
	b.helm.lastError = errors.New("etcd timed out")
	_, err = b.engine.Reconcile(t.Context(), b.objects.get())
	require.Error(t, err)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestSeveralSourcesAreToldOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Chart.OCIRepository = "oci://registry.example.com/charts/web" })
	b.settle()
	assert.Equal(t, "oci://registry.example.com/charts", b.charts.asked[0].Source.URL)
	assert.Contains(t, b.events.take()[0], "ociRepository is used")
	b.settle()
	assert.Empty(t, b.events.take())
}

func TestNoMoreOperationsThanAllowedRunAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := types.NamespacedName{Namespace: "shop", Name: "other"}
	b.runner = NewRunner(RunnerConfig{MaxOperations: 1, Wake: func(key types.NamespacedName) { b.woken <- key }})
	b.config.Runner = b.runner
	var err error
	b.engine, err = New(b.config)
	require.NoError(t, err)
	require.True(t, b.runner.Reserve(other))

	b.once()
	b.once()
	assert.Empty(t, b.helm.done())
	assert.Nil(t, b.objects.get().Status.Operation, "no intent without a slot")

	b.runner.Return()
	b.awaitWake()
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done())
}

func TestMetricsFollowAReleaseToItsEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.results = []result{{err: helm.ErrTimeout}}
	b.values("bad: true")
	b.settle()

	require.NoError(t, testutil.GatherAndCompare(b.metrics, strings.NewReader(`
# HELP helm_release_operation_errors_total Helm operations that failed, by kind of error.
# TYPE helm_release_operation_errors_total counter
helm_release_operation_errors_total{error_type="Timeout",namespace="shop",operation="upgrade",release="app"} 1
# HELP helm_release_operation_total Helm operations that ended, by outcome.
# TYPE helm_release_operation_total counter
helm_release_operation_total{namespace="shop",operation="install",release="app",status="success"} 1
helm_release_operation_total{namespace="shop",operation="rollback",release="app",status="success"} 1
helm_release_operation_total{namespace="shop",operation="upgrade",release="app",status="failure"} 1
# HELP helm_release_rollbacks_total Rollbacks after failed upgrades, by outcome.
# TYPE helm_release_rollbacks_total counter
helm_release_rollbacks_total{namespace="shop",release="app",status="success"} 1
`), "helm_release_operation_total", "helm_release_operation_errors_total", "helm_release_rollbacks_total"))
	count, err := testutil.GatherAndCount(b.metrics, "helm_release_info")
	require.NoError(t, err)
	assert.Equal(t, 1, count)

	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})
	b.settle()
	count, err = testutil.GatherAndCount(b.metrics)
	require.NoError(t, err)
	assert.Zero(t, count, "the series go with the object")
}

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{err: errors.New(strings.Repeat("ü", 3000))}}
	b.settle()
	for _, event := range b.events.take() {
		assert.LessOrEqual(t, len(event)-len("Warning InstallFailed: "), maxEventBytes)
		assert.True(t, strings.ToValidUTF8(event, "?") == event)
	}
	assert.LessOrEqual(t, len(b.condition(v1alpha1.ConditionReady).Message), maxMessageBytes)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "next try at", "the useful end is not cut off")
}
