package helm

import (
	"bytes"

	"helm.sh/helm/v3/pkg/postrender"
)

// PostRender changes the manifests of a chart once they are rendered, before anything is written: what it returns is what is
// applied and recorded. Helm 3 passes all objects but hooks and those of the crds/ folder, as one YAML stream in the order
// of installation. A rollback deploys what was recorded, and calls nothing. Its errors are shown, so they hold no values.
type PostRender func(manifests []byte) ([]byte, error)

// postRender lets Helm call a function.
type postRender struct {
	op *operation
	do PostRender
}

// postRenderer returns what Helm calls; nil when there is nothing to call.
func (op *operation) postRenderer(do PostRender) postrender.PostRenderer {
	if do == nil {
		return nil
	}
	return postRender{op: op, do: do}
}

// Run changes manifests.
func (p postRender) Run(manifests *bytes.Buffer) (*bytes.Buffer, error) {
	changed, err := p.do(manifests.Bytes())
	if err != nil {
		return nil, p.op.failed(StageRender, err)
	}
	return bytes.NewBuffer(changed), nil
}
