package helm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnknownFieldsAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "misspelled", "1.0.0", chartFiles{
		"templates/config.yaml": configMap,
		"templates/service.yaml": `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ports: [{port: 80}]
  selectr: {app: web}
`,
	})
	_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart, StrictFields: true}})
	failure := wantError(t, err)
	assert.Equal(t, StageValidate, failure.Stage)
	assert.Zero(t, failure.Revision)
	assert.Contains(t, failure.Message, "Service web")
	assert.Contains(t, failure.Message, `spec.selectr`)
	_, found, err := f.helm.Last(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	assert.False(t, found, "there is no record")
	assert.Nil(t, f.data("web-config"))

	rel, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart}})
	require.NoError(t, err)
	require.NotEmpty(t, rel.Warnings, "it is a warning otherwise")
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "2"), ChartSource: ChartSource{Chart: chart, StrictFields: true}})
	assert.Contains(t, wantError(t, err).Message, "spec.selectr")
	assert.Equal(t, 1, f.last("web").Revision)
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "3"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0"), StrictFields: true}})
	require.NoError(t, err)
}
