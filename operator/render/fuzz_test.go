package render

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Whatever a chart renders to and whatever a spec asks for, nothing panics, and what comes out can be read again and
// is what was there when it is read by a renderer that finds nothing more to do.
func FuzzRenderedManifestsCanBeReadAgain(f *testing.F) {
	f.Add(chart, "kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 5}", false, "", "sidecar")
	f.Add(chart, "[{op: copy, from: /metadata, path: /metadata/labels}]", true, "web", "registry.example.com:5000/web")
	f.Add(chart, "$patch: delete", true, ".*", "a")
	f.Add("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: A, metadata: {name: &a x, labels: {b: *a}}}]", "data: {<<: 1}", true, "x", "b")
	f.Add("{\"apiVersion\":\"v1\",\"kind\":\"A\",\"metadata\":{}}\n--- # more\n...\n", "[{op: add, path: \"\", value: {}}]", true, "", "c")
	f.Fuzz(func(t *testing.T, manifests, patchText string, withTarget bool, name, imageName string) {
		var selected *v1alpha1.ObjectSelector
		if withTarget {
			selected = &v1alpha1.ObjectSelector{Name: name}
		}
		r, err := New("shop", []v1alpha1.PostRenderer{
			patch(patchText, selected), image(v1alpha1.KustomizeImage{Name: imageName, NewTag: "1"}),
		}, &v1alpha1.CommonMetadata{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}})
		if err != nil {
			return
		}
		out, err := r.Render([]byte(manifests))
		if err != nil {
			return
		}
		again, err := New("shop", nil, &v1alpha1.CommonMetadata{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}})
		require.NoError(t, err)
		twice, err := again.Render(out)
		require.NoError(t, err, "what came out cannot be read: %q", out)
		require.Equal(t, string(out), string(twice))
	})
}
