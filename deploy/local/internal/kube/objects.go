package kube

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// ParseObjects reads the objects of a YAML stream, in order. Empty documents are skipped; one that is no Kubernetes object is an
// error.
func ParseObjects(data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n := 1; ; n++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		converted, err := yaml.YAMLToJSON(document)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		var content map[string]any
		// Unlike encoding/json, this makes int64 of whole numbers, as unstructured objects have them.
		if err := utiljson.Unmarshal(converted, &content); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if len(content) == 0 {
			continue
		}
		o := &unstructured.Unstructured{Object: content}
		if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
			return nil, fmt.Errorf("document %d: no apiVersion, kind or metadata.name", n)
		}
		objects = append(objects, o)
	}
}

// ReadObjects reads the objects of YAML files.
func ReadObjects(paths ...string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		objects, err := ParseObjects(data)
		if err != nil {
			return nil, fmt.Errorf("read manifests of %s: %w", path, err)
		}
		all = append(all, objects...)
	}
	return all, nil
}

// State is one entry of status.conditions.
type State struct {
	Status, Reason, Message string
	// ObservedGeneration is the generation of the object that this is about; 0 if the condition does not say.
	ObservedGeneration int64
}

// Condition returns the condition of this type.
func Condition(o *unstructured.Unstructured, conditionType string) (State, bool) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range conditions {
		fields, ok := entry.(map[string]any)
		if !ok || fields["type"] != conditionType {
			continue
		}
		text := func(name string) string { s, _ := fields[name].(string); return s }
		observed, _ := fields["observedGeneration"].(int64)
		return State{Status: text("status"), Reason: text("reason"), Message: text("message"), ObservedGeneration: observed}, true
	}
	return State{}, false
}

// HasCondition wants a condition with this status, and with this reason unless it is empty, that is about the current
// generation.
func HasCondition(conditionType, status, reason string) Wanted {
	return func(o *unstructured.Unstructured) (string, bool) {
		if o == nil {
			return "it does not exist", false
		}
		c, ok := Condition(o, conditionType)
		switch {
		case !ok:
			return "it has no condition " + conditionType, false
		case c.ObservedGeneration != 0 && c.ObservedGeneration != o.GetGeneration():
			return fmt.Sprintf("condition %s is about generation %d, not %d", conditionType, c.ObservedGeneration, o.GetGeneration()), false
		case c.Status != status || (reason != "" && c.Reason != reason):
			return fmt.Sprintf("%s=%s, %s: %s", conditionType, c.Status, c.Reason, c.Message), false
		}
		return "", true
	}
}
