package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// definition is that of a kind in a group, whose objects may hold anything, with a description that tells which one it is.
func definition(group, kind, description string) string {
	singular := strings.ToLower(kind)
	return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: ` + singular + `s.` + group + `
spec:
  group: ` + group + `
  scope: Namespaced
  names: {kind: ` + kind + `, plural: ` + singular + `s, singular: ` + singular + `}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, description: ` + description + `, x-kubernetes-preserve-unknown-fields: true}}
`
}

func TestDefinitionsOfAChartAreCreatedAndReplacedByPolicy(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	group := s.namespace + ".example.com"
	t.Cleanup(func() { kubectl(t, "delete", "crd", "widgets."+group, "--ignore-not-found") })
	version := func(number, description string) chart {
		return webChart(number).with("crds/widgets.yaml", definition(group, "Widget", description))
	}
	withObject := func(c chart) chart {
		return c.with("templates/widget.yaml", "apiVersion: "+group+"/v1\nkind: Widget\nmetadata: {name: {{ .Release.Name }}}\n")
	}
	s.repository("charts", newChartRepository(t, version("1.0.0", "first"), withObject(version("1.1.0", "second")),
		withObject(version("1.2.0", "third")), withObject(version("1.3.0", "fourth"))).URL)
	description := func() string {
		return strings.TrimSpace(kubectl(t, "get", "crd", "widgets."+group, "--ignore-not-found",
			"--output", "jsonpath={.spec.versions[0].schema.openAPIV3Schema.description}"))
	}
	to := func(version string, crds v1alpha1.CRDsSpec) {
		t.Helper()
		s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version, r.Spec.CRDs = version, &crds })
		s.until("app", readyAt("web-"+version))
	}

	s.apply(s.release("skips", func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Version = "1.0.0"
		r.Spec.Install = &v1alpha1.InstallSpec{SkipCRDs: true}
		r.Spec.CRDs = &v1alpha1.CRDsSpec{Install: v1alpha1.CRDsCreateReplace}
	}))
	s.until("skips", ready)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Version = "1.0.0"
		r.Spec.CRDs = &v1alpha1.CRDsSpec{Install: v1alpha1.CRDsSkip}
	}))
	s.until("app", ready)
	assert.Empty(t, description(), "one release skips them by policy, the other because skipCRDs wins")

	to("1.1.0", v1alpha1.CRDsSpec{Upgrade: v1alpha1.CRDsCreate})
	assert.Equal(t, "second", description(), "it came with the first object of its kind")
	to("1.2.0", v1alpha1.CRDsSpec{Upgrade: v1alpha1.CRDsCreate})
	assert.Equal(t, "second", description(), "what is there stays")
	to("1.3.0", v1alpha1.CRDsSpec{Upgrade: v1alpha1.CRDsCreateReplace})
	assert.Equal(t, "fourth", description())

	app := s.get("app")
	assert.NoError(t, s.Delete(s.ctx, app))
	s.gone(app)
	assert.Equal(t, "fourth", description(), "a definition is never deleted: all objects of its kind would go with it")
}
