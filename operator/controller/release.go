package controller

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// releaseReconciler hands HelmReleases to the engine.
type releaseReconciler struct {
	client client.Reader
	engine *release.Engine
}

// hurry is until which pause a look that comes by itself is as urgent as what people ask for: a conflict, say, that is to be over.
const hurry = time.Second

// Reconcile makes one pass over a HelmRelease.
func (r *releaseReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	object := &v1alpha1.HelmRelease{}
	if err := r.client.Get(ctx, request.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) {
			r.engine.Forget(request.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	after, err := r.engine.Reconcile(ctx, object)
	priority := 0
	if err == nil && after > hurry {
		priority = laterPriority // what people or events ask for meanwhile comes first
	}
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(priority)}, err
}
