package helm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAnUpgradeOverADeploymentThatWasPastItsDeadlineWaits(t *testing.T) {
	f := newFixture(t)
	chart := stuckChart(t, "1.0.0")
	_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart}})
	require.NoError(t, err)
	api := f.kube.AppsV1().Deployments(f.namespace)
	live, err := api.Get(t.Context(), "web-web", metav1.GetOptions{})
	require.NoError(t, err)
	live.Status = appsv1.DeploymentStatus{
		ObservedGeneration: live.Generation, Replicas: 1, UpdatedReplicas: 1, UnavailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded",
			LastUpdateTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}},
	}
	_, err = api.UpdateStatus(t.Context(), live, metav1.UpdateOptions{})
	require.NoError(t, err)

	// Only a ConfigMap changes, which may be what the Pods lack: the Deployment says what it said before.
	waits, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
			Target:      f.target("web", "2"),
			ChartSource: ChartSource{Chart: chart, Values: map[string]any{"text": "mended"}},
			Waiting:     Waiting{Wait: true, Timeout: time.Minute, Callbacks: Callbacks{Idle: func() { close(waits) }}},
		})
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
		require.Fail(t, "the upgrade did not wait")
	case <-waits:
	}
	f.getReady("web-web")
	require.NoError(t, <-done)
}
