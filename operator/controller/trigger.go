package controller

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// trigger is a source of a controller that adds requests straight to its queue, which merges equal ones. It never blocks
// and loses nothing, so that it can be called from anywhere.
type trigger struct {
	mu    sync.Mutex // guards queue and early
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early []reconcile.Request // came before the controller started
}

// Start implements source.Source.
func (t *trigger) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = queue
	for _, request := range t.early {
		queue.Add(request)
	}
	t.early = nil
	return nil
}

// enqueue asks for a reconcile.
func (t *trigger) enqueue(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	request := reconcile.Request{NamespacedName: key}
	if t.queue == nil {
		t.early = append(t.early, request)
		return
	}
	t.queue.Add(request)
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
