package drift

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Annotations of objects that are left alone.
const (
	// policyAnnotation with policyKeep lets an object outlive its release: Helm calls it no longer managed.
	policyAnnotation = "helm.sh/resource-policy"
	policyKeep       = "keep"
	// hookAnnotation marks hooks, which come and go.
	hookAnnotation = "helm.sh/hook"
)

// Rule names fields that may differ.
type Rule struct {
	paths       [][]string
	target      v1alpha1.ObjectSelector
	labels      labels.Selector
	annotations labels.Selector
}

// ParseRules reads ignore rules. Errors name the field below driftDetection that is wrong.
func ParseRules(specs []v1alpha1.DriftIgnoreRule) ([]Rule, error) {
	var rules []Rule
	for i, spec := range specs {
		field := fmt.Sprintf("ignore[%d]", i)
		rule := Rule{labels: labels.Everything(), annotations: labels.Everything()}
		for n, pointer := range spec.Paths {
			path, err := parsePointer(pointer)
			if err != nil {
				return nil, fmt.Errorf("%s.paths[%d]: %w", field, n, err)
			}
			rule.paths = append(rule.paths, path)
		}
		if spec.Target != nil {
			rule.target = *spec.Target
			var err error
			if rule.labels, err = labels.Parse(spec.Target.LabelSelector); err != nil {
				return nil, fmt.Errorf("%s.target.labelSelector: %q is not a label selector, such as app=web", field, spec.Target.LabelSelector)
			}
			if rule.annotations, err = labels.Parse(spec.Target.AnnotationSelector); err != nil {
				return nil, fmt.Errorf("%s.target.annotationSelector: %q is not a selector, such as key=value", field,
					spec.Target.AnnotationSelector)
			}
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// parsePointer returns the parts of a JSON pointer; an empty one has none.
func parsePointer(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if !strings.HasPrefix(pointer, "/") {
		return nil, fmt.Errorf("%q is not a JSON pointer: it must be empty or begin with a slash, such as /spec/replicas", pointer)
	}
	parts := strings.Split(pointer[1:], "/")
	for i, part := range parts {
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
	}
	return parts, nil
}

// pointerTo returns the JSON pointer to a child.
func pointerTo(parent, child string) string {
	return parent + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(child)
}

// matches reports whether a rule is about an object of the manifest.
func (r Rule) matches(object *unstructured.Unstructured) bool {
	kind := object.GroupVersionKind()
	for _, pair := range [][2]string{
		{r.target.Group, kind.Group},
		{r.target.Version, kind.Version},
		{r.target.Kind, kind.Kind},
		{r.target.Name, object.GetName()},
		{r.target.Namespace, object.GetNamespace()},
	} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	return r.labels.Matches(labels.Set(object.GetLabels())) && r.annotations.Matches(labels.Set(object.GetAnnotations()))
}

// ignored returns the paths of an object that may differ.
func (c Comparer) ignored(object *unstructured.Unstructured) (paths [][]string) {
	for _, rule := range c.Rules {
		if rule.matches(object) {
			paths = append(paths, rule.paths...)
		}
	}
	return paths
}

// skips reports whether an object of the manifest is not looked at.
func (c Comparer) skips(object *unstructured.Unstructured) bool {
	annotations := object.GetAnnotations()
	_, hook := annotations[hookAnnotation]
	if hook || annotations[policyAnnotation] == policyKeep || switchedOff(object) || object.GetName() == "" {
		return true
	}
	for _, path := range c.ignored(object) {
		if len(path) == 0 {
			return true
		}
	}
	return false
}

// switchedOff reports whether an object says that it is not to be looked at.
func switchedOff(object *unstructured.Unstructured) bool {
	return object.GetAnnotations()[v1alpha1.DriftDetectionAnnotation] == string(v1alpha1.DriftDisabled)
}

// endsByItself reports whether an object may be gone because its time was over: to make a Job again would run it again.
func endsByItself(object *unstructured.Unstructured) bool {
	_, found, err := unstructured.NestedFieldNoCopy(object.Object, "spec", "ttlSecondsAfterFinished")
	return object.GetKind() == "Job" && found && err == nil
}
