package render

import (
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// target selects objects as Kustomize does: group, version, kind, name and namespace are regular expressions that must
// match as a whole, and what is not set matches everything.
type target struct {
	group, version, kind, name, namespace *regexp.Regexp
	labels, annotations                   labels.Selector
}

// newTarget compiles a selector.
func newTarget(where string, selector *v1alpha1.ObjectSelector) (*target, error) {
	t := &target{}
	for _, field := range []struct {
		name string
		text string
		into **regexp.Regexp
	}{
		{"group", selector.Group, &t.group},
		{"version", selector.Version, &t.version},
		{"kind", selector.Kind, &t.kind},
		{"name", selector.Name, &t.name},
		{"namespace", selector.Namespace, &t.namespace},
	} {
		if field.text == "" {
			continue
		}
		expression, err := regexp.Compile("^(?:" + field.text + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s.%s is no regular expression: escape what stands for itself with a backslash", where, field.name)
		}
		*field.into = expression
	}
	for _, field := range []struct {
		name string
		text string
		into *labels.Selector
	}{
		{"labelSelector", selector.LabelSelector, &t.labels},
		{"annotationSelector", selector.AnnotationSelector, &t.annotations},
	} {
		parsed, err := labels.Parse(field.text)
		if err != nil {
			return nil, fmt.Errorf("%s.%s is no selector: write it as app=web,tier!=test", where, field.name)
		}
		*field.into = parsed
	}
	return t, nil
}

// matches reports whether an object is selected.
func (t *target) matches(m *manifests, o *object) bool {
	u := unstructured.Unstructured{Object: o.content}
	gvk := u.GroupVersionKind()
	return matches(t.group, gvk.Group) && matches(t.version, gvk.Version) && matches(t.kind, gvk.Kind) &&
		matches(t.name, u.GetName()) && (t.namespace == nil || t.namespace.MatchString(m.namespaceOf(o))) &&
		t.labels.Matches(labels.Set(u.GetLabels())) && t.annotations.Matches(labels.Set(u.GetAnnotations()))
}

func matches(expression *regexp.Regexp, text string) bool {
	return expression == nil || expression.MatchString(text)
}
