package helm

import (
	"fmt"
	"slices"

	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/meta"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// Helm deletes hooks by their policies, and fails when one is in the way of its next run: one that failed and is kept by its policy,
// or whose deletion nobody lived to see. A person would delete it and try again. So does an operation that is another try: it deletes
// hooks of its release that an earlier one left, as the policy before-hook-creation would have done.

// sign writes on hooks to which release they belong, as Helm does on all other objects.
func (op *operation) sign(hooks kube.ResourceList) {
	for _, info := range hooks {
		accessor, err := meta.Accessor(info.Object)
		if err != nil {
			continue
		}
		accessor.SetAnnotations(merged(accessor.GetAnnotations(), map[string]string{
			releaseNameAnnotation: op.target.Name, releaseNSAnnotation: op.target.Namespace,
		}))
	}
}

// isRetry notes whether an operation follows one that came to no good end, by the revisions that there are, newest first.
func (op *operation) isRetry(history []Revision) {
	op.retries = len(history) == 0 || history[0].Status != StatusDeployed
}

// replaceLeft makes hooks anew that are in the way, if they are all left by earlier operations on the release. It returns why not
// otherwise.
func (k *kubeClient) replaceLeft(hooks kube.ResourceList, why error) (*kube.Result, error) {
	left := make(kube.ResourceList, 0, len(hooks))
	for _, info := range hooks {
		live := *info
		if err := live.Get(); err != nil {
			return nil, fmt.Errorf("%w, and cannot be read: %w", why, err)
		}
		accessor, err := meta.Accessor(live.Object)
		if err != nil || !k.op.left(accessor.GetAnnotations(), info.Mapping.GroupVersionKind.Kind) {
			return nil, why
		}
		left = append(left, &live)
	}
	k.op.log.Info("Deleting a hook that an earlier operation left", "hook", hookName(hooks))
	if _, errs := k.Delete(left); len(errs) > 0 {
		return nil, fmt.Errorf("%w, and cannot be deleted: %w", why, utilerrors.NewAggregate(errs))
	}
	if err := k.WaitForDelete(left, defaultTimeout); err != nil {
		return nil, err
	}
	return k.inner.Create(hooks)
}

// left reports whether an object with annotations is a hook of the release, of a kind that may be deleted.
func (op *operation) left(annotations map[string]string, kind string) bool {
	_, isHook := annotations[release.HookAnnotation]
	return isHook && annotations[releaseNameAnnotation] == op.target.Name && annotations[releaseNSAnnotation] == op.target.Namespace &&
		annotations[kube.ResourcePolicyAnno] != kube.KeepPolicy &&
		!slices.Contains([]string{kindCRD, "Namespace", "PersistentVolume", "PersistentVolumeClaim"}, kind)
}
