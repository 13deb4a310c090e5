package release

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/values"
)

// composedValues are the values of the spec.
type composedValues struct {
	values map[string]any
	digest string
}

// composeValues reads the values of the spec and of the objects that it names, and says what is wrong with them. Errors are those
// of the API server.
func (p *pass) composeValues(ctx context.Context) (*Problem, error) {
	source := valuesSource{objects: p.cfg.Objects, namespace: p.key.Namespace}
	composed, err := values.Compose(ctx, p.draft.Spec.Values, p.draft.Spec.ValuesFrom, source)
	if wrong, ok := errors.AsType[*values.Error](err); ok {
		// What the objects hold may change; what the spec holds stays wrong until it is edited.
		return &Problem{Reason: v1alpha1.ReasonValuesError, Stalled: len(p.draft.Spec.ValuesFrom) == 0, Message: wrong.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	p.values = composedValues{values: composed, digest: values.Digest(composed)}
	return nil, nil
}

// valuesSource reads the objects that valuesFrom names: those of the namespace of the HelmRelease, and no others.
type valuesSource struct {
	objects   Objects
	namespace string
}

// Get implements values.Source.
func (s valuesSource) Get(ctx context.Context, kind, name string) (data map[string][]byte, found bool, err error) {
	return s.objects.ValuesObject(ctx, kind, types.NamespacedName{Namespace: s.namespace, Name: name})
}
