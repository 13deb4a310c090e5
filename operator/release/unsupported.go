package release

import (
	"strings"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// feature is a part of the API that the engine does not act on.
type feature struct {
	field string
	used  func(*v1alpha1.HelmReleaseSpec) bool
}

// unsupportedFeatures lists what the API describes and the engine does not do. A release that asks for one is refused,
// because to ignore it would deploy something else than what was asked for. What becomes supported loses its row.
func unsupportedFeatures() []feature {
	return []feature{
		{"crds.install", func(s *v1alpha1.HelmReleaseSpec) bool {
			return s.CRDs != nil && s.CRDs.Install != "" && s.CRDs.Install != v1alpha1.CRDsCreate
		}},
		{"crds.upgrade", func(s *v1alpha1.HelmReleaseSpec) bool {
			return s.CRDs != nil && s.CRDs.Upgrade != "" && s.CRDs.Upgrade != v1alpha1.CRDsSkip
		}},
		{"install.fieldValidation", func(s *v1alpha1.HelmReleaseSpec) bool {
			return s.Install != nil && s.Install.FieldValidation == v1alpha1.FieldValidationStrict
		}},
		{"upgrade.fieldValidation", func(s *v1alpha1.HelmReleaseSpec) bool {
			return s.Upgrade != nil && s.Upgrade.FieldValidation == v1alpha1.FieldValidationStrict
		}},
	}
}

// unsupported returns the problem of a spec that asks for what the engine does not do; nil means none. It names all of
// it at once.
func unsupported(spec *v1alpha1.HelmReleaseSpec) *Problem {
	var fields []string
	for _, feature := range unsupportedFeatures() {
		if feature.used(spec) {
			fields = append(fields, "spec."+feature.field)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return &Problem{
		Reason: v1alpha1.ReasonConfigurationError, Stalled: true,
		Message: "not supported by this version of the operator, so nothing is deployed: " + strings.Join(fields, ", ") +
			"; remove it from the spec",
	}
}
