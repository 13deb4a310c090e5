package release

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

func TestLongTextsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{err: errors.New(strings.Repeat("ü", 3000))}}
	b.settle()
	for _, event := range b.events.take() {
		assert.LessOrEqual(t, len(event)-len("Warning InstallFailed: "), maxEventBytes)
		assert.Equal(t, strings.ToValidUTF8(event, "?"), event)
	}
	assert.LessOrEqual(t, len(b.condition(v1alpha1.ConditionReady).Message), maxMessageBytes)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "next try at", "the useful end is not cut off")
}

func TestAnOldAnswerIsNotTakenForTheOneToANewSpec(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	// The new spec is looked at, but cannot be acted on, because somebody works on the release.
	b.helm.records[appTarget][0].Status = helm.StatusPendingUpgrade
	b.helm.records[appTarget][0].LastDeployed = b.now
	b.charts.offer("2.0.0", "sha256:two")
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "^2.0.0" })
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)

	b.helm.records[appTarget][0].Status = helm.StatusDeployed
	b.charts.fail(unreachable())
	b.settle()

	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "unreachable")
}

func TestWhatAnOperationWaitsForIsInTheStatus(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()

	for _, progress := range []string{"waiting for Deployment web: 1 of 3 available", "waiting for Deployment web: 2 of 3 available"} {
		b.helm.installed.Progress(progress)
		b.awaitWake()
		b.once()

		b.assertReady(metav1.ConditionUnknown, v1alpha1.ReasonInstallStarted)
		for _, message := range []string{
			b.objects.get().Status.Operation.Message, b.condition(v1alpha1.ConditionReady).Message, b.condition(v1alpha1.ConditionProgressing).Message,
		} {
			assert.True(t, strings.HasPrefix(message, "Installing chart"), message)
			assert.True(t, strings.HasSuffix(message, "; "+progress), message)
		}
	}
	b.runner.Interrupt(appKey, ErrSuperseded)
}

func TestProgressStandsBehindWhatFailedBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{err: errUnready}, {blocks: true}}
	b.settle()
	<-b.helm.began
	b.now = b.now.Add(2 * time.Minute)
	b.once()
	b.awaitBegin()
	b.helm.upgraded.Progress("waiting for Deployment web: 1 of 3 available")
	b.awaitWake()
	b.once()

	message := b.condition(v1alpha1.ConditionReady).Message
	assert.Contains(t, message, errUnready.Error())
	assert.Contains(t, message, "; waiting for Deployment web: 1 of 3 available")
	b.runner.Interrupt(appKey, ErrSuperseded)
}

func TestAFailedFirstInstallIsRemovedBeforeTheNextTryWhereWished(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		limit := int32(3)
		r.Spec.Install = &v1alpha1.InstallSpec{Remediation: v1alpha1.InstallRemediationUninstall}
		r.Spec.Retry = &v1alpha1.RetrySpec{Limit: &limit}
	})
	b.helm.results = []result{{err: errUnready}, {}, {err: errUnready}, {}, {err: errUnready}}
	for range 4 {
		b.settle()
		b.now = b.now.Add(time.Hour)
	}
	assert.Equal(t, []string{"install", "uninstall shop/app", "install", "uninstall shop/app", "install"}, b.helm.done(),
		"the tries are counted over the removals")
	assert.EqualValues(t, 3, b.objects.get().Status.FailureCount)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionStalled).Status)
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonInstallFailed)
}
