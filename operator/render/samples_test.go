package render

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// What the samples are for.
const sampleChart = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, image: "example.com/web:1.0"}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web-public}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-internal, labels: {tier: internal}}
spec: {ports: [{port: 80}]}
`

func TestTheSamplesOfTheDocumentationDoWhatItSays(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/post-rendering.md")
	require.NoError(t, err)
	for sample, want := range map[string]string{
		"post-rendering.yaml": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - name: web
          env: [{name: LOG_LEVEL, value: debug}]
          image: mirror.example.com/web@sha256:0f3e6a1b5c2d4e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7
---
apiVersion: v1
kind: Service
metadata: {name: web-public}
spec: {type: LoadBalancer, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-internal, labels: {tier: internal}}
spec: {ports: [{port: 80}]}
`,
		"common-metadata.yaml": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {team: shop, cost-center: "4711"}, annotations: {example.com/contact: shop@example.com}}
spec: {template: {spec: {containers: [{name: web, image: "example.com/web:1.0"}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web-public, labels: {team: shop, cost-center: "4711"}, annotations: {example.com/contact: shop@example.com}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata:
  name: web-internal
  labels: {tier: internal, team: shop, cost-center: "4711"}
  annotations: {example.com/contact: shop@example.com}
spec: {ports: [{port: 80}]}
`,
	} {
		text, err := os.ReadFile("../../deploy/samples/" + sample)
		require.NoError(t, err)
		assert.Contains(t, string(page), "```yaml\n"+string(text)+"```", "the page shows the sample as it is")
		var release v1alpha1.HelmRelease
		require.NoError(t, yaml.UnmarshalStrict(text, &release))
		out := render(t, sampleChart, release.Spec.CommonMetadata, release.Spec.PostRenderers...)
		wanted, got := strings.Split(want, "---\n"), strings.Split(strings.TrimPrefix(out, "---\n"), "---\n")
		require.Len(t, got, len(wanted), sample)
		for i := range wanted {
			assert.YAMLEq(t, wanted[i], got[i], sample)
		}
	}
}
