package render

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"
)

// manifests are the rendered objects of a chart, in the documents in which they came.
type manifests struct {
	documents []*document
	// namespace of objects that name none.
	namespace string
}

// document is one YAML document. It holds no object when there are only comments in it, and several when it is a list.
type document struct {
	text []byte
	// source is the comment in which Helm names the template; empty when there is none.
	source  string
	objects []*object
	changed bool
}

// object is one Kubernetes object. Its content is what the API server would get: the JSON that Kubernetes makes of YAML. It
// is nil when a patch has deleted the object.
type object struct {
	content  map[string]any
	document *document
}

// sourceComment is what Helm writes over each document, before the path of the template.
const sourceComment = "# Source: "

// readManifests splits and reads manifests in the very way in which Helm's Kubernetes client does.
func readManifests(text []byte, namespace string) (*manifests, error) {
	m := &manifests{namespace: namespace}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		part, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifests of the chart: document %d ends in a line that starts with --- and is no separator",
				len(m.documents)+1)
		}
		if bytes.HasPrefix(part, []byte("---")) { // the reader leaves the separator before the first document
			_, part, _ = bytes.Cut(part, []byte("\n"))
		}
		d := &document{text: part}
		if first, _, _ := strings.Cut(string(part), "\n"); strings.HasPrefix(first, sourceComment) {
			d.source = strings.TrimSpace(first)
		}
		m.documents = append(m.documents, d)
		if err := d.read(); err != nil {
			name := strings.TrimPrefix(d.source, sourceComment)
			if name == "" {
				name = "which names no template"
			}
			return nil, fmt.Errorf("manifests of the chart: document %d (%s) %w", len(m.documents), name, err)
		}
	}
}

// read finds the objects of a document.
func (d *document) read() error {
	text, err := yaml.YAMLToJSON(d.text)
	if err != nil {
		return errors.New("is not valid YAML")
	}
	if string(text) == "null" {
		return nil
	}
	decoded, _, err := unstructured.UnstructuredJSONScheme.Decode(text, nil, nil)
	if err != nil {
		return errors.New("is no Kubernetes object: apiVersion, kind and metadata are needed")
	}
	switch decoded := decoded.(type) {
	case *unstructured.UnstructuredList:
		for i := range decoded.Items {
			d.objects = append(d.objects, &object{content: decoded.Items[i].Object, document: d})
		}
	case *unstructured.Unstructured:
		d.objects = append(d.objects, &object{content: decoded.Object, document: d})
	}
	return nil
}

// write returns the manifests as one text.
func (m *manifests) write() ([]byte, error) {
	var out bytes.Buffer
	for _, d := range m.documents {
		if !d.changed {
			out.WriteString("---\n")
			out.Write(bytes.TrimRight(d.text, "\n"))
			out.WriteString("\n")
			continue
		}
		for _, o := range d.objects {
			if o.content == nil {
				continue
			}
			text, err := o.text()
			if err != nil {
				return nil, err
			}
			out.WriteString("---\n")
			if d.source != "" {
				out.WriteString(d.source + "\n")
			}
			out.Write(text)
		}
	}
	return out.Bytes(), nil
}

// text returns an object as YAML that says the same to those who read it as Kubernetes does.
func (o *object) text() ([]byte, error) {
	// Not sigs.k8s.io/yaml: that goes by way of JSON, where it meets characters that YAML must have escaped.
	text, err := yamlv2.Marshal(o.content)
	if err != nil {
		return nil, fmt.Errorf("%s holds what cannot be written as YAML", o)
	}
	var back map[string]any
	asJSON, err := yaml.YAMLToJSON(text)
	if err == nil {
		back, err = fromJSON(asJSON)
	}
	if err != nil || !reflect.DeepEqual(o.content, back) {
		// A key that is "<<" is one such thing: it comes out without its quotes.
		return nil, fmt.Errorf("%s holds what reads otherwise once it is written as YAML", o)
	}
	return text, nil
}

// all calls a function with each object that is still there, until it returns an error.
func (m *manifests) all(do func(*object) error) error {
	for _, d := range m.documents {
		for _, o := range d.objects {
			if o.content == nil {
				continue
			}
			if err := do(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace gives the object another content; nil deletes it.
func (o *object) replace(content map[string]any) {
	if content != nil && reflect.DeepEqual(o.content, content) {
		return
	}
	o.content, o.document.changed = content, true
}

// String names the object in messages.
func (o *object) String() string {
	u := unstructured.Unstructured{Object: o.content}
	if namespace := u.GetNamespace(); namespace != "" {
		return u.GetKind() + " " + namespace + "/" + u.GetName()
	}
	return u.GetKind() + " " + u.GetName()
}

// namespaceOf returns the namespace that an object will be in: the release's when it names none, and none when its kind is
// known to be outside of namespaces.
func (m *manifests) namespaceOf(o *object) string {
	u := unstructured.Unstructured{Object: o.content}
	kind := kyaml.TypeMeta{APIVersion: u.GetAPIVersion(), Kind: u.GetKind()}
	if namespaced, known := openapi.IsNamespaceScoped(kind); known && !namespaced {
		return ""
	}
	if namespace := u.GetNamespace(); namespace != "" {
		return namespace
	}
	return m.namespace
}

// toNode returns a content as the filters of Kustomize want it.
func toNode(content map[string]any) (*kyaml.RNode, error) {
	node, err := kyaml.FromMap(content)
	if err != nil {
		return nil, fmt.Errorf("convert an object for Kustomize: %w", err)
	}
	return node, nil
}

// fromNode is the way back.
func fromNode(node *kyaml.RNode) (map[string]any, error) {
	content, err := node.Map()
	if err != nil {
		return nil, fmt.Errorf("convert an object of Kustomize: %w", err)
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("convert an object of Kustomize: %w", err)
	}
	return fromJSON(text)
}

// fromJSON reads a content, with whole numbers as such.
func fromJSON(text []byte) (map[string]any, error) {
	var content map[string]any
	if err := utiljson.Unmarshal(text, &content); err != nil {
		return nil, fmt.Errorf("read an object: %w", err)
	}
	return content, nil
}

// isObject reports whether a content can still be taken for one object.
func isObject(content map[string]any) bool {
	u := unstructured.Unstructured{Object: content}
	_, isMap := content["metadata"].(map[string]any)
	return isMap && u.GetAPIVersion() != "" && u.GetKind() != "" && !u.IsList()
}
