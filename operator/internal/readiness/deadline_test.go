package readiness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// stuck is a Deployment that its controller found past its deadline at a time, or that comes forward when the time is empty.
func stuck(updated, transition string) *unstructured.Unstructured {
	object := deployment("a", 0)
	condition := map[string]any{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
	if updated != "" {
		condition = map[string]any{
			"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out progressing",
			"lastUpdateTime": updated, "lastTransitionTime": transition,
		}
	}
	object.Object["status"].(map[string]any)["conditions"] = []any{condition}      //nolint:errcheck // made by deployment
	object.Object["spec"].(map[string]any)["progressDeadlineSeconds"] = int64(600) //nolint:errcheck // made by deployment
	return object
}

func TestOnlyADeadlineThatIsPassedDuringAWaitEndsIt(t *testing.T) {
	const (
		old   = "2020-01-01T00:00:00Z" // our clock says another time: it may be wrong
		later = "2020-01-01T00:10:00Z"
	)
	change := func(object *unstructured.Unstructured) *unstructured.Unstructured {
		object.SetGeneration(2)
		return object
	}
	observed := func(object *unstructured.Unstructured) *unstructured.Unstructured {
		object.Object["status"].(map[string]any)["observedGeneration"] = int64(2) //nolint:errcheck // made by deployment
		return change(object)
	}
	ready := func() *unstructured.Unstructured {
		object := observed(deployment("a", 1))
		return object
	}
	tests := []struct {
		name string
		// answer is what the write was answered with, and then are the states after that.
		answer *unstructured.Unstructured
		then   []*unstructured.Unstructured
		fails  bool
	}{
		{"passed by what was deployed before", change(stuck(old, old)), []*unstructured.Unstructured{observed(stuck(old, old)), ready()}, false},
		{"passed before a write that changed no Pods", stuck(old, old), []*unstructured.Unstructured{stuck(old, old), ready()}, false},
		{"passed again", change(stuck(old, old)), []*unstructured.Unstructured{
			observed(stuck(old, old)), observed(stuck("", "")), observed(stuck(later, later)),
		}, true},
		{"passed again, unseen in between", change(stuck(old, old)), []*unstructured.Unstructured{observed(stuck(later, later))}, true},
		{"passed again, in the same state", change(stuck(old, old)), []*unstructured.Unstructured{observed(stuck(later, old))}, true},
		{"passed for the first time", change(stuck("", "")), []*unstructured.Unstructured{observed(stuck(old, old))}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, b.put(deployments, tt.answer)))
				for _, state := range tt.then {
					b.pending(done)
					b.put(deployments, state)
				}
				err := <-done
				if !tt.fails {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, ErrFailed)
				assert.ErrorContains(t, err, "ProgressDeadlineExceeded: has timed out progressing")
			})
		})
	}
}

func TestADeadlineThatWasPassedAtTheFirstLookDoesNotEndAWait(t *testing.T) {
	inBubble(t, func(b *bed) {
		b.put(deployments, stuck("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"))
		unknown := Object{Kind: "Deployment", Resource: deployments, Namespace: "ns", Name: "a"}
		err := <-b.waitFor(b.t.Context(), GoalReady, Options{Timeout: time.Minute}, unknown)
		require.ErrorIs(t, err, ErrTimeout)
		assert.ErrorContains(t, err, "Deployment a: 0 of 1 available")
	})
}

func TestADeadlineThatWasPassedBeforeIsToldWhereTheNumbersSayNothing(t *testing.T) {
	object := stuck("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z")
	object.Object["status"].(map[string]any)["readyReplicas"] = int64(1)     //nolint:errcheck // made by deployment
	object.Object["status"].(map[string]any)["availableReplicas"] = int64(1) //nolint:errcheck // made by deployment
	got := assess(object, GoalReady, passedDeadline(object))
	assert.Equal(t, Progressing, got.State)
	assert.Equal(t, "has not come forward since it passed its progress deadline earlier", got.Text)
}
