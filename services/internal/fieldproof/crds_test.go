package fieldproof

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// definition is what is looked at of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Names struct {
			Kind       string
			ShortNames []string
			Categories []string
		}
		Versions []struct {
			AdditionalPrinterColumns []column
			Schema                   struct{ OpenAPIV3Schema schema }
		}
	}
}

type column struct {
	Name, JSONPath string
	Priority       int
}

type schema struct {
	Description string
	Properties  map[string]schema
	Items       *schema
}

// definitions reads those that are shipped, by kind.
func definitions(t *testing.T) map[string]definition {
	t.Helper()
	files, err := filepath.Glob(root + "/deploy/crds/*.yaml")
	require.NoError(t, err)
	all := map[string]definition{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var d definition
		require.NoError(t, yaml.Unmarshal(text, &d))
		require.Len(t, d.Spec.Versions, 1)
		all[d.Spec.Names.Kind] = d
	}
	require.Len(t, all, 2)
	return all
}

func TestEveryFieldOfTheDefinitionsIsDescribed(t *testing.T) {
	t.Parallel()
	fields := 0
	var walk func(path string, s schema)
	walk = func(path string, s schema) {
		for name, property := range s.Properties {
			if path+"."+name == ".metadata" {
				continue // described by Kubernetes
			}
			fields++
			assert.NotEmpty(t, property.Description, path+"."+name)
			walk(path+"."+name, property)
		}
		if s.Items != nil {
			walk(path+"[]", *s.Items)
		}
	}
	for _, d := range definitions(t) {
		walk("", d.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
	assert.Greater(t, fields, 200)
}

func TestTheDefinitionsShowTheColumnsOfTheOriginalAndMore(t *testing.T) {
	t.Parallel()
	const readyStatus, readyMessage = `.status.conditions[?(@.type=="Ready")].status`, `.status.conditions[?(@.type=="Ready")].message`
	for kind, want := range map[string]struct {
		shortName string
		columns   []column
	}{
		"HelmRepository": {"hrepo", []column{
			{"URL", ".spec.url", 0}, {"Ready", readyStatus, 0}, {"Status", readyMessage, 0}, {"Age", ".metadata.creationTimestamp", 0},
			{"Charts", ".status.stats.totalCharts", 1}, {"Last Sync", ".status.lastSyncTime", 1},
		}},
		"HelmRelease": {"hrel", []column{
			{"Chart", ".spec.chart.name", 0}, {"Version", ".spec.chart.version", 0}, {"Revision", ".status.helmRelease.revision", 0},
			{"Ready", readyStatus, 0}, {"Status", readyMessage, 0}, {"Age", ".metadata.creationTimestamp", 0},
			{"Deployed", ".status.helmRelease.chart", 1}, {"App Version", ".status.helmRelease.appVersion", 1}, {"Latest", ".status.latestVersion", 1},
		}},
	} {
		d := definitions(t)[kind]
		assert.Equal(t, []string{want.shortName}, d.Spec.Names.ShortNames)
		assert.Equal(t, []string{"helm"}, d.Spec.Names.Categories)
		assert.Equal(t, want.columns, d.Spec.Versions[0].AdditionalPrinterColumns, kind)
	}
}
