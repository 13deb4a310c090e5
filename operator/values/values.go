// Package values composes the values of a release from the spec of a HelmRelease and from the objects that it names, and
// tells whether two sets of values are the same.
//
// It depends on the CRD types only. It must never put values into an error, and never read anything but what its source
// gives it.
package values

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Source gives the data of the objects that valuesFrom names.
type Source interface {
	// Get returns the data of a ConfigMap or Secret in the namespace of the HelmRelease, and false when it does not exist.
	Get(ctx context.Context, kind, name string) (data map[string][]byte, found bool, err error)
}

// Error says that values cannot be used. It tells where and how to mend that, never what the values are.
type Error struct {
	// Where the values stand, such as spec.values or "Secret db-values, key values.yaml".
	Where string
	// Line counts from 1; 0 when it is not known.
	Line int
	// Message says what is wrong and how to mend it.
	Message string
}

// Error returns where and what.
func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s, line %d: %s", e.Where, e.Line, e.Message)
	}
	return e.Where + ": " + e.Message
}

// Compose returns the values of a release: the documents of refs merged in order, then spec, then the entries of refs that
// have a targetPath. It returns an empty map when nothing is set. Errors are *Error when the values are to blame; others
// come from the source. source may be nil when there are no refs.
func Compose(
	ctx context.Context, spec *v1alpha1.Values, refs []v1alpha1.ValuesReference, source Source,
) (map[string]any, error) {
	out := map[string]any{}
	var targeted []target
	for i, ref := range refs {
		data, found, err := read(ctx, source, i, ref)
		switch {
		case err != nil:
			return nil, err
		case !found:
		case ref.TargetPath != "" && !utf8.Valid(data): // JSON, in which Helm keeps values, would hold other bytes
			return nil, &Error{
				Where: where(i, ref), Message: "is not UTF-8 text, as values must be: store it as base64, and let the chart decode it",
			}
		case ref.TargetPath != "":
			targeted = append(targeted, target{where: where(i, ref), path: ref.TargetPath, value: string(data)})
		default:
			document, err := parseYAML(where(i, ref), data)
			if err != nil {
				return nil, err
			}
			out = merge(out, document)
		}
	}
	document, err := parseSpec(spec)
	if err != nil {
		return nil, err
	}
	out = merge(out, document)
	for _, t := range targeted {
		if err := t.set(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// specWhere names spec.values in errors.
const specWhere = "spec.values"

// defaultKey is where a reference finds its document when it does not say.
const defaultKey = "values.yaml"

// read returns the data that a reference names, and false when it is optional and missing.
func read(ctx context.Context, source Source, index int, ref v1alpha1.ValuesReference) ([]byte, bool, error) {
	at := where(index, ref)
	if source == nil {
		return nil, false, &Error{Where: at, Message: "there is nowhere to read it from"}
	}
	data, found, err := source.Get(ctx, ref.Kind, ref.Name)
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", at, err)
	}
	if !found {
		if ref.Optional {
			return nil, false, nil
		}
		return nil, false, &Error{Where: at, Message: "the object does not exist: create it, or set optional"}
	}
	value, ok := data[key(ref)]
	if !ok {
		if ref.Optional {
			return nil, false, nil
		}
		return nil, false, &Error{Where: at, Message: "the object has no such key: add it, or set optional"}
	}
	return value, true, nil
}

func key(ref v1alpha1.ValuesReference) string {
	if ref.Key == "" {
		return defaultKey
	}
	return ref.Key
}

func where(index int, ref v1alpha1.ValuesReference) string {
	return fmt.Sprintf("spec.valuesFrom[%d] (%s %s, key %s)", index, ref.Kind, ref.Name, key(ref))
}

// parseSpec reads spec.values: a string that holds a YAML document, or an object.
func parseSpec(spec *v1alpha1.Values) (map[string]any, error) {
	if spec == nil {
		return map[string]any{}, nil
	}
	raw := bytes.TrimSpace(spec.Raw)
	switch {
	case len(raw) == 0, bytes.Equal(raw, []byte("null")):
		return map[string]any{}, nil
	case raw[0] == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, &Error{Where: specWhere, Message: "is not a JSON string"}
		}
		return parseYAML(specWhere, []byte(text))
	case raw[0] == '{':
		// JSON is YAML, so both forms mean the same, except that YAML parsers do not take all escapes of JSON.
		document, err := parseYAML(specWhere, raw)
		if err != nil && json.Unmarshal(raw, &document) == nil {
			return document, nil
		}
		return document, err
	default:
		return nil, &Error{Where: specWhere, Message: "must be an object, or a string that holds a YAML document with one"}
	}
}

// parseYAML reads a document as helm -f does. An empty document is an empty map.
func parseYAML(at string, document []byte) (map[string]any, error) {
	out := map[string]any{}
	if err := yaml.Unmarshal(document, &out); err != nil {
		return nil, yamlError(at, document, err)
	}
	if out == nil { // the document is null
		out = map[string]any{}
	}
	return out, nil
}

// yamlLine finds the line in an error of the YAML parser, which has no other way to tell it.
var yamlLine = regexp.MustCompile(`\bline (\d+)\b`)

// tabIndent matches a line that begins with a tab.
var tabIndent = regexp.MustCompile(`(?m)^ *\t+ *\S`)

// yamlError says where a document is wrong. The text of the parser's error may quote the document, so that only the line
// number is taken from it.
func yamlError(at string, document []byte, err error) error {
	out := &Error{Where: at, Message: "is not valid YAML: check indentation, quotes and colons, for example with helm lint"}
	if match := yamlLine.FindStringSubmatch(err.Error()); match != nil {
		// The pattern matches digits only; one that is too large for an int counts as unknown.
		out.Line, _ = strconv.Atoi(match[1])
	}
	var other any
	if yaml.Unmarshal(document, &other) == nil {
		out.Message = "must be a YAML map with the names of values at its top level, not a list or a single value"
	}
	if tabIndent.Match(document) {
		out.Message += "; some lines are indented with tabs, which YAML does not allow"
	}
	return out
}

// merge returns a with b merged into it: b wins, maps are merged key by key, and a null in b stays a null, which deletes
// the chart's default.
func merge(a, b map[string]any) map[string]any {
	for key, value := range b {
		if from, ok := value.(map[string]any); ok {
			if into, ok := a[key].(map[string]any); ok {
				a[key] = merge(into, from)
				continue
			}
		}
		a[key] = value
	}
	return a
}
