package controller

import (
	"context"

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
	// Whatever was in a hurry to be looked at now is in none the next time.
	return ctrl.Result{RequeueAfter: after, Priority: ptr.To(0)}, err
}
