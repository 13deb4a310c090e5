package controller

import (
	"context"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// Kinds of objects that valuesFrom may name.
const (
	kindSecret    = "Secret"
	kindConfigMap = "ConfigMap"
)

// references finds the HelmReleases that name an object which has changed.
type references struct {
	reader client.Reader
	log    logr.Logger
	// expects reports whether a resource version of a release record is no news to a HelmRelease.
	expects func(key types.NamespacedName, resourceVersion string) bool
}

// watch makes a controller of HelmReleases look at those that name an object which changes: values, other releases, and the records
// of their Helm releases, which somebody else may write. Of ConfigMaps and Secrets, metadata is watched only.
func (r references) watch(b *builder.Builder) *builder.Builder {
	return b.
		WatchesMetadata(&corev1.ConfigMap{}, r.valuesHandler(kindConfigMap), builder.WithPredicates(contentChanged())).
		WatchesMetadata(&corev1.Secret{}, r.valuesHandler(kindSecret), builder.WithPredicates(contentChanged())).
		WatchesMetadata(&corev1.Secret{}, r.recordsHandler(), builder.WithPredicates(contentChanged())).
		Watches(&v1alpha1.HelmRelease{}, handler.EnqueueRequestsFromMapFunc(r.waitingFor), builder.WithPredicates(readinessChanged()))
}

// valuesHandler finds the releases that take values from an object.
func (r references) valuesHandler(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		return r.find(ctx, indexValues, valuesKey(kind, object.GetNamespace(), object.GetName()))
	})
}

// waitingFor finds the releases that depend on a release, the deleted ones that it depends on, which are uninstalled after it, and
// those that want the Helm release which it has.
func (r references) waitingFor(ctx context.Context, object client.Object) []reconcile.Request {
	requests := r.find(ctx, indexDependency, client.ObjectKeyFromObject(object).String())
	if changed, ok := object.(*v1alpha1.HelmRelease); ok {
		for _, key := range release.DependenciesOf(changed) {
			requests = append(requests, reconcile.Request{NamespacedName: key})
		}
		for _, rival := range r.find(ctx, indexTarget, release.TargetOf(changed).String()) {
			if rival.NamespacedName != keyOf(changed) {
				requests = append(requests, rival)
			}
		}
	}
	return requests
}

func (r references) find(ctx context.Context, index, key string) []reconcile.Request {
	list := &v1alpha1.HelmReleaseList{}
	if err := r.reader.List(ctx, list, client.MatchingFields{index: key}); err != nil {
		if ctx.Err() == nil {
			r.log.Error(err, "Find the HelmReleases that name an object", "index", index, "key", key)
		}
		return nil
	}
	requests := make([]reconcile.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: keyOf(&list.Items[i])})
	}
	return requests
}

// contentChanged lets through objects that are new, other than before, or gone.
func contentChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld == nil || e.ObjectNew == nil || e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
	}}
}

// readinessChanged lets through releases that are new or gone, become Ready, are deleted, or got another spec, which may close a
// cycle: what others may wait for.
func readinessChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		if e.ObjectOld == nil || e.ObjectNew == nil {
			return false
		}
		return readyNow(e.ObjectOld) != readyNow(e.ObjectNew) || len(e.ObjectOld.GetFinalizers()) != len(e.ObjectNew.GetFinalizers()) || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

func readyNow(object client.Object) bool {
	r, ok := object.(*v1alpha1.HelmRelease)
	return ok && release.IsReady(r)
}
