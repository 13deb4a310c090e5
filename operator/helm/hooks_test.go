package helm

import (
	"context"
	"errors"
	"fmt"
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

// A delete policy that keeps what failed must not keep the next try from running it, nor may one that nobody could carry out because
// the process was killed.
func TestAHookThatAnEarlierTryLeftIsRunAgain(t *testing.T) {
	f := newFixture(t)
	hook := func(kind, name, hooks, spec string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: %s\nmetadata:\n  name: %s\n  annotations: {helm.sh/hook: %q, helm.sh/hook-delete-policy: hook-succeeded}\n%s",
			kind, name, hooks, spec)
	}
	pod := "spec: {restartPolicy: Never, containers: [{name: main, image: example.com/migrate}]}\n"
	chart := tarball(t, "hooked", "1.0.0", chartFiles{
		"templates/config.yaml":  configMap,
		"templates/account.yaml": hook("ServiceAccount", "migrate", "pre-install,pre-upgrade", ""),
		"templates/migrate.yaml": hook("Pod", "migrate", "pre-install,pre-upgrade", pod),
		"templates/clean.yaml":   hook("Pod", "clean", "pre-delete", pod),
		"templates/smoke.yaml":   hook("Pod", "smoke", "test", pod),
	})
	running := func(name string, phase corev1.PodPhase, do func() error) error {
		var ending sync.WaitGroup
		defer ending.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ending.Go(func() {
			f.onPod(ctx, name, func(ctx context.Context, pod *corev1.Pod) error {
				if pod.Status.Phase == corev1.PodFailed {
					return errors.New("that is the one of the try before")
				}
				pod.Status.Phase = phase
				_, err := f.kube.CoreV1().Pods(f.namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
				return err
			})
		})
		return do()
	}
	source, waiting := ChartSource{Chart: chart}, Waiting{Timeout: time.Minute}

	require.Error(t, running("migrate", corev1.PodFailed, func() error {
		_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: source, Waiting: waiting})
		return err
	}))
	require.NoError(t, running("migrate", corev1.PodSucceeded, func() error {
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "2"), ChartSource: source, Waiting: waiting})
		return err
	}))
	test := func(operation string, phase corev1.PodPhase) error {
		return running("smoke", phase, func() error {
			_, err := f.helm.Test(t.Context(), TestOptions{Target: f.target("web", operation), Timeout: time.Minute})
			return err
		})
	}
	require.Error(t, test("3", corev1.PodFailed))
	require.NoError(t, test("4", corev1.PodSucceeded))
	uninstall := func(operation string, phase corev1.PodPhase) error {
		return running("clean", phase, func() error {
			_, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", operation), Timeout: time.Minute})
			return err
		})
	}
	require.Error(t, uninstall("5", corev1.PodFailed))
	require.NoError(t, uninstall("6", corev1.PodSucceeded))
}

// What somebody else made, or an upgrade that succeeded left on purpose, is no leftover.
func TestAHookThatIsInTheWayAndNoLeftoverStays(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "hooked", "1.0.0", chartFiles{
		"templates/config.yaml": configMap,
		"templates/settings.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: hook-failed}
data: {made: by the chart}
`,
	})
	source := ChartSource{Chart: chart}
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"made": "by hand"}}
	_, err := f.kube.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), theirs, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: source})
	assert.Contains(t, wantError(t, err).Message, "already exists")

	require.NoError(t, f.kube.CoreV1().ConfigMaps(f.namespace).Delete(t.Context(), "settings", metav1.DeleteOptions{}))
	f.upgrade("web", "2", chart, nil)
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "3"), ChartSource: source})
	assert.Contains(t, wantError(t, err).Message, "already exists")
}

// failPod makes a Pod fail once it exists.
func (f *fixture) failPod(name string) { f.endPod(name, corev1.PodFailed) }

// endPod makes a Pod end in a phase once it exists. It runs beside the test and leaves its failure to what the test expects.
func (f *fixture) endPod(name string, phase corev1.PodPhase) {
	f.onPod(f.t.Context(), name, func(ctx context.Context, pod *corev1.Pod) error {
		pod.Status.Phase = phase
		_, err := f.kube.CoreV1().Pods(f.namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	})
}

// onPod does something with a Pod once it exists, until that succeeds or ctx ends. It runs beside the test and leaves its failure to what the
// test expects.
func (f *fixture) onPod(ctx context.Context, name string, do func(context.Context, *corev1.Pod) error) {
	events, err := f.kube.CoreV1().Pods(f.namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return
		}
		if do(ctx, pod) == nil {
			return
		}
	}
}
