package helm

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// definition is a CustomResourceDefinition of a group of its own, with a description that tells which one it is.
func definition(group, description string) string {
	return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.` + group + `}
spec:
  group: ` + group + `
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, description: ` + description + `, x-kubernetes-preserve-unknown-fields: true}}
`
}

func TestDefinitionsAreTreatedByPolicy(t *testing.T) {
	f := newFixture(t)
	group := f.namespace + ".example.com"
	chart := func(version, description string, withObject bool) []byte {
		files := chartFiles{"crds/widget.yaml": definition(group, description), "templates/config.yaml": configMap}
		if withObject {
			files["templates/widget.yaml"] = "apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: one}\n"
		}
		return tarball(t, "widgets", version, files)
	}
	own, err := f.helm.who.get("")
	require.NoError(t, err)
	client, err := dynamic.NewForConfig(own.rest)
	require.NoError(t, err)
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	t.Cleanup(func() { _ = definitions.Delete(t.Context(), "widgets."+group, metav1.DeleteOptions{}) })
	description := func() string {
		object, err := definitions.Get(t.Context(), "widgets."+group, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		versions, _, err := unstructured.NestedSlice(object.Object, "spec", "versions")
		require.NoError(t, err)
		version, ok := versions[0].(map[string]any)
		require.True(t, ok)
		found, _, err := unstructured.NestedString(version, "schema", "openAPIV3Schema", "description")
		require.NoError(t, err)
		return found
	}

	_, err = f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart("1.0.0", "first", false), CRDs: CRDsSkip}})
	require.NoError(t, err)
	assert.Empty(t, description(), "they are left out")

	upgrade := func(operation string, chart []byte, policy CRDPolicy) {
		t.Helper()
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
			Target: f.target("web", operation), ChartSource: ChartSource{Chart: chart, CRDs: policy}, Waiting: Waiting{Wait: true, Timeout: time.Minute},
		})
		require.NoError(t, err)
	}
	upgrade("2", chart("1.1.0", "first", false), "")
	assert.Empty(t, description(), "as Helm does")
	upgrade("3", chart("1.2.0", "first", true), CRDsCreate)
	assert.Equal(t, "first", description(), "an object of the new kind came with it")
	upgrade("4", chart("1.3.0", "second", true), CRDsCreate)
	assert.Equal(t, "first", description(), "what is there stays")

	_, err = definitions.Patch(t.Context(), "widgets."+group, "application/merge-patch+json",
		[]byte(`{"metadata":{"labels":{"others":"label"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	upgrade("5", chart("1.4.0", "third", true), CRDsCreateReplace)
	assert.Equal(t, "third", description())
	object, err := definitions.Get(t.Context(), "widgets."+group, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "label", object.GetLabels()["others"], "what others added stays")
	found, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "6"), Timeout: time.Minute})
	require.NoError(t, err)
	require.True(t, found)
	assert.Equal(t, "third", description(), "they are never deleted")

	_, err = f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "7"), ChartSource: ChartSource{Chart: chart("1.5.0", "fourth", true), CRDs: CRDsCreateReplace}})
	require.NoError(t, err)
	assert.Equal(t, "fourth", description())
}

func TestAKindThatSomebodyElseAddedIsFound(t *testing.T) {
	f := newFixture(t)
	group := f.namespace + ".example.com"
	f.install("first", "1", simpleChart(t, "1.0.0"), nil) // what kinds there are is known now
	own, err := f.helm.who.get("")
	require.NoError(t, err)
	client, err := dynamic.NewForConfig(own.rest)
	require.NoError(t, err)
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err = definitions.Apply(t.Context(), "widgets."+group, parsed(t, definition(group, "by hand")), metav1.ApplyOptions{FieldManager: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = definitions.Delete(t.Context(), "widgets."+group, metav1.DeleteOptions{}) })
	widgets := client.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: "widgets"}).Namespace(f.namespace)
	f.eventually("the kind is served", func(ctx context.Context) bool {
		_, err := widgets.List(ctx, metav1.ListOptions{})
		return err == nil
	})

	chart := tarball(t, "user", "1.0.0", chartFiles{"templates/widget.yaml": "apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: one}\n"})
	f.install("second", "2", chart, nil)
	_, err = widgets.Get(t.Context(), "one", metav1.GetOptions{})
	require.NoError(t, err)
}

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &object))
	return &unstructured.Unstructured{Object: object}
}

// Charts of definitions keep them among their templates, and those that use them look at .Capabilities: what is left out then is never
// made later.
func TestWhatAChartDefinesInItsTemplatesIsKnownToTheNextOne(t *testing.T) {
	f := newFixture(t)
	group := f.namespace + ".example.com"
	f.install("first", "1", simpleChart(t, "1.0.0"), nil) // what the cluster can do is known now
	f.install("definitions", "2", tarball(t, "definitions", "1.0.0", chartFiles{"templates/widgets.yaml": definition(group, "first")}), nil)
	f.eventually("the kind is served", func(context.Context) bool {
		_, err := f.kube.Discovery().ServerResourcesForGroupVersion(group + "/v1")
		return err == nil
	})
	chart := tarball(t, "user", "1.0.0", chartFiles{
		"templates/config.yaml": "{{ if .Capabilities.APIVersions.Has \"" + group + "/v1/Widget\" }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: found}\ndata: {text: \"yes\"}\n{{ end }}\n",
	})
	f.install("user", "3", chart, nil)
	assert.Equal(t, "yes", f.data("found")["text"])
}
