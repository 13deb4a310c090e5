package render

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/filters/patchstrategicmerge"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// patchSteps reads one entry of patches: a list is a JSON 6902 patch, everything else is strategic merge patches.
func patchSteps(where string, spec *v1alpha1.KustomizePatch) ([]step, error) {
	var selected *target
	if spec.Target != nil {
		var err error
		if selected, err = newTarget(where+".target", spec.Target); err != nil {
			return nil, err
		}
	}
	documents, err := patchDocuments(where+".patch", spec.Patch)
	if err != nil {
		return nil, err
	}
	if documents[0][0] == '[' {
		if len(documents) > 1 {
			return nil, fmt.Errorf("%s.patch holds %d documents: a JSON 6902 patch must be alone", where, len(documents))
		}
		return jsonSteps(where, documents[0], selected)
	}
	if selected != nil && len(documents) > 1 {
		return nil, fmt.Errorf("%s.patch holds %d documents: with a target it may hold one only", where, len(documents))
	}
	var steps []step
	for _, document := range documents {
		merge, err := newMergeStep(where, document, selected)
		if err != nil {
			return nil, err
		}
		steps = append(steps, merge)
	}
	return steps, nil
}

// patchDocuments returns the documents of a patch as JSON, each an object or a list, and at least one.
func patchDocuments(where, patch string) ([][]byte, error) {
	var documents [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader([]byte(patch))))
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var text []byte
		if err == nil {
			text, err = yaml.YAMLToJSON(part)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not valid YAML", where)
		}
		switch {
		case string(text) == "null":
		case text[0] == '{' || text[0] == '[':
			documents = append(documents, text)
		default:
			return nil, fmt.Errorf("%s is neither an object (a strategic merge patch) nor a list (a JSON 6902 patch)", where)
		}
	}
	if len(documents) == 0 {
		return nil, fmt.Errorf("%s is empty", where)
	}
	return documents, nil
}

// jsonStep is a JSON patch (RFC 6902). A target that selects nothing is no error, as in Kustomize: charts leave parts out.
type jsonStep struct {
	where  string
	patch  jsonpatch.Patch
	target *target
}

// maxCopied bounds how much the copy operations of a patch may add to one object, in bytes: 1.5 MiB, more than which etcd
// takes in no request. A copy of what holds copies grows without bound.
const maxCopied = 3 << 19

func jsonSteps(where string, text []byte, selected *target) ([]step, error) {
	if selected == nil {
		return nil, fmt.Errorf("%s is a JSON 6902 patch and needs a target", where)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, fmt.Errorf("%s.patch is no JSON 6902 patch: each operation needs op (add, remove, replace, move, copy or test), "+
			"a path that begins with /, and from or value where the operation has one", where)
	}
	for i, operation := range patch {
		if problem := wrongOperation(operation); problem != "" {
			return nil, fmt.Errorf("%s.patch: operation %d %s", where, i, problem)
		}
	}
	return []step{&jsonStep{where: where, patch: patch, target: selected}}, nil
}

// wrongOperation says what an operation lacks; nothing when it is complete.
func wrongOperation(operation jsonpatch.Operation) string {
	path, err := operation.Path()
	if err != nil || path != "" && path[0] != '/' {
		return "needs a path that begins with /"
	}
	_, hasValue := operation["value"]
	switch operation.Kind() {
	case "add", "replace", "test":
		if !hasValue {
			return "needs a value"
		}
	case "move", "copy":
		if from, err := operation.From(); err != nil || from == "" || from[0] != '/' {
			return "needs a from that begins with /"
		}
	case "remove":
	default:
		return "must have as op one of add, remove, replace, move, copy, test"
	}
	return ""
}

func (s *jsonStep) apply(m *manifests) error {
	return m.all(func(o *object) error {
		if !s.target.matches(m, o) {
			return nil
		}
		text, err := json.Marshal(o.content)
		if err != nil {
			return fmt.Errorf("%s cannot be applied to %s: it holds what JSON cannot", s.where, o)
		}
		changed, err := patchJSON(text, s.patch)
		if err != nil {
			return fmt.Errorf("%s cannot be applied to %s: %s", s.where, o, s.because(text))
		}
		content, err := fromJSON(changed)
		if err != nil || !isObject(content) {
			return fmt.Errorf("%s takes from %s what every object needs: apiVersion, kind and metadata", s.where, o)
		}
		o.replace(content)
		return nil
	})
}

// patchJSON applies a patch. A panic of the library is an error, for the same reason as in filter.
func patchJSON(text []byte, patch jsonpatch.Patch) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("the JSON patch library panicked")
		}
	}()
	options := jsonpatch.NewApplyOptions()
	options.AccumulatedCopySizeLimit = maxCopied
	out, err = patch.ApplyWithOptions(text, options)
	if err != nil {
		return nil, fmt.Errorf("apply a JSON patch: %w", err)
	}
	return out, nil
}

// because finds the operation that fails, which the library does not tell, and says why without values.
func (s *jsonStep) because(text []byte) string {
	for i := range s.patch {
		_, err := patchJSON(text, s.patch[:i+1])
		if err == nil {
			continue
		}
		reason := "cannot be done"
		var tooMuch *jsonpatch.AccumulatedCopySizeError
		switch {
		case errors.As(err, &tooMuch):
			reason = fmt.Sprintf("copies more than %d bytes", maxCopied)
		case s.patch[i].Kind() == "test":
			reason = "does not hold"
		case errors.Is(err, jsonpatch.ErrMissing):
			reason = "names what the object does not have"
		case errors.Is(err, jsonpatch.ErrInvalidIndex):
			reason = "has an index that the list does not have"
		}
		path, _ := s.patch[i].Path() // was checked
		return fmt.Sprintf("operation %d (%s %s) %s", i, s.patch[i].Kind(), path, reason)
	}
	return "an operation cannot be done"
}

// mergeStep is a strategic merge patch. Without a target it names its object itself, which must be there.
type mergeStep struct {
	where  string
	target *target
	// patch without what names its object.
	patch map[string]any
	// apiVersion, kind, namespace and name of the object that the patch names. No apiVersion means any.
	apiVersion, kind, namespace, name string
}

func newMergeStep(where string, text []byte, selected *target) (*mergeStep, error) {
	patch, err := fromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s.patch is no strategic merge patch: it must be an object", where)
	}
	u := unstructured.Unstructured{Object: patch}
	s := &mergeStep{
		where: where, target: selected, patch: patch,
		apiVersion: u.GetAPIVersion(), kind: u.GetKind(), namespace: u.GetNamespace(), name: u.GetName(),
	}
	if selected == nil && (s.kind == "" || s.name == "") {
		return nil, fmt.Errorf("%s.patch names no object: give it kind and metadata.name, or set a target", where)
	}
	delete(patch, "apiVersion")
	delete(patch, "kind")
	if metadata, ok := patch["metadata"].(map[string]any); ok {
		delete(metadata, "name")
		delete(metadata, "namespace")
	} else {
		// A null would delete the metadata.
		delete(patch, "metadata")
	}
	return s, nil
}

func (s *mergeStep) apply(m *manifests) error {
	found := s.target != nil
	err := m.all(func(o *object) error {
		if !s.matches(m, o) {
			return nil
		}
		found = true
		content, err := s.merge(o.content)
		if err != nil {
			return fmt.Errorf("%s cannot be merged into %s: a field of the patch is of another type than in the object", s.where, o)
		}
		o.replace(content)
		return nil
	})
	if err == nil && !found {
		names := &object{content: map[string]any{"kind": s.kind, "metadata": map[string]any{"namespace": s.namespace, "name": s.name}}}
		return fmt.Errorf("%s is for %s, which the chart does not render: correct its apiVersion, kind, namespace and name, or "+
			"set a target if it may be missing", s.where, names)
	}
	return err
}

// matches reports whether the patch is for an object.
func (s *mergeStep) matches(m *manifests, o *object) bool {
	if s.target != nil {
		return s.target.matches(m, o)
	}
	u := unstructured.Unstructured{Object: o.content}
	return u.GetKind() == s.kind && u.GetName() == s.name &&
		(s.apiVersion == "" || s.apiVersion == u.GetAPIVersion()) && s.isIn(m, m.namespaceOf(o))
}

// isIn reports whether the patch is for an object in a namespace, which is empty for what is in none. A patch that names no
// namespace means the release's.
func (s *mergeStep) isIn(m *manifests, namespace string) bool {
	if s.namespace == "" {
		return namespace == "" || namespace == m.namespace
	}
	return namespace == s.namespace
}

// merge returns a content with the patch in it; nil when the patch deletes the object. What names an object stays.
func (s *mergeStep) merge(content map[string]any) (map[string]any, error) {
	patch := runtime.DeepCopyJSON(s.patch)
	patch["apiVersion"], patch["kind"] = content["apiVersion"], content["kind"] // say by which keys lists are merged
	node, err := toNode(patch)
	if err != nil {
		return nil, err
	}
	merged, err := filter(content, patchstrategicmerge.Filter{Patch: node})
	if err != nil || merged == nil {
		return nil, err
	}
	if !isObject(merged) {
		return nil, errors.New("the result is no object")
	}
	before, after := unstructured.Unstructured{Object: content}, unstructured.Unstructured{Object: merged}
	after.SetName(before.GetName())
	after.SetNamespace(before.GetNamespace())
	return merged, nil
}
