package release

import (
	"context"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
	"github.com/ketches/helm-operator/operator/values"
)

// composedValues are the values of the spec.
type composedValues struct {
	values map[string]any
	digest string
}

// equal reports whether a revision was deployed with these values.
func (v composedValues) equal(release *helm.Release) bool {
	return v.digest != "" && v.digest == values.Digest(release.Values)
}

// composeValues reads the values of the spec, and says what is wrong with them.
func (p *pass) composeValues() *Problem {
	// Without references nothing is read, so there is nothing that a context could end.
	composed, err := values.Compose(context.Background(), p.draft.Spec.Values, nil, nil)
	if err != nil {
		return &Problem{Reason: v1alpha1.ReasonValuesError, Stalled: true, Message: err.Error()}
	}
	p.values = composedValues{values: composed, digest: values.Digest(composed)}
	return nil
}
