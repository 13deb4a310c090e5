package helm

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHookThatFails(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "hooked", "1.0.0", chartFiles{
		"templates/config.yaml": configMap,
		"templates/hook.yaml": `apiVersion: v1
kind: Pod
metadata:
  name: migrate
  annotations:
    helm.sh/hook: pre-install,pre-rollback
    helm.sh/hook-delete-policy: hook-succeeded
spec:
  restartPolicy: Never
  containers: [{name: main, image: example.com/migrate}]
`,
	})
	var failing sync.WaitGroup
	failing.Go(func() { f.failPod("migrate") })
	_, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart}, Waiting: Waiting{Timeout: time.Minute},
	})
	failure := wantError(t, err)
	assert.Equal(t, StageHooks, failure.Stage)
	assert.Equal(t, 1, failure.Revision)
	assert.Contains(t, failure.Message, "hook Pod migrate: pod migrate failed")
	assert.Nil(t, f.data("web-config"), "nothing is applied after a failed hook")
	failing.Wait()

	rel, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "2"), ChartSource: ChartSource{Chart: chart}, Waiting: Waiting{DisableHooks: true},
	})
	require.NoError(t, err)
	assert.Equal(t, 2, rel.Revision)

	t.Run("a rollback whose hook times out does not stay pending", func(t *testing.T) {
		require.NoError(t, f.kube.CoreV1().Pods(f.namespace).Delete(t.Context(), "migrate", *metav1.NewDeleteOptions(0)))
		_, err := f.helm.Rollback(t.Context(), RollbackOptions{
			Target: f.target("web", "3"), Waiting: Waiting{Timeout: 200 * time.Millisecond}, ToRevision: 2,
		})
		failure := wantError(t, err)
		assert.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, StageHooks, failure.Stage)
		assert.Equal(t, 3, failure.Revision)
		assert.Equal(t, StatusFailed, f.last("web").Status)
	})
}

// failPod makes a Pod fail once it exists.
func (f *fixture) failPod(name string) { f.endPod(name, corev1.PodFailed) }

// endPod makes a Pod end in a phase once it exists. It runs beside the test and leaves its failure to what the test expects.
func (f *fixture) endPod(name string, phase corev1.PodPhase) {
	ctx := f.t.Context()
	pods := f.kube.CoreV1().Pods(f.namespace)
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return
		}
		pod.Status.Phase = phase
		if _, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err == nil {
			return
		}
	}
}
