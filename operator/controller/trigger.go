package controller

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// trigger is a source of a controller that adds requests straight to its queue, which merges equal ones. It never blocks
// and loses nothing, so that it can be called from anywhere.
type trigger struct {
	mu    sync.Mutex // guards queue and early
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early []request // came before the controller started
}

// Priorities of requests beside 0, which is that of what people change.
const (
	firstPriority = 1
	// laterPriority is also that of looks that come by themselves after a while. Of two requests for one object, the more urgent
	// counts.
	laterPriority = handler.LowPriority
)

// request asks for a reconcile.
type request struct {
	reconcile.Request
	priority int
}

// Start implements source.Source.
func (t *trigger) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = queue
	for _, early := range t.early {
		t.add(early)
	}
	t.early = nil
	return nil
}

// enqueue asks for a reconcile.
func (t *trigger) enqueue(key types.NamespacedName) { t.request(key, 0) }

// enqueueFirst asks for a reconcile before all others.
func (t *trigger) enqueueFirst(key types.NamespacedName) { t.request(key, firstPriority) }

// enqueueLater asks for a reconcile after all others.
func (t *trigger) enqueueLater(key types.NamespacedName) { t.request(key, laterPriority) }

func (t *trigger) request(key types.NamespacedName, priority int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := request{Request: reconcile.Request{NamespacedName: key}, priority: priority}
	if t.queue == nil {
		t.early = append(t.early, asked)
		return
	}
	t.add(asked)
}

func (t *trigger) add(asked request) {
	if queue, ok := t.queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		queue.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(asked.priority)}, asked.Request)
		return
	}
	t.queue.Add(asked.Request)
}

// specOrRequestChanged lets through what people change: the spec, the deletion (which raises the generation, too) and the
// annotations that ask for something. Our own writes to metadata and status need no second look.
func specOrRequestChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		if e.ObjectOld == nil || e.ObjectNew == nil {
			return false
		}
		if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() {
			return true
		}
		for _, annotation := range []string{v1alpha1.ReconcileAnnotation, v1alpha1.RetryAnnotation, v1alpha1.ForceAnnotation} {
			if e.ObjectOld.GetAnnotations()[annotation] != e.ObjectNew.GetAnnotations()[annotation] {
				return true
			}
		}
		return false
	}}
}

// appearedOrGone lets through new and deleted objects.
func appearedOrGone() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}
