package controller

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// objects implements release.Objects by a client that reads from the manager's cache.
type objects struct {
	client client.Client
	fresh  client.Reader // reads from the API server
}

func (o objects) PatchStatus(ctx context.Context, saved, draft *v1alpha1.HelmRelease) error {
	return conflictOf(o.client.Status().Patch(ctx, draft, lockedPatch(saved)))
}

func (o objects) AddFinalizer(ctx context.Context, release *v1alpha1.HelmRelease) error {
	saved := release.DeepCopy()
	controllerutil.AddFinalizer(release, v1alpha1.ReleaseFinalizer)
	return conflictOf(o.client.Patch(ctx, release, lockedPatch(saved)))
}

func (o objects) RemoveFinalizer(ctx context.Context, release *v1alpha1.HelmRelease) error {
	saved := release.DeepCopy()
	controllerutil.RemoveFinalizer(release, v1alpha1.ReleaseFinalizer)
	return conflictOf(o.client.Patch(ctx, release, lockedPatch(saved)))
}

func (o objects) Fresh(ctx context.Context, key types.NamespacedName) (*v1alpha1.HelmRelease, bool, error) {
	release := &v1alpha1.HelmRelease{}
	found, err := o.read(ctx, key, release)
	return release, found, err
}

func (o objects) Repository(ctx context.Context, key types.NamespacedName) (*v1alpha1.HelmRepository, bool, error) {
	repository := &v1alpha1.HelmRepository{}
	err := o.client.Get(ctx, key, repository)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	return repository, err == nil, err
}

func (o objects) Repositories(ctx context.Context, namespace string) ([]v1alpha1.HelmRepository, error) {
	list := &v1alpha1.HelmRepositoryList{}
	err := o.client.List(ctx, list, client.InNamespace(namespace))
	return list.Items, err
}

func (o objects) Release(ctx context.Context, key types.NamespacedName) (*v1alpha1.HelmRelease, bool, error) {
	release := &v1alpha1.HelmRelease{}
	err := o.client.Get(ctx, key, release)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	return release, err == nil, err
}

func (o objects) Dependents(ctx context.Context, key types.NamespacedName) ([]v1alpha1.HelmRelease, error) {
	list := &v1alpha1.HelmReleaseList{}
	err := o.client.List(ctx, list, client.MatchingFields{indexDependency: key.String()})
	return list.Items, err
}

func (o objects) HasServiceAccount(ctx context.Context, key types.NamespacedName) (bool, error) {
	return o.read(ctx, key, &corev1.ServiceAccount{})
}

// ValuesObject reads from the API server: only metadata of such objects is cached.
func (o objects) ValuesObject(ctx context.Context, kind string, key types.NamespacedName) (map[string][]byte, bool, error) {
	if kind == kindSecret {
		secret := &corev1.Secret{}
		found, err := o.read(ctx, key, secret)
		return secret.Data, found, err
	}
	object := &corev1.ConfigMap{}
	found, err := o.read(ctx, key, object)
	data := make(map[string][]byte, len(object.Data)+len(object.BinaryData))
	maps.Copy(data, object.BinaryData)
	for name, text := range object.Data {
		data[name] = []byte(text)
	}
	return data, found, err
}

func (o objects) read(ctx context.Context, key types.NamespacedName, object client.Object) (found bool, err error) {
	err = o.fresh.Get(ctx, key, object)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (o objects) OtherOwner(
	ctx context.Context, self types.NamespacedName, target release.Target, hash string,
) (types.NamespacedName, bool, error) {
	lookups := []client.MatchingFields{{indexDeployed: target.String()}}
	if hash != "" {
		lookups = append(lookups, client.MatchingFields{indexOwner: hash})
	}
	for _, fields := range lookups {
		list := &v1alpha1.HelmReleaseList{}
		if err := o.client.List(ctx, list, fields); err != nil {
			return types.NamespacedName{}, false, err
		}
		for i := range list.Items {
			other := &list.Items[i]
			// One that left the release behind keeps it by its mark only.
			if key := client.ObjectKeyFromObject(other); key != self && hasTarget(other, target) {
				return key, true, nil
			}
		}
	}
	return types.NamespacedName{}, false, nil
}

// hasTarget reports whether a HelmRelease deploys a Helm release, or is to.
func hasTarget(r *v1alpha1.HelmRelease, target release.Target) bool {
	deployed := r.Status.HelmRelease
	return release.TargetOf(r) == target ||
		deployed != nil && release.Target{Namespace: deployed.Namespace, Name: deployed.Name} == target
}

// lockedPatch patches what differs, and only if storage still holds saved.
func lockedPatch(saved client.Object) client.Patch {
	return client.MergeFromWithOptions(saved, client.MergeFromWithOptimisticLock{})
}

// conflictOf marks the error of a write to an object that has changed or is gone.
func conflictOf(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: %w", release.ErrConflict, err)
	}
	return err
}
