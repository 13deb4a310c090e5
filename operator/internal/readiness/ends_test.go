package readiness

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// job is one that has ended with a condition, or runs when there is none.
func job(condition string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "j", "namespace": "ns"},
	}}
	if condition != "" {
		object.Object["status"] = map[string]any{"conditions": []any{
			map[string]any{"type": condition, "status": "True", "reason": "Because", "message": "of that"},
		}}
	}
	return object
}

func TestHooksRunToTheirEnd(t *testing.T) {
	const deleted = "job j failed: it could not be run to its end, because it was deleted before"
	unseen := func(b *bed, then func()) {
		b.breakWatches()
		b.remove(jobs, "ns", "j")
		then()
		b.compact()
	}
	tests := []struct {
		name string
		then func(*bed)
		want string
	}{
		{"a Job completes", func(b *bed) { b.put(jobs, job("Complete")) }, ""},
		{"a Job fails", func(b *bed) { b.put(jobs, job("Failed")) }, "job j failed: Because: of that"},
		{"a Job is deleted", func(b *bed) { b.remove(jobs, "ns", "j") }, deleted},
		{"a Job is deleted, unseen", func(b *bed) { unseen(b, func() {}) }, deleted},
		{"a Job completes and is deleted at once", func(b *bed) { b.removeAs(jobs, job("Complete")) }, ""},
		{"a Job fails and is deleted at once", func(b *bed) { b.removeAs(jobs, job("Failed")) }, "job j failed: Because: of that"},
		{"a Job fails, is deleted at once and made again", func(b *bed) {
			b.breakWatches()
			b.removeAs(jobs, job("Failed"))
			b.put(jobs, job(""))
		}, "job j failed: Because: of that"},
		{"a Job is deleted and made again, unseen", func(b *bed) { unseen(b, func() { b.put(jobs, job("")) }) }, deleted},
		{"a Job that goes by itself when it has ended is gone, unseen", func(b *bed) {
			b.put(jobs, shortLived(job("")))
			synctest.Wait()
			unseen(b, func() {})
		}, ""},
		{"a Job that goes by itself when it has ended is deleted before", func(b *bed) {
			b.removeAs(jobs, shortLived(job("")))
		}, deleted},
		{"a Job does not end", func(*bed) { time.Sleep(time.Hour) }, "timed out after 1m0s waiting for hook Job j: 0 of 1 completed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				done := b.waitFor(b.t.Context(), GoalCompleted, Options{What: "hook", Timeout: time.Minute}, object(jobs, b.put(jobs, job(""))))
				b.pending(done)
				tt.then(b)
				err := <-done
				if tt.want == "" {
					require.NoError(t, err)
					return
				}
				assert.EqualError(t, err, tt.want)
			})
		})
	}
}

// shortLived gives a Job a time to live.
func shortLived(job *unstructured.Unstructured) *unstructured.Unstructured {
	job.Object["spec"] = map[string]any{"ttlSecondsAfterFinished": int64(0)}
	return job
}

func TestAPodThatIsDeletedWhileItRunsCouldNotBeRun(t *testing.T) {
	for name, begin := range map[string]func(*bed){
		"watched": func(*bed) {},
		"looked at without a watch": func(b *bed) {
			b.failing(func(verb, _ string) error {
				if verb != "get" {
					return answer(http.StatusForbidden)
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				begin(b)
				done := b.waitFor(b.t.Context(), GoalCompleted, Options{}, object(pods, b.put(pods, pod("p", "", "", ""))))
				b.pending(done)
				b.remove(pods, "ns", "p")
				err := <-done
				require.ErrorIs(t, err, ErrFailed)
				require.EqualError(t, err, "pod p failed: it could not be run to its end, because it was deleted before")
			})
		})
	}
}

func TestAHookThatIsAPodMayFailAtTheLastMoment(t *testing.T) {
	inBubble(t, func(b *bed) {
		running := pod("p", "", "", "")
		done := b.waitFor(b.t.Context(), GoalCompleted, Options{}, object(pods, b.put(pods, running)))
		b.pending(done)
		running.Object["status"] = map[string]any{"phase": "Failed", "reason": "Evicted"}
		b.removeAs(pods, running)
		require.EqualError(t, <-done, "pod p failed: Evicted")
	})
}

func TestAJobThatIsWaitedForStaysDone(t *testing.T) {
	noWatch := func(b *bed) {
		b.failing(func(verb, _ string) error {
			if verb != "get" {
				return answer(http.StatusForbidden)
			}
			return nil
		})
	}
	const unseen = "timed out after 1h0m0s waiting for objects to be ready: Job j: was deleted before it was seen to complete; " +
		"does its ttlSecondsAfterFinished leave too little time?"
	tests := []struct {
		name  string
		begin func(*bed)
		then  func(*bed)
		want  string
	}{
		{"that completed and was removed", nil, func(b *bed) { b.put(jobs, job("Complete")); b.remove(jobs, "ns", "j") }, ""},
		{"that was removed in the state in which it completed", nil, func(b *bed) { b.removeAs(jobs, job("Complete")) }, ""},
		{"that was made again after it had completed", nil, func(b *bed) {
			b.put(jobs, job("Complete"))
			b.remove(jobs, "ns", "j")
			b.put(jobs, job(""))
		}, ""},
		{"that was looked at without a watch", noWatch, func(b *bed) {
			b.put(jobs, job("Complete"))
			time.Sleep(time.Minute)
			b.remove(jobs, "ns", "j")
			time.Sleep(time.Minute)
		}, ""},
		{"but not one that failed", nil, func(b *bed) { b.removeAs(jobs, job("Failed")) }, "Job j: failed: Because: of that"},
		{"but not one that did not complete", nil, func(b *bed) { b.remove(jobs, "ns", "j") }, unseen},
		{"but not one that nobody saw complete", nil, func(b *bed) {
			b.breakWatches()
			b.removeAs(jobs, job("Complete"))
			b.compact()
		}, unseen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				if tt.begin != nil {
					tt.begin(b)
				}
				done := b.waitFor(b.t.Context(), GoalReadyWithJobs, Options{},
					object(deployments, b.put(deployments, deployment("a", 0))), object(jobs, b.put(jobs, job(""))))
				b.pending(done)
				tt.then(b)
				if tt.want == "" {
					b.pending(done)
				}
				b.put(deployments, deployment("a", 1))
				err := <-done
				if tt.want == "" {
					require.NoError(t, err)
					return
				}
				assert.EqualError(t, err, tt.want)
			})
		})
	}
}

func TestAJobThatIsGoneAtTheFirstLookDidNotComplete(t *testing.T) {
	inBubble(t, func(b *bed) {
		gone := Object{Kind: "Job", Resource: jobs, Namespace: "ns", Name: "j"}
		done := b.waitFor(b.t.Context(), GoalReadyWithJobs, Options{}, gone)
		b.pending(done)
		b.put(jobs, job(""))
		b.pending(done)
		b.put(jobs, job("Complete"))
		require.NoError(t, <-done, "but it may be made again")
	})
}

func TestNewsThatNobodyHasTakenAreLastStatesWhenAListLacksThem(t *testing.T) {
	named := func(name, uid string) *unstructured.Unstructured {
		object := configMap(name)
		object.SetUID(types.UID(uid))
		return object
	}
	box, of := newInbox(), &interest{}
	gone, replaced, stays := named("gone", "1"), named("replaced", "2"), named("stays", "3")
	for _, object := range []*unstructured.Unstructured{gone, replaced, stays} {
		box.put(of, object, false)
	}
	listed := map[string]*unstructured.Unstructured{"replaced": named("replaced", "9"), "stays": named("stays", "3")}
	box.reset(of, []*unstructured.Unstructured{listed["replaced"], listed["stays"]})
	assert.Equal(t, map[*interest]*news{of: {
		complete: true, changed: listed, removed: map[string]*unstructured.Unstructured{"gone": gone, "replaced": replaced},
	}}, box.take())
}
