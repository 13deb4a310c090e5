package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
)

// bareChart is a chart without templates.
func bareChart(name string) func(version string) chart {
	return func(version string) chart { return chart{name: name, version: version} }
}

// wish is a chart and what is said about its version.
type wish struct{ chart, version string }

// wishes are all forms that a version can have.
func wishes() []wish {
	var all []wish
	for chart, texts := range map[string][]string{
		"web": {
			"", "*", "1.2.0", "v1.2.0", "=1.2.0", "1.2", "v1.2", "1", "^1.2.0", "^0", "~1.2.0", "~1", "~>1.2", "1.2.x", "1.2.*", "1.x",
			">=1.0.0, <2.0.0", ">=1.0.0 <2.0.0", ">1.2.0", "<1.2.0", "<=1.2.0", "!=2.0.0", "1.0.0 - 1.3.0",
			"^1.0.0 || ^2.0.0", " ^1.2.0 ", "1.2.4-rc.1", "~1.2.4-0", ">=1.2.4-rc.0", "^2.0.0-0", ">=0.0.0-0", "2.0.0-beta.2",
			"1.2.9", "^9.0.0", "1.2.3.4", "one.two", "1.2.0-nothing",
		},
		"built": {"", "2.1.0+build.1", "2.0.5+b-2", "2.1.0", "^2.0.0", "~2.0.0", "2.1.0+other"},
		"vees":  {"v2.2.0", "2.2.0", "^2.0.0", ""},
		"mixed": {"", "^1.0.0", "v1.3.0", "1.3.0", "1.2.0"},
		"early": {"", "*", "1.0.0-alpha.2", ">=1.0.0-0", "^1.0.0-alpha", "~1.0.0-0"},
	} {
		for _, text := range texts {
			all = append(all, wish{chart, text})
		}
	}
	return all
}

func TestEveryFormOfAVersionMeansWhatItMeansToHelm(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	var charts []chart
	charts = append(charts, versions(bareChart("web"), "0.9.0", "1.0.0", "1.0.1", "1.2.0", "1.2.3", "1.2.4-rc.1", "1.3.0", "1.10.0",
		"2.0.0-alpha.1", "2.0.0-beta.2", "2.0.0", "3.0.0-rc.1")...)
	charts = append(charts, versions(bareChart("built"), "2.0.5+b-2", "2.1.0+build.1")...)
	charts = append(charts, versions(bareChart("vees"), "v2.1.0", "v2.2.0")...)
	charts = append(charts, versions(bareChart("mixed"), "1.2.0", "v1.3.0")...)
	charts = append(charts, versions(bareChart("early"), "1.0.0-alpha.1", "1.0.0-alpha.2", "1.0.0-alpha.10")...)
	repo := newChartRepository(t, charts...)
	registry := push(t, s.namespace, charts...)
	s.repository("http", repo.URL)
	s.repository("oci", registry)
	for _, name := range []string{"http", "oci"} {
		s.repositoryUntil(name, metav1.ConditionTrue, "")
	}
	api := clientOf(t, suite.chartcache)
	ours := func(repository string, w wish) string {
		resolved, err := api.Resolve(t.Context(), client.ChartRequest{
			Source: client.Named(s.namespace, repository), Chart: w.chart, Version: w.version,
		})
		if err != nil {
			return ""
		}
		return resolved.Version.Digest
	}

	var only []wish // found in an index only, as far as Helm is concerned
	for _, w := range wishes() {
		index := pulled(t, w.version, w.chart, "--repo", repo.URL)
		assert.Equal(t, index, ours("http", w), "%+v from an index", w)
		inRegistry := pulled(t, w.version, registry+"/"+w.chart, "--plain-http")
		if inRegistry == "" && index != "" {
			only = append(only, w)
			inRegistry = index
		}
		assert.Equal(t, inRegistry, ours("oci", w), "%+v from a registry", w)
	}
	for _, repository := range []string{"http", "oci"} {
		for _, chart := range []string{"web", "built", "vees", "mixed", "early"} {
			assert.Equal(t, ours(repository, wish{chart, ""}), ours(repository, wish{chart, "latest"}), "latest %s of %s", chart, repository)
		}
	}
	// In a registry, Helm takes a text that looks like a version for a tag, and sees no tag that is no strict version. Here the
	// text means what it means in an index.
	assert.ElementsMatch(t, []wish{
		{"web", "v1.2.0"}, {"web", "1.2"}, {"web", "v1.2"}, {"web", "1"}, {"built", "2.1.0"}, {"built", "2.1.0+other"},
		{"vees", "2.2.0"}, {"vees", "^2.0.0"}, {"vees", ""}, {"mixed", "1.3.0"},
	}, only)
}

// pulled returns the digest of what `helm pull` picks; empty when it finds nothing.
func pulled(t *testing.T, version string, args ...string) string {
	t.Helper()
	folder := t.TempDir()
	args = append([]string{"pull", "--destination", folder}, args...)
	if version != "" {
		args = append(args, "--version", version)
	}
	if output, err := command(t, "helm", args...).CombinedOutput(); err != nil {
		require.Contains(t, string(output), "Error: ")
		return ""
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	content, err := os.ReadFile(files[0])
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
