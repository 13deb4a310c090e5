package demo

import (
	"bytes"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/deploy/local/internal/kube"
)

func TestTheManifestsNameTheObjectsThatTheStepsWaitFor(t *testing.T) {
	var text bytes.Buffer
	require.NoError(t, template.Must(template.New("").Parse(manifests)).Execute(&text, Config{
		ChartsURL: "http://127.0.0.1:1", OCIURL: "oci://127.0.0.1:2/charts",
	}))
	objects, err := kube.ParseObjects(text.Bytes())
	require.NoError(t, err)
	var found []string
	for _, o := range objects {
		found = append(found, kube.Ref{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}.String())
	}
	assert.Equal(t, []string{
		"Namespace " + namespace,
		repository("http").String(), repository("oci").String(),
		release("web").String(), release("batch").String(),
	}, found)
	assert.Contains(t, text.String(), "namespace: "+target)
}
