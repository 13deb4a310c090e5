package render

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/api/filters/imagetag"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/kio"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// kustomizeSteps returns what one post-renderer does: its patches in order, then its images, as in a kustomization.
func kustomizeSteps(where string, spec *v1alpha1.Kustomize) ([]step, error) {
	var steps []step
	for i := range spec.Patches {
		more, err := patchSteps(fmt.Sprintf("%s.patches[%d]", where, i), &spec.Patches[i])
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	for i := range spec.Images {
		image, err := newImageStep(fmt.Sprintf("%s.images[%d]", where, i), &spec.Images[i])
		if err != nil {
			return nil, err
		}
		steps = append(steps, image)
	}
	return steps, nil
}

// imageStep replaces an image wherever a Pod or its template names it. An image that no object has is no error, as in
// Kustomize: charts leave parts out.
type imageStep struct {
	where   string
	filters []kio.Filter
}

// imageDigest is the form of a digest that images have.
var imageDigest = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)

func newImageStep(where string, spec *v1alpha1.KustomizeImage) (*imageStep, error) {
	lastPart := spec.Name[strings.LastIndex(spec.Name, "/")+1:]
	switch {
	case spec.Name == "" || strings.ContainsAny(lastPart, ":@"):
		return nil, fmt.Errorf("%s.name must be the name of an image without tag and digest", where)
	case spec.NewName == "" && spec.NewTag == "" && spec.Digest == "":
		return nil, fmt.Errorf("%s changes nothing: set newName, newTag or digest, or remove the entry", where)
	case spec.Digest != "" && !imageDigest.MatchString(spec.Digest):
		return nil, fmt.Errorf("%s.digest must be sha256: and 64 hexadecimal digits", where)
	}
	image := types.Image{
		// Kustomize takes the name for a regular expression, in which a dot means any character.
		Name: regexp.QuoteMeta(spec.Name), NewName: spec.NewName, NewTag: spec.NewTag, Digest: spec.Digest,
	}
	return &imageStep{where: where, filters: []kio.Filter{
		imagetag.LegacyFilter{ImageTag: image}, // containers and initContainers, at any depth
		imagetag.Filter{ImageTag: image, FsSlice: types.FsSlice{
			{Path: "spec/volumes[]/image/reference"},
			{Path: "spec/template/spec/volumes[]/image/reference"},
		}},
	}}, nil
}

func (s *imageStep) apply(m *manifests) error {
	return m.all(func(o *object) error {
		content, err := filter(o.content, s.filters...)
		if err != nil {
			return fmt.Errorf("%s cannot be applied to %s: an image of it is not where Kubernetes has it", s.where, o)
		}
		o.replace(content)
		return nil
	})
}

// filter passes one content through filters of Kustomize. It returns nil when they delete it. A panic in them is an error:
// a patch that somebody wrote must not end the process, which works for others too.
func filter(content map[string]any, filters ...kio.Filter) (out map[string]any, err error) {
	defer func() {
		if recover() != nil {
			out, err = nil, errors.New("the filter of Kustomize panicked")
		}
	}()
	node, err := toNode(content)
	if err != nil {
		return nil, err
	}
	for _, f := range filters {
		nodes, err := f.Filter([]*kyaml.RNode{node})
		if err != nil {
			return nil, fmt.Errorf("apply a filter of Kustomize: %w", err)
		}
		if len(nodes) == 0 || nodes[0].IsNilOrEmpty() {
			return nil, nil
		}
		node = nodes[0]
	}
	return fromNode(node)
}
