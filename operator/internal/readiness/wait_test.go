package readiness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	deployments = appsv1.SchemeGroupVersion.WithResource("deployments")
	replicaSets = appsv1.SchemeGroupVersion.WithResource("replicasets")
	pods        = corev1.SchemeGroupVersion.WithResource("pods")
	jobs        = batchv1.SchemeGroupVersion.WithResource("jobs")
	configMaps  = corev1.SchemeGroupVersion.WithResource("configmaps")
)

// bed is a hub over a cluster in memory, inside a synctest bubble.
type bed struct {
	*cluster
	t   *testing.T
	hub *Hub

	mu  sync.Mutex
	log []string
}

// inBubble runs a test with a hub whose clock is the bubble's, and demands that nothing is left of its waits.
func inBubble(t *testing.T, test func(*bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{cluster: newCluster(), t: t}
		hub, err := New(Config{Source: b.cluster, Log: funcr.New(func(_, args string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.log = append(b.log, args)
		}, funcr.Options{})})
		require.NoError(t, err)
		b.hub = hub
		test(b)
		synctest.Wait()
		assert.Zero(t, hub.Watches(), "no watch is left of the hub")
		assert.Zero(t, b.watches(), "no watch is left at the server")
	})
}

// object returns the object of a wait for what a write was answered with.
func object(of schema.GroupVersionResource, live *unstructured.Unstructured) Object {
	return Object{Kind: live.GetKind(), Resource: of, Namespace: live.GetNamespace(), Name: live.GetName(), Live: live}
}

// waitFor begins a wait.
func (b *bed) waitFor(ctx context.Context, goal Goal, options Options, objects ...Object) <-chan error {
	done := make(chan error, 1)
	if options.Timeout == 0 {
		options.Timeout = time.Hour
	}
	go func() { done <- b.hub.wait(ctx, objects, goal, options) }()
	return done
}

// pending demands that a wait goes on.
func (b *bed) pending(done <-chan error) {
	b.t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		b.t.Fatalf("the wait ended early: %v", err)
	default:
	}
}

func deployment(name string, available int64) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{
			"name": name, "namespace": "ns", "generation": int64(1), "annotations": map[string]any{revisionAnnotation: "1"},
		},
		"spec": map[string]any{"replicas": int64(1), "selector": map[string]any{"matchLabels": map[string]any{"app": name}}},
		"status": map[string]any{
			"observedGeneration": int64(1), "replicas": int64(1), "updatedReplicas": int64(1),
			"readyReplicas": available, "availableReplicas": available,
			"conditions": []any{map[string]any{"type": "Available", "status": "False"}},
		},
	}}
	if available > 0 {
		object.Object["status"].(map[string]any)["conditions"] = []any{ //nolint:errcheck // made above
			map[string]any{"type": "Available", "status": "True"},
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
		}
	}
	return object
}

func configMap(name string, finalizers ...string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	object.SetName(name)
	object.SetNamespace("ns")
	object.SetFinalizers(finalizers)
	return object
}

func TestObjectsThatAreReadyByTheAnswerCostNoRequest(t *testing.T) {
	inBubble(t, func(b *bed) {
		called := false
		live := object(configMaps, b.put(configMaps, configMap("a")))
		done := b.waitFor(b.t.Context(), GoalReady, Options{Idle: func() { called = true }}, live)
		require.NoError(t, <-done)
		assert.Zero(t, b.total())
		assert.False(t, called, "there was nothing to wait for")
	})
}

func TestAWatchBeginsAtTheAnswerAndNeedsNoList(t *testing.T) {
	inBubble(t, func(b *bed) {
		done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, b.put(deployments, deployment("a", 0))))
		b.pending(done)
		b.put(deployments, deployment("a", 1))
		require.NoError(t, <-done)
		assert.Equal(t, 1, b.total(), "one watch and nothing else")
		assert.Equal(t, 1, b.requests("watch deployments"))
	})
}

func TestWaitsInOneNamespaceShareOneWatch(t *testing.T) {
	inBubble(t, func(b *bed) {
		first := b.put(deployments, deployment("a", 0))
		one := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, first))
		b.pending(one)
		second := b.put(deployments, deployment("b", 0))
		b.put(deployments, deployment("b", 1)) // before the second wait begins: the watch is beyond its answer
		b.pending(one)
		two := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, second))
		require.NoError(t, <-two, "what was missed is looked at")
		assert.Equal(t, 1, b.requests("get deployments"))
		assert.Equal(t, 1, b.watches(), "the first one still waits")
		b.put(deployments, deployment("a", 1))
		require.NoError(t, <-one)
		assert.Equal(t, 1, b.requests("watch deployments"))
	})
}

func TestAllObjectsMustBeReadyAtTheSameTime(t *testing.T) {
	inBubble(t, func(b *bed) {
		done := b.waitFor(b.t.Context(), GoalReady, Options{},
			object(deployments, b.put(deployments, deployment("a", 0))), object(deployments, b.put(deployments, deployment("b", 0))))
		b.pending(done)
		b.put(deployments, deployment("a", 1))
		b.pending(done)
		b.put(deployments, deployment("a", 0))
		b.pending(done)
		b.put(deployments, deployment("b", 1))
		b.pending(done)
		b.put(deployments, deployment("a", 1))
		require.NoError(t, <-done)
	})
}

func TestFaultsOfTheServerDoNotEndAWait(t *testing.T) {
	tests := []struct {
		name  string
		fault func(*bed)
	}{
		{"the watch closes", func(b *bed) { b.breakWatches() }},
		{"events are compacted meanwhile", func(b *bed) { b.compact(); b.breakWatches() }},
		{"the server is down for a minute", func(b *bed) {
			b.failing(func(string, string) error { return errDown })
			b.breakWatches()
			time.Sleep(time.Minute)
			b.failing(func(string, string) error { return nil })
		}},
		{"the server is overloaded", func(b *bed) {
			b.failing(func(string, string) error { return answer(http.StatusTooManyRequests) })
			b.breakWatches()
			time.Sleep(time.Minute)
			b.failing(func(string, string) error { return nil })
		}},
		{"the server fails, and events are compacted", func(b *bed) {
			b.failing(func(string, string) error { return answer(http.StatusInternalServerError) })
			b.breakWatches()
			b.compact()
			time.Sleep(time.Minute)
			b.failing(func(string, string) error { return nil })
		}},
		{"the token is renewed", func(b *bed) {
			b.failing(func(string, string) error { return answer(http.StatusUnauthorized) })
			b.breakWatches()
			time.Sleep(time.Minute)
			b.failing(func(string, string) error { return nil })
		}},
		{"the object is deleted and made again", func(b *bed) {
			b.remove(deployments, "ns", "a")
			b.put(deployments, deployment("a", 0))
		}},
		{"the object is made again while events are lost", func(b *bed) {
			b.breakWatches()
			b.remove(deployments, "ns", "a")
			b.put(deployments, deployment("a", 0))
			b.compact()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, b.put(deployments, deployment("a", 0))))
				b.pending(done)
				tt.fault(b)
				b.pending(done)
				b.put(deployments, deployment("a", 1))
				require.NoError(t, <-done)
			})
		})
	}
}

func TestAServerThatKeepsNoEventsIsNotFlooded(t *testing.T) {
	inBubble(t, func(b *bed) {
		b.failing(func(verb, _ string) error {
			if verb == "watch" {
				return answer(http.StatusGone)
			}
			return nil
		})
		live := object(deployments, b.put(deployments, deployment("a", 0)))
		err := <-b.waitFor(b.t.Context(), GoalReady, Options{Timeout: time.Minute}, live)
		require.ErrorIs(t, err, ErrTimeout)
		assert.Less(t, b.total(), 40)
	})
}

func TestAnIdentityThatMayNotWatchLooksInstead(t *testing.T) {
	for _, verbs := range []string{"watch", "list watch"} {
		t.Run("no right to "+verbs, func(t *testing.T) {
			inBubble(t, func(b *bed) {
				b.failing(func(verb, _ string) error {
					if strings.Contains(verbs, verb) {
						return answer(http.StatusForbidden)
					}
					return nil
				})
				for range 2 {
					done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, b.put(deployments, deployment("a", 0))))
					b.pending(done)
					time.Sleep(10 * time.Minute)
					b.pending(done)
					b.put(deployments, deployment("a", 1))
					require.NoError(t, <-done)
				}
				assert.Less(t, b.requests("get deployments"), 300, "pauses grow")
				assert.Len(t, b.log, 1, "said once")
				assert.Contains(t, b.log[0], "deployments")
			})
		})
	}
}

func TestAnObjectThatMayNotBeReadEndsTheWait(t *testing.T) {
	inBubble(t, func(b *bed) {
		b.failing(func(string, string) error { return answer(http.StatusForbidden) })
		done := b.waitFor(b.t.Context(), GoalReady, Options{}, Object{
			Kind: "Deployment", Resource: deployments, Namespace: "ns", Name: "a",
		})
		began := time.Now()
		assert.ErrorContains(t, <-done, "Deployment a: Forbidden")
		assert.GreaterOrEqual(t, time.Since(began), startUpTime)
	})
}

// A kube-apiserver refuses requests for a moment after its start, until it has read the roles.
func TestAnObjectThatMayNotBeReadForAMomentEndsNothing(t *testing.T) {
	inBubble(t, func(b *bed) {
		refusing := func(string, string) error { return answer(http.StatusForbidden) }
		b.failing(refusing)
		done := b.waitFor(b.t.Context(), GoalReady, Options{}, object(deployments, b.put(deployments, deployment("a", 0))))
		for range 5 { // longer than the start of one takes, but not in one piece
			time.Sleep(startUpTime / 2)
			b.pending(done)
			b.failing(func(string, string) error { return nil })
			time.Sleep(2 * time.Minute)
			b.failing(refusing)
		}
		b.failing(func(string, string) error { return nil })
		b.put(deployments, deployment("a", 1))
		require.NoError(t, <-done)
	})
}

func TestATimeoutNamesWhatIsMissing(t *testing.T) {
	inBubble(t, func(b *bed) {
		var objects []Object
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			objects = append(objects, object(deployments, b.put(deployments, deployment(name, 0))))
		}
		b.put(pods, pod("b-1", "b", "", "ImagePullBackOff"))
		done := b.waitFor(b.t.Context(), GoalReady, Options{Timeout: time.Minute}, objects...)
		b.pending(done)
		b.put(deployments, deployment("d", 1))
		err := <-done
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, "timed out after 1m0s waiting for objects to be ready: Deployment a: 0 of 1 available; "+
			"Deployment b is not ready: Pod b-1: container main: ImagePullBackOff; Deployment c: 0 of 1 available and 1 more", err.Error())
	})
}

func TestAContextThatEndsEndsTheWaitWithItsCause(t *testing.T) {
	inBubble(t, func(b *bed) {
		superseded := errors.New("superseded")
		ctx, cancel := context.WithCancelCause(b.t.Context())
		done := b.waitFor(ctx, GoalReady, Options{}, object(deployments, b.put(deployments, deployment("a", 0))))
		b.pending(done)
		cancel(superseded)
		require.ErrorIs(t, <-done, superseded)
	})
}

func TestObjectsAreGone(t *testing.T) {
	of := func(name string) Object {
		return Object{Kind: "ConfigMap", Resource: configMaps, Namespace: "ns", Name: name}
	}
	t.Run("at once", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			idle := Options{Idle: func() { assert.Fail(b.t, "there was nothing to wait for") }}
			require.NoError(t, <-b.waitFor(b.t.Context(), goalGone, idle, of("a"), of("b")))
			assert.Equal(t, 2, b.total())
		})
	})
	t.Run("when they are deleted", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			b.put(configMaps, configMap("a"))
			done := b.waitFor(b.t.Context(), goalGone, Options{}, of("a"))
			b.pending(done)
			b.remove(configMaps, "ns", "a")
			require.NoError(t, <-done)
		})
	})
	t.Run("when others have taken their names", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			b.put(configMaps, configMap("a"))
			done := b.waitFor(b.t.Context(), goalGone, Options{}, of("a"))
			b.pending(done)
			b.remove(configMaps, "ns", "a")
			b.put(configMaps, configMap("a"))
			require.NoError(t, <-done)
		})
	})
	t.Run("when the watch missed it", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			b.put(configMaps, configMap("a"))
			done := b.waitFor(b.t.Context(), goalGone, Options{}, of("a"))
			b.pending(done)
			b.breakWatches()
			b.remove(configMaps, "ns", "a")
			b.compact()
			require.NoError(t, <-done)
		})
	})
	t.Run("when the watch missed that others have taken their names", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			b.put(configMaps, configMap("a"))
			done := b.waitFor(b.t.Context(), goalGone, Options{}, of("a"))
			b.pending(done)
			b.breakWatches()
			b.remove(configMaps, "ns", "a")
			b.put(configMaps, configMap("a"))
			b.compact()
			require.NoError(t, <-done)
		})
	})
	t.Run("without the right to watch", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			b.failing(func(verb, _ string) error {
				if verb != "get" {
					return answer(http.StatusForbidden)
				}
				return nil
			})
			b.put(configMaps, configMap("a"))
			done := b.waitFor(b.t.Context(), goalGone, Options{}, of("a"))
			b.pending(done)
			b.remove(configMaps, "ns", "a")
			require.NoError(t, <-done)
		})
	})
	t.Run("a timeout names what holds them", func(t *testing.T) {
		inBubble(t, func(b *bed) {
			b.put(configMaps, configMap("a", "example.com/hold"))
			err := <-b.waitFor(b.t.Context(), goalGone, Options{Timeout: time.Minute}, of("a"))
			require.ErrorIs(t, err, ErrTimeout)
			assert.Equal(t, "timed out after 1m0s waiting for objects to be gone: ConfigMap a (finalizers example.com/hold)", err.Error())
		})
	})
}

func TestProgressIsToldOnceASecondWhenItChanges(t *testing.T) {
	inBubble(t, func(b *bed) {
		var told, calls []string
		start := time.Now()
		options := Options{
			Reports: b.hub.Reports(func(text string) { told = append(told, fmt.Sprintf("%s %s", time.Since(start), text)) }),
			Idle:    func() { calls = append(calls, "idle") },
			Busy:    func() { calls = append(calls, "busy") },
		}
		quick := b.waitFor(b.t.Context(), GoalReady, options, object(deployments, b.put(deployments, deployment("q", 0))))
		b.pending(quick)
		b.put(deployments, deployment("q", 1))
		require.NoError(t, <-quick)
		assert.Empty(t, told, "a short wait tells nothing")

		var objects []Object
		for _, name := range []string{"a", "b", "c"} {
			objects = append(objects, object(deployments, b.put(deployments, deployment(name, 0))))
		}
		done := b.waitFor(b.t.Context(), GoalReady, options, objects...)
		b.pending(done)
		time.Sleep(1500 * time.Millisecond)
		b.put(deployments, deployment("b", 1))
		b.pending(done)
		b.put(deployments, deployment("a", 1))
		b.pending(done)
		time.Sleep(10 * time.Second)
		b.put(deployments, deployment("c", 1))
		require.NoError(t, <-done)
		assert.Equal(t, []string{
			"1s waiting for 3 objects: Deployment a: 0 of 1 available; Deployment b: 0 of 1 available and 1 more",
			"2s waiting for Deployment c: 0 of 1 available",
		}, told)
		assert.Equal(t, []string{"idle", "busy", "idle", "busy"}, calls)
	})
}
