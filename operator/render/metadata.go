package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// What Helm writes on every object to know its own. Helm would write over any other value.
const (
	helmLabel            = "app.kubernetes.io/managed-by"
	helmAnnotationPrefix = "meta.helm.sh/"
)

// metadataStep adds labels and annotations to every object. They win over what the chart has under the same key, as in
// Flux. Templates of Pods and selectors stay: a selector cannot be changed later.
type metadataStep struct {
	labels, annotations map[string]string
}

// commonMetadata returns the step for a spec; nil when there is nothing to add.
func commonMetadata(spec *v1alpha1.CommonMetadata) (step, error) {
	if spec == nil || len(spec.Labels)+len(spec.Annotations) == 0 {
		return nil, nil
	}
	for _, field := range []struct {
		name   string
		values map[string]string
		label  bool
		// spelled returns a key as it is checked: the API server takes upper case in the whole key of an annotation.
		spelled func(string) string
	}{{"labels", spec.Labels, true, strings.Clone}, {"annotations", spec.Annotations, false, strings.ToLower}} {
		for _, key := range slices.Sorted(maps.Keys(field.values)) {
			where := fmt.Sprintf("spec.commonMetadata.%s: %q", field.name, key)
			if key == helmLabel && field.label || strings.HasPrefix(key, helmAnnotationPrefix) {
				return nil, fmt.Errorf("%s belongs to Helm, which knows its objects by it: remove it from the spec", where)
			}
			if problems := validation.IsQualifiedName(field.spelled(key)); len(problems) > 0 {
				return nil, fmt.Errorf("%s cannot be a key: %s", where, strings.Join(problems, "; "))
			}
			if !field.label {
				continue
			}
			if problems := validation.IsValidLabelValue(field.values[key]); len(problems) > 0 {
				return nil, fmt.Errorf("%s has a value that a label cannot have: %s", where, strings.Join(problems, "; "))
			}
		}
	}
	return &metadataStep{labels: spec.Labels, annotations: spec.Annotations}, nil
}

func (s *metadataStep) apply(m *manifests) error {
	return m.all(func(o *object) error {
		metadata, ok := o.content["metadata"].(map[string]any)
		if !ok {
			return fmt.Errorf("spec.commonMetadata cannot be added to %s: it has no metadata", o)
		}
		for _, field := range []struct {
			name   string
			values map[string]string
		}{{"labels", s.labels}, {"annotations", s.annotations}} {
			if err := addAll(metadata, field.name, field.values, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// addAll sets keys of one map of an object's metadata.
func addAll(metadata map[string]any, field string, values map[string]string, o *object) error {
	if len(values) == 0 {
		return nil
	}
	present, ok := metadata[field].(map[string]any)
	if !ok && metadata[field] != nil {
		return fmt.Errorf("spec.commonMetadata cannot be added to %s: its %s are no object", o, field)
	}
	if present == nil {
		present = map[string]any{}
		metadata[field] = present
	}
	for key, value := range values {
		if present[key] != value {
			present[key], o.document.changed = value, true
		}
	}
	return nil
}
