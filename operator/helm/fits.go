package helm

import (
	"bytes"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/postrender"
	rspb "helm.sh/helm/v3/pkg/release"
)

// checkFits returns an error when the record of a new revision would not fit into a Secret. Helm finds that out before it writes
// the objects of a revision, but after it has created its namespace and its definitions: who has such to create asks before.
// manifests may not be known yet; hooks and notes are left out, so that the last word is that of who writes the record.
func (op *operation) checkFits(chrt *chart.Chart, values map[string]any, manifests string) error {
	rls := &rspb.Release{Name: op.target.Name, Info: &rspb.Info{}, Chart: chrt, Config: values, Manifest: manifests}
	if _, err := op.client.encoder.data(rls, recordReserve); err != nil {
		return op.failed(StageStorage, err)
	}
	return nil
}

// fitting asks whether a revision fits when its manifests are what will be applied.
type fitting struct {
	op *operation
	// next changes the manifests first; may be nil.
	next   postrender.PostRenderer
	chart  *chart.Chart
	values map[string]any
}

// Run changes the manifests as next does.
func (f fitting) Run(manifests *bytes.Buffer) (*bytes.Buffer, error) {
	if f.next != nil {
		var err error
		if manifests, err = f.next.Run(manifests); err != nil {
			return nil, err
		}
	}
	return manifests, f.op.checkFits(f.chart, f.values, manifests.String())
}
