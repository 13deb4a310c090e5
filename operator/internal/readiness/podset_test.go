package readiness

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// pod returns one of an app whose container waits for a reason. owner may be empty.
func pod(name, app string, owner types.UID, reason string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "ns"},
		"status": map[string]any{"phase": "Pending", "containerStatuses": []any{
			map[string]any{"name": "main", "state": map[string]any{"waiting": map[string]any{"reason": reason}}},
		}},
	}}
	object.SetLabels(map[string]string{"app": app})
	ownedBy(object, owner)
	return object
}

func ownedBy(object *unstructured.Unstructured, owner types.UID) {
	controls := true
	if owner != "" {
		object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "r", UID: owner, Controller: &controls}})
	}
}

// replicaSet puts the ReplicaSet of a revision of a Deployment, and returns its UID.
func (b *bed) replicaSet(of *unstructured.Unstructured, revision string) types.UID {
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet"}}
	object.SetName(of.GetName() + "-" + revision)
	object.SetNamespace("ns")
	object.SetLabels(map[string]string{"app": of.GetName()})
	object.SetAnnotations(map[string]string{revisionAnnotation: revision})
	ownedBy(object, of.GetUID())
	return b.put(replicaSets, object).GetUID()
}

func TestPodsThatCannotStartEndAWaitAfterTheGracePeriod(t *testing.T) {
	for _, reason := range []string{"CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"} {
		t.Run(reason, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				live := b.put(deployments, deployment("a", 0))
				owner := b.replicaSet(live, "1")
				b.put(pods, pod("a-1", "a", owner, reason))
				start := time.Now()
				done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, live))
				b.pending(done)
				assert.Zero(t, b.requests("list pods"), "Pods are not looked at before")
				err := <-done
				require.ErrorIs(t, err, ErrFailed)
				assert.Equal(t, "Deployment a: failed: Pod a-1: container main: "+reason, err.Error())
				assert.Equal(t, DefaultGrace, time.Since(start))
			})
		})
	}
}

func TestPodsAreWatchedOnceTheGracePeriodIsOver(t *testing.T) {
	inBubble(t, func(b *bed) {
		live := b.put(deployments, deployment("a", 0))
		owner := b.replicaSet(live, "1")
		b.put(pods, pod("a-1", "a", owner, "ContainerCreating"))
		done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, live))
		time.Sleep(2 * DefaultGrace)
		b.pending(done)
		assert.Equal(t, 1, b.requests("list pods"))
		b.put(pods, pod("a-1", "a", owner, "ImagePullBackOff"))
		require.ErrorIs(t, <-done, ErrFailed)
		assert.Equal(t, 1, b.requests("list pods"))
	})
}

func TestDefectsThatDoNotEndAWait(t *testing.T) {
	tests := []struct {
		name string
		do   func(b *bed, live *unstructured.Unstructured, owner types.UID)
	}{
		{"a Pod of an older revision", func(b *bed, live *unstructured.Unstructured, _ types.UID) {
			b.put(pods, pod("a-0", "a", b.replicaSet(live, "0"), "CrashLoopBackOff"))
		}},
		{"a Pod that only has the labels", func(b *bed, _ *unstructured.Unstructured, _ types.UID) {
			b.put(pods, pod("x", "a", "", "CrashLoopBackOff"))
		}},
		{"a Pod that waits for a node", func(b *bed, _ *unstructured.Unstructured, owner types.UID) {
			waiting := pod("a-1", "a", owner, "")
			waiting.Object["status"] = map[string]any{"conditions": []any{
				map[string]any{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"},
			}}
			b.put(pods, waiting)
		}},
		{"a Pod that is deleted again", func(b *bed, _ *unstructured.Unstructured, owner types.UID) {
			b.put(pods, pod("a-1", "a", owner, "CrashLoopBackOff"))
			b.remove(pods, "ns", "a-1")
		}},
		{"Pods that may not be read", func(b *bed, _ *unstructured.Unstructured, owner types.UID) {
			b.put(pods, pod("a-1", "a", owner, "CrashLoopBackOff"))
			b.failing(func(_, resource string) error {
				if resource == "pods" {
					return answer(http.StatusForbidden)
				}
				return nil
			})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				live := b.put(deployments, deployment("a", 0))
				tt.do(b, live, b.replicaSet(live, "1"))
				done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, live))
				time.Sleep(3 * DefaultGrace)
				b.pending(done)
				b.put(deployments, deployment("a", 1))
				require.NoError(t, <-done)
			})
		})
	}
}

func TestAStepForwardBeginsTheGracePeriodAnew(t *testing.T) {
	inBubble(t, func(b *bed) {
		fresh := deployment("a", 0)
		require.NoError(t, unstructured.SetNestedField(fresh.Object, int64(0), "status", "updatedReplicas"))
		live := b.put(deployments, fresh)
		b.put(pods, pod("a-1", "a", b.replicaSet(live, "1"), "CrashLoopBackOff"))
		start := time.Now()
		done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, live))
		time.Sleep(DefaultGrace - time.Second)
		b.put(deployments, deployment("a", 0)) // one more is updated
		require.ErrorIs(t, <-done, ErrFailed)
		assert.Equal(t, 2*DefaultGrace-time.Second, time.Since(start))
	})
}

func TestPodsOfAJobMayCrashAsOftenAsTheJobAllows(t *testing.T) {
	inBubble(t, func(b *bed) {
		job := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "a", "namespace": "ns"},
			"spec": map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "a"}}},
		}}
		live := b.put(jobs, job)
		b.put(pods, pod("a-1", "a", live.GetUID(), "CrashLoopBackOff"))
		done := b.waitFor(b.t.Context(), GoalCompleted, Options{What: "hook"}, object(jobs, live))
		time.Sleep(2 * DefaultGrace)
		b.pending(done)
		b.put(pods, pod("a-1", "a", live.GetUID(), "ErrImagePull"))
		assert.EqualError(t, <-done, "job a failed: Pod a-1: container main: ErrImagePull")
	})
}

func TestPodTroubleNamesTheCause(t *testing.T) {
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "web", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}},
		}}}
	}
	tests := []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"a Pod that runs", corev1.PodStatus{}, ""},
		{"a container that is being made", waiting("ContainerCreating"), ""},
		{"an image that cannot be pulled", waiting("ImagePullBackOff"), "container web: ImagePullBackOff: why"},
		{"a container that ended", corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{
			Name: "init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}},
		}}}, "container init ended with exit code 2: Error"},
		{"a Pod that cannot be scheduled", corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no nodes"},
		}}, "Unschedulable: no nodes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, PodTrouble(&corev1.Pod{Status: tt.status}))
		})
	}
}

func TestEnumerateNamesAFewAndCountsTheRest(t *testing.T) {
	assert.Empty(t, enumerate(nil, 3))
	assert.Equal(t, ": a; b", enumerate([]string{"a", "b"}, 3))
	assert.Equal(t, ": a; b; c and 2 more", enumerate([]string{"a", "b", "c", "", ""}, 3))
}
