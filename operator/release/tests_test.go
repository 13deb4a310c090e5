package release

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

var errTest = errors.New("hook Pod smoke: pod smoke failed")

func enableTests(r *v1alpha1.HelmRelease) {
	r.Spec.Test = &v1alpha1.TestSpec{Enable: true, Timeout: "3m", Filters: []v1alpha1.TestFilter{{Name: "smoke"}, {Name: "slow", Exclude: true}}}
}

func TestWhatWasDeployedIsTestedOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests)
	b.settle()
	b.settle()
	assert.Equal(t, []string{"install", "test"}, b.helm.done())
	assert.Equal(t, []string{"smoke"}, b.helm.tests.Include)
	assert.Equal(t, []string{"slow"}, b.helm.tests.Exclude)
	assert.Equal(t, 3*time.Minute, b.helm.tests.Timeout)
	assert.True(t, b.helm.tests.MarkFailed)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionTestSuccess).Status)
	assert.Equal(t, v1alpha1.TestsPassed, b.objects.get().Status.History[0].Tests)

	b.values("replicas: 2")
	b.settle()
	assert.Equal(t, []string{"upgrade", "test"}, b.helm.done())
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Test = nil })
	b.settle()
	assert.Nil(t, meta.FindStatusCondition(b.objects.get().Status.Conditions, v1alpha1.ConditionTestSuccess))
	assert.Empty(t, b.helm.done())
}

func TestATestThatFailsFailsTheRelease(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests, func(r *v1alpha1.HelmRelease) {
		limit := int32(2)
		r.Spec.Retry = &v1alpha1.RetrySpec{Limit: &limit}
	})
	b.helm.results = []result{{}, {err: errTest}, {}, {err: errTest}}
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonTestFailed)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionTestSuccess).Status)
	for range 3 {
		b.now = b.now.Add(time.Hour)
		b.settle()
	}
	assert.Equal(t, []string{"install", "test", "upgrade", "test"}, b.helm.done(), "tries are counted over upgrades that succeed")
	assert.EqualValues(t, 2, b.objects.get().Status.FailureCount)
}

func TestATestThatFailsRollsBackWhereAsked(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests, enableRollback)
	b.settle()
	b.helm.done()
	b.values("replicas: 2")
	b.helm.results = []result{{}, {err: errTest}}
	b.settle()
	assert.Equal(t, []string{"upgrade", "test", "rollback 1"}, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonRolledBack)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, errTest.Error())
	b.now = b.now.Add(24 * time.Hour)
	b.settle()
	assert.Empty(t, b.helm.done(), "it is held")
}

func TestATestThatMayFailIsOnlyReported(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests, func(r *v1alpha1.HelmRelease) { r.Spec.Test.IgnoreFailures = true })
	b.helm.results = []result{{}, {err: errTest}}
	b.settle()
	b.settle()
	assert.Equal(t, []string{"install", "test"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	failed := b.condition(v1alpha1.ConditionTestSuccess)
	assert.Equal(t, metav1.ConditionFalse, failed.Status)
	assert.Contains(t, failed.Message, errTest.Error())
	assert.Zero(t, b.objects.get().Status.FailureCount)
	assert.Contains(t, b.events.take(), "Warning TestFailed: "+failed.Message)
}

func TestTestsThatCouldNotRunRunLater(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests)
	b.helm.results = []result{{}, {err: errors.New("the API server is away"), unwritten: true}}
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonTestFailed)
	b.settle()
	assert.Equal(t, []string{"install", "test"}, b.helm.done(), "not at once")
	b.now = b.now.Add(2 * time.Minute)
	b.settle()
	assert.Equal(t, []string{"test"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Zero(t, b.objects.get().Status.FailureCount)
}

func TestTestsThatACrashCutOffRunAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests)
	b.settle()
	b.helm.done()
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Status.History[0].Tests = ""
		r.Status.Operation.ID, r.Status.Operation.Phase = "cut off", v1alpha1.OperationRunning
	})
	b.restart()
	b.settle()
	assert.Equal(t, []string{"test"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}
