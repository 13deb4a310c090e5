package helm

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/ketches/helm-operator/operator/internal/readiness"
)

// kubeClient is the Kubernetes client that Helm sees. It lets writes through until the operation is fenced, notes what
// failed and what was created, and replaces what is slow or mute in Helm's own client: building and waiting.
//
// It does not implement Helm's interface for hook logs: these may hold anything, and there is no one to read them here.
type kubeClient struct {
	op     *operation
	getter *getter
	inner  *kube.Client
	// reads saves inner repeated requests during an update.
	reads *once
}

var (
	_ kube.Interface                    = (*kubeClient)(nil)
	_ kube.InterfaceExt                 = (*kubeClient)(nil)
	_ kube.InterfaceThreeWayMerge       = (*kubeClient)(nil)
	_ kube.InterfaceDeletionPropagation = (*kubeClient)(nil)
)

// IsReachable makes no request: the next one, which is needed anyway, tells.
func (k *kubeClient) IsReachable() error { return nil }

// Build reads manifests. It does not validate them against the cluster's OpenAPI document, which would be downloaded and
// parsed each time; the server checks them when they are applied. validate is set for the manifests of a new revision.
func (k *kubeClient) Build(reader io.Reader, validate bool) (kube.ResourceList, error) {
	infos, err := resource.NewBuilder(k.getter).
		ContinueOnError().
		NamespaceParam(k.op.target.Namespace).
		DefaultNamespace().
		Flatten().
		Unstructured().
		Stream(reader, "").
		Do().Infos()
	// What an old revision made of a kind that the cluster no longer has is gone with the kind. Helm would refuse to
	// upgrade or uninstall such a release for ever.
	if !validate && (k.op.kind == kindUpgrade || k.op.kind == kindUninstall) {
		err = utilerrors.FilterOut(err, isNoMatch)
	}
	if err != nil {
		return nil, k.op.failed(StageRender, fmt.Errorf("read the manifests: %w", err))
	}
	k.op.learnObjects(infos, validate)
	if validate && k.op.strict {
		if err := k.op.checkFields(infos); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func isNoMatch(err error) bool {
	var kindErr *meta.NoKindMatchError
	var resourceErr *meta.NoResourceMatchError
	return errors.As(err, &kindErr) || errors.As(err, &resourceErr)
}

// learnObjects notes that manifests could be read, their names, which may be shown, and their secrets, which may not.
func (op *operation) learnObjects(infos kube.ResourceList, validate bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.built = op.built || validate
	for _, info := range infos {
		op.defines = op.defines || definesKinds(info.Mapping.GroupVersionKind)
		op.mask.allow(info.Name)
		op.mask.learnSecret(info.Object)
	}
}

// definesKinds reports whether objects of a kind change which kinds there are.
func definesKinds(kind schema.GroupVersionKind) bool {
	return kind.Kind == kindCRD || kind.Group == "apiregistration.k8s.io"
}

// Create creates objects.
func (k *kubeClient) Create(resources kube.ResourceList) (*kube.Result, error) {
	if err := k.op.refused(); err != nil {
		return &kube.Result{}, err
	}
	hook := hookName(resources)
	if hook != "" {
		k.op.sign(resources)
	}
	result, err := k.inner.Create(resources)
	if apierrors.IsAlreadyExists(err) && hook != "" && k.op.retries {
		result, err = k.replaceLeft(resources, err)
	}
	if err == nil {
		return result, nil
	}
	// Helm goes on when a definition or the namespace exists.
	if apierrors.IsAlreadyExists(err) && onlyKinds(resources, "CustomResourceDefinition", "Namespace") {
		return &kube.Result{}, err
	}
	if hook != "" {
		return &kube.Result{}, k.op.failed(StageHooks, fmt.Errorf("create hook %s: %w", hook, err))
	}
	return &kube.Result{}, k.op.failed(StageApply, fmt.Errorf("create objects: %w", err))
}

// Update makes objects as target says, and deletes those of original that target lacks. Its result is never nil.
func (k *kubeClient) Update(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	return k.update(original, target, force, k.inner.Update)
}

// UpdateThreeWayMerge is Update with a three-way merge for custom resources, too.
func (k *kubeClient) UpdateThreeWayMerge(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	return k.update(original, target, force, k.inner.UpdateThreeWayMerge)
}

func (k *kubeClient) update(
	original, target kube.ResourceList, force bool,
	do func(original, target kube.ResourceList, force bool) (*kube.Result, error),
) (*kube.Result, error) {
	if err := k.op.refused(); err != nil {
		return &kube.Result{}, err
	}
	if k.op.kind == kindRollback {
		// What the failed revision lacks and had not deleted yet is as the revision made it that is gone back to. Helm would
		// compare with the live object and remove what the API server has added, which a Job, for one, refuses.
		original = append(slices.Clone(original), target.Difference(original)...)
	}
	k.reads.turn(true)
	result, err := do(original, target, force)
	k.reads.turn(false)
	if result == nil {
		result = &kube.Result{}
	}
	k.op.mu.Lock()
	k.op.created = append(k.op.created, result.Created...)
	k.op.mu.Unlock()
	if err != nil {
		return result, k.op.failed(StageApply, fmt.Errorf("update objects: %w", err))
	}
	return result, nil
}

// Delete deletes objects.
func (k *kubeClient) Delete(resources kube.ResourceList) (*kube.Result, []error) {
	if err := k.op.refused(); err != nil {
		return &kube.Result{}, []error{err}
	}
	result, errs := k.inner.Delete(resources)
	if len(errs) > 0 {
		stage := StageApply
		if hookName(resources) != "" {
			stage = StageHooks
		}
		_ = k.op.failed(stage, fmt.Errorf("delete objects: %w", utilerrors.NewAggregate(errs)))
		return &kube.Result{}, errs
	}
	return result, nil
}

// DeleteWithPropagationPolicy deletes the objects of a release that is uninstalled.
func (k *kubeClient) DeleteWithPropagationPolicy(
	resources kube.ResourceList, policy metav1.DeletionPropagation,
) (*kube.Result, []error) {
	if err := k.op.refused(); err != nil {
		return &kube.Result{}, []error{err}
	}
	result, errs := k.inner.DeleteWithPropagationPolicy(resources, policy)
	if len(errs) > 0 {
		_ = k.op.failed(StageApply, fmt.Errorf("delete objects: %w", utilerrors.NewAggregate(errs)))
		return &kube.Result{}, errs
	}
	return result, nil
}

// Wait waits until all objects are ready, Jobs aside.
func (k *kubeClient) Wait(resources kube.ResourceList, timeout time.Duration) error {
	return k.waitReady(resources, timeout, false)
}

// WaitWithJobs waits until all objects are ready and all Jobs have completed.
func (k *kubeClient) WaitWithJobs(resources kube.ResourceList, timeout time.Duration) error {
	return k.waitReady(resources, timeout, true)
}

func (k *kubeClient) waitReady(resources kube.ResourceList, timeout time.Duration, jobs bool) error {
	if err := k.op.refused(); err != nil {
		return err
	}
	goal := readiness.GoalReady
	if jobs {
		goal = readiness.GoalReadyWithJobs
	}
	err := k.op.who.hub.Wait(k.op.ctx, waitedFor(resources), goal, k.op.waitOptions(timeout))
	switch {
	case err == nil:
		return nil
	case k.op.ctx.Err() != nil:
		return k.op.interrupt()
	default:
		return k.op.failed(StageWait, err)
	}
}

// WatchUntilReady waits until hooks have run: until Jobs and Pods have completed, other kinds not at all. The action's
// context does not end that: a hook that is half-way through a migration must not be left behind unnoticed.
func (k *kubeClient) WatchUntilReady(resources kube.ResourceList, timeout time.Duration) error {
	if err := k.op.refused(); err != nil {
		return err
	}
	options := k.op.waitOptions(timeout)
	options.What = "hook"
	err := k.op.who.hub.Wait(detached(k.op.ctx), waitedFor(resources), readiness.GoalCompleted, options)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTimeout):
		return k.op.failed(StageHooks, err) // names the hook
	default:
		return k.op.failed(StageHooks, fmt.Errorf("hook %s: %w", hookName(resources), err))
	}
}

// WaitForDelete waits until objects are gone. While a release is uninstalled, the action's context ends the wait, and
// objects that stay fence the operation: Helm would forget the release although they are there.
func (k *kubeClient) WaitForDelete(resources kube.ResourceList, timeout time.Duration) error {
	if err := k.op.refused(); err != nil {
		return err
	}
	options := k.op.waitOptions(timeout)
	if hookName(resources) != "" {
		options.What = "hook"
		if err := k.op.who.hub.WaitGone(detached(k.op.ctx), waitedFor(resources), options); err != nil {
			return k.op.failed(StageHooks, err)
		}
		return nil
	}
	err := k.op.who.hub.WaitGone(k.op.ctx, waitedFor(resources), options)
	switch {
	case err == nil:
		return nil
	case k.op.ctx.Err() != nil:
		return k.op.interrupt()
	default:
		return k.op.stop(StageWait, err)
	}
}

// WaitAndGetCompletedPodPhase belongs to helm test.
func (k *kubeClient) WaitAndGetCompletedPodPhase(name string, timeout time.Duration) (corev1.PodPhase, error) {
	return k.inner.WaitAndGetCompletedPodPhase(name, timeout)
}

// hookName names the hooks in a list of objects; it is empty when there is none. Helm passes hooks one by one.
func hookName(resources kube.ResourceList) string {
	for _, info := range resources {
		accessor, err := meta.Accessor(info.Object)
		if err != nil {
			continue
		}
		if _, ok := accessor.GetAnnotations()[release.HookAnnotation]; ok {
			return objectName(info)
		}
	}
	return ""
}

// objectName returns the kind and the name of an object.
func objectName(info *resource.Info) string {
	return info.Object.GetObjectKind().GroupVersionKind().Kind + " " + info.Name
}

// onlyKinds reports whether all objects are of one of the kinds.
func onlyKinds(resources kube.ResourceList, kinds ...string) bool {
	for _, info := range resources {
		known := false
		for _, name := range kinds {
			known = known || info.Object.GetObjectKind().GroupVersionKind().Kind == name
		}
		if !known {
			return false
		}
	}
	return len(resources) > 0
}
