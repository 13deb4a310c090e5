// Package render changes the manifests of a chart after it has been rendered: by patches and image replacements of
// Kustomize, and by labels and annotations that every object gets.
//
// It is pure: manifests in, manifests out. It depends on the filters of Kustomize, on a JSON patch library and on the types
// of the API. It must never read a file, start a process or open a connection, and so it uses those filters alone and not
// Kustomize's builder, which can do all three. It never puts the content of an object or of a patch into an error.
package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Renderer does what the postRenderers and the commonMetadata of one HelmRelease ask for. It keeps no state, so that
// goroutines may share it. A nil Renderer changes nothing.
type Renderer struct {
	// steps in the order in which they are done.
	steps []step
	// namespace of objects that name none.
	namespace string
	digest    string
}

// step is one change of all objects.
type step interface {
	// apply changes the objects. Its error says what of the spec failed, and at which object.
	apply(m *manifests) error
}

// New returns the renderer for a release whose objects go to a namespace unless they name another one. It returns nil
// when there is nothing to do. Its errors name the field of the spec that is wrong.
func New(namespace string, renderers []v1alpha1.PostRenderer, metadata *v1alpha1.CommonMetadata) (*Renderer, error) {
	var steps []step
	for i := range renderers {
		where := fmt.Sprintf("spec.postRenderers[%d]", i)
		if renderers[i].Kustomize == nil {
			return nil, fmt.Errorf("%s names no renderer: set kustomize or remove the entry", where)
		}
		more, err := kustomizeSteps(where+".kustomize", renderers[i].Kustomize)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	common, err := commonMetadata(metadata)
	if err != nil {
		return nil, err
	}
	if common != nil {
		steps = append(steps, common)
	}
	if len(steps) == 0 {
		return nil, nil
	}
	return &Renderer{steps: steps, namespace: namespace, digest: digest(renderers, metadata)}, nil
}

// Digest changes when the same manifests would come out otherwise: it covers the spec that New got. It is empty for a nil
// Renderer.
func (r *Renderer) Digest() string {
	if r == nil {
		return ""
	}
	return r.digest
}

func digest(renderers []v1alpha1.PostRenderer, metadata *v1alpha1.CommonMetadata) string {
	text, err := json.Marshal(struct {
		PostRenderers  []v1alpha1.PostRenderer  `json:"postRenderers,omitempty"`
		CommonMetadata *v1alpha1.CommonMetadata `json:"commonMetadata,omitempty"`
	}{renderers, metadata})
	if err != nil { // structs of strings can always be marshalled
		panic(fmt.Sprintf("marshal postRenderers and commonMetadata: %v", err))
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Render returns the changed manifests. Documents in which nothing changes come out as they are, in the same order. Errors
// name the field of the spec and the object at which it failed.
func (r *Renderer) Render(text []byte) ([]byte, error) {
	if r == nil {
		return text, nil
	}
	m, err := readManifests(text, r.namespace)
	if err != nil {
		return nil, err
	}
	for _, step := range r.steps {
		if err := step.apply(m); err != nil {
			return nil, err
		}
	}
	return m.write()
}
