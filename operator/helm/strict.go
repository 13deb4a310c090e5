package helm

import (
	"context"
	"fmt"

	"helm.sh/helm/v3/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/utils/ptr"
)

// checkFields asks the API server what it would say to objects, unknown and repeated fields included, without writing them. What
// lies in a namespace that is yet to be made cannot be asked for.
func (op *operation) checkFields(resources kube.ResourceList) error {
	for _, info := range resources {
		ctx, cancel := context.WithTimeout(detached(op.ctx), requestTimeout)
		err := checkFields(ctx, info)
		cancel()
		if err == nil || apierrors.IsNotFound(err) {
			continue
		}
		return op.failed(StageValidate, fmt.Errorf("fieldValidation Strict: %s: %w", objectName(info), err))
	}
	return nil
}

func checkFields(ctx context.Context, info *resource.Info) error {
	data, err := runtime.Encode(unstructured.UnstructuredJSONScheme, info.Object)
	if err != nil {
		return fmt.Errorf("encode it: %w", err)
	}
	return info.Client.Patch(types.ApplyPatchType).
		NamespaceIfScoped(info.Namespace, info.Namespaced()).
		Resource(info.Mapping.Resource.Resource).Name(info.Name).
		VersionedParams(&metav1.PatchOptions{
			DryRun: []string{metav1.DryRunAll}, Force: ptr.To(true), FieldManager: fieldManager(),
			FieldValidation: metav1.FieldValidationStrict,
		}, metav1.ParameterCodec).
		Body(data).Do(ctx).Error()
}
