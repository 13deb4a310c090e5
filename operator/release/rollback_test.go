package release

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

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

func TestAnEditThatTheDigestDoesNotCoverEndsTheHold(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.results = []result{{err: errUnready}}
	b.values("slow: true")
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	b.helm.done()

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: "20m"} })
	b.settle()

	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}
