package release

import (
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
	"github.com/ketches/helm-operator/operator/render"
)

// postRender reads what a spec wants changed after rendering; nil when that is nothing.
func (r *reader) postRender(target Target, spec *v1alpha1.HelmReleaseSpec) *render.Renderer {
	renderer, err := render.New(target.Namespace, spec.PostRenderers, spec.CommonMetadata)
	if err != nil && r.problem == nil {
		r.problem = &Problem{Reason: v1alpha1.ReasonConfigurationError, Stalled: true, Message: err.Error()}
	}
	return renderer
}

// setPostRender gives the actions that render a chart what is to be changed then.
func (s *settings) setPostRender(renderer *render.Renderer) {
	s.render = renderer
	var do helm.PostRender
	if renderer != nil {
		do = renderer.Render
	}
	s.install.PostRender, s.upgrade.PostRender = do, do
}
