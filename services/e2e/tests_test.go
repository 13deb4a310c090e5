package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// testedChart is a chart whose test ends as the value "outcome" says: "fail", or well. The simulated nodes delete Pods by their
// name only, so that one of the same name could be deleted in place of the one before: each revision has a test of its own.
func testedChart(version string) chart {
	return webChart(version).with("templates/test.yaml", `apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-check-{{ .Release.Revision }}
  annotations:
    helm.sh/hook: test
    local.ketches.cn/outcome: {{ .Values.outcome | default "well" | quote }}
spec:
  restartPolicy: Never
  containers: [{name: check, image: example.invalid/check:1}]
`)
}

func TestATestOfAChartThatFailsRollsBackWhereAsked(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, testedChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Test = &v1alpha1.TestSpec{Enable: true}
		r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
	}))
	release := s.until("app", ready)
	assert.True(t, meta.IsStatusConditionTrue(release.Status.Conditions, v1alpha1.ConditionTestSuccess))
	check := &corev1.Pod{}
	require.NoError(t, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "app-check-1"}, check))
	assert.Equal(t, corev1.PodSucceeded, check.Status.Phase)

	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("{message: bad, outcome: fail}")
	})
	release = s.until("app", notReady(v1alpha1.ReasonRolledBack))
	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Contains(t, message, "Rolled back to revision 1 after upgrade failure: Test of revision 2 failed")
	assert.Contains(t, message, "app-check-2", "the test is named")
	assert.Equal(t, 3, release.Status.HelmRelease.Revision)
	assert.Equal(t, "hello", s.message("app"))
	s.event("app", corev1.EventTypeWarning, v1alpha1.ReasonTestFailed)

	// The test is left out, so that nothing fails.
	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Test.Filters = []v1alpha1.TestFilter{{Name: "app-check-4", Exclude: true}}
	})
	s.until("app", atRevision(4))
	assert.Equal(t, "bad", s.message("app"))

	// A test that may fail is only reported.
	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Test = &v1alpha1.TestSpec{Enable: true, IgnoreFailures: true}
		r.Spec.Values = v1alpha1.ValuesFromString("{message: worse, outcome: fail}")
	})
	release = s.until("app", atRevision(5))
	assert.True(t, meta.IsStatusConditionFalse(release.Status.Conditions, v1alpha1.ConditionTestSuccess))
}
