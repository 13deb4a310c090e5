package render

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// chart is what Helm renders of a small chart.
const chart = `---
# Source: web/templates/secret.yaml
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {password: hunter2}
---
# Source: web/templates/service.yaml
apiVersion: v1
kind: Service # with a comment
metadata:
  name: web
  labels: {app: web, tier: front}
  annotations: {team: shop}
spec:
  selector: {app: web}
  ports:
    - {port: 80, name: http}
    - {port: 443, name: https}
---
# Source: web/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers:
        - {name: init, image: "registry.example.com/tools/init@sha256:0000"}
      containers:
        - name: web
          image: registry.example.com:5000/web:1.0
          env: [{name: A, value: "yes"}, {name: B, value: "0644"}]
        - {name: sidecar, image: sidecar}
      volumes:
        - name: model
          image: {reference: "models/small:3"}
---
# Source: web/templates/elsewhere.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: other}
data: {a: b}
---
# Source: web/templates/role.yaml
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: web}
rules: []
`

// patch returns a post-renderer with one patch.
func patch(text string, target *v1alpha1.ObjectSelector) v1alpha1.PostRenderer {
	return v1alpha1.PostRenderer{Kustomize: &v1alpha1.Kustomize{Patches: []v1alpha1.KustomizePatch{{Patch: text, Target: target}}}}
}

// image returns a post-renderer with one image.
func image(i v1alpha1.KustomizeImage) v1alpha1.PostRenderer {
	return v1alpha1.PostRenderer{Kustomize: &v1alpha1.Kustomize{Images: []v1alpha1.KustomizeImage{i}}}
}

// render changes manifests in namespace shop, which must succeed.
func render(t *testing.T, manifests string, metadata *v1alpha1.CommonMetadata, renderers ...v1alpha1.PostRenderer) string {
	t.Helper()
	r, err := New("shop", renderers, metadata)
	require.NoError(t, err)
	out, err := r.Render([]byte(manifests))
	require.NoError(t, err)
	return string(out)
}

// fromTemplate returns the document of a template.
func fromTemplate(t *testing.T, manifests, template string) string {
	t.Helper()
	_, rest, found := strings.Cut(manifests, "# Source: web/templates/"+template+"\n")
	require.True(t, found, template)
	text, _, _ := strings.Cut(rest, "---\n")
	return text
}

// someDigest is the digest of an image.
const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestPatchesAndImagesChangeWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	replicas := "[{op: replace, path: /spec/replicas, value: 5}]"
	for name, c := range map[string]struct {
		renderers []v1alpha1.PostRenderer
		template  string
		old, new  string // replaced in the template, once both are normalised; an empty new means that nothing changes
	}{
		"a strategic merge patch names its object": {
			[]v1alpha1.PostRenderer{patch("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 5}", nil)},
			"deployment.yaml", "replicas: 2", "replicas: 5",
		},
		"its apiVersion may be left out": {
			[]v1alpha1.PostRenderer{patch("kind: Deployment\nmetadata: {name: web}\nspec: {replicas: 5}", nil)},
			"deployment.yaml", "replicas: 2", "replicas: 5",
		},
		"it may name the namespace": {
			[]v1alpha1.PostRenderer{patch("kind: ConfigMap\nmetadata: {name: web, namespace: other}\ndata: {a: c}", nil)},
			"elsewhere.yaml", "a: b", "a: c",
		},
		"it may name the namespace that the chart leaves out": {
			[]v1alpha1.PostRenderer{patch("kind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {replicas: 5}", nil)},
			"deployment.yaml", "replicas: 2", "replicas: 5",
		},
		"it may be for an object that is in no namespace": {
			[]v1alpha1.PostRenderer{patch("kind: ClusterRole\nmetadata: {name: web}\naggregationRule: {}", nil)},
			"role.yaml", "rules: []", "rules: []\naggregationRule: {}",
		},
		"it merges lists of containers by their name": {
			[]v1alpha1.PostRenderer{patch("kind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: web}, {name: sidecar, image: other}]}}}", nil)},
			"deployment.yaml", "image: sidecar", "image: other",
		},
		"it deletes a field by null": {
			[]v1alpha1.PostRenderer{patch("kind: Deployment\nmetadata: {name: web}\nspec: {replicas: null}", nil)},
			"deployment.yaml", "  replicas: 2\n", "  \n",
		},
		"it deletes an entry of a list by a directive": {
			[]v1alpha1.PostRenderer{patch("kind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: sidecar, $patch: delete}]}}}", nil)},
			"deployment.yaml", "        - {name: sidecar, image: sidecar}\n", "\n",
		},
		"with a target it needs no name, and does not rename": {
			[]v1alpha1.PostRenderer{patch("kind: Other\nmetadata: {name: not-used, namespace: not-used}\nspec: {replicas: 5}", &v1alpha1.ObjectSelector{Kind: "Deployment"})},
			"deployment.yaml", "replicas: 2", "replicas: 5",
		},
		"a null for the metadata takes no name away": {
			[]v1alpha1.PostRenderer{patch("metadata: null\nspec: {replicas: 5}", &v1alpha1.ObjectSelector{Kind: "Deployment"})},
			"deployment.yaml", "replicas: 2", "replicas: 5",
		},
		"a JSON 6902 patch in YAML": {
			[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Kind: "Deployment"})},
			"deployment.yaml", "replicas: 2", "replicas: 5",
		},
		"a JSON 6902 patch in JSON": {
			[]v1alpha1.PostRenderer{patch(`[{"op":"remove","path":"/spec/ports/1"}]`, &v1alpha1.ObjectSelector{Kind: "Service"})},
			"service.yaml", "    - {port: 443, name: https}\n", "\n",
		},
		"a JSON 6902 patch may rename": {
			[]v1alpha1.PostRenderer{patch("[{op: replace, path: /metadata/name, value: www}]", &v1alpha1.ObjectSelector{Kind: "Service"})},
			"service.yaml", "name: web\n", "name: www\n",
		},
		"the group selects":          {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Group: "apps"})}, "deployment.yaml", "replicas: 2", "replicas: 5"},
		"another group does not":     {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Group: "app"})}, "deployment.yaml", "", ""},
		"another version does not":   {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Version: "v1beta1"})}, "deployment.yaml", "", ""},
		"another kind does not":      {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Kind: "StatefulSet"})}, "deployment.yaml", "", ""},
		"another name does not":      {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Name: "we"})}, "deployment.yaml", "", ""},
		"another namespace does not": {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Namespace: "default"})}, "deployment.yaml", "", ""},
		"other labels do not":        {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Kind: "Deployment", LabelSelector: "app!=web"})}, "deployment.yaml", "", ""},
		"other annotations do not":   {[]v1alpha1.PostRenderer{patch(replicas, &v1alpha1.ObjectSelector{Kind: "Deployment", AnnotationSelector: "team"})}, "deployment.yaml", "", ""},
		"all of a target together select": {
			[]v1alpha1.PostRenderer{patch("spec: {type: NodePort}", &v1alpha1.ObjectSelector{
				Version: "v.*", Kind: "Serv.*", Name: "w.b", Namespace: "shop|other", LabelSelector: "app=web,tier in (front)", AnnotationSelector: "team=shop",
			})},
			"service.yaml", "spec:\n", "spec:\n  type: NodePort\n",
		},
		"post-renderers work in order": {
			[]v1alpha1.PostRenderer{
				patch(replicas, &v1alpha1.ObjectSelector{Kind: "Deployment"}),
				patch("[{op: test, path: /spec/replicas, value: 5}, {op: replace, path: /spec/replicas, value: 6}]", &v1alpha1.ObjectSelector{Kind: "Deployment"}),
			},
			"deployment.yaml", "replicas: 2", "replicas: 6",
		},
		"the tag of an image": {
			[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "registry.example.com:5000/web", NewTag: "2.0"})},
			"deployment.yaml", "5000/web:1.0", "5000/web:2.0",
		},
		"the name of an image": {
			[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "registry.example.com:5000/web", NewName: "mirror/web"})},
			"deployment.yaml", "registry.example.com:5000/web:1.0", "mirror/web:1.0",
		},
		"the digest of an image instead of its tag": {
			[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "registry.example.com:5000/web", Digest: someDigest})},
			"deployment.yaml", "5000/web:1.0", "5000/web@" + someDigest,
		},
		"an image without a tag":     {[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "sidecar", NewTag: "3"})}, "deployment.yaml", "image: sidecar", "image: sidecar:3"},
		"an image of init":           {[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "registry.example.com/tools/init", NewTag: "3"})}, "deployment.yaml", "init@sha256:0000", "init:3"},
		"an image that is a volume":  {[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "models/small", NewTag: "4"})}, "deployment.yaml", "models/small:3", "models/small:4"},
		"a dot in a name is a dot":   {[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "s.decar", NewTag: "3"})}, "deployment.yaml", "", ""},
		"an image that is not there": {[]v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "(", NewTag: "3"})}, "deployment.yaml", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := render(t, chart, nil, c.renderers...)
			if c.new == "" {
				assert.Equal(t, chart, out)
				return
			}
			before := fromTemplate(t, chart, c.template)
			require.Contains(t, before, c.old)
			assert.YAMLEq(t, strings.Replace(before, c.old, c.new, 1), fromTemplate(t, out, c.template))
			for _, other := range []string{"secret.yaml", "service.yaml", "deployment.yaml", "elsewhere.yaml", "role.yaml"} {
				if other != c.template {
					assert.Equal(t, fromTemplate(t, chart, other), fromTemplate(t, out, other), "what nothing is for stays as it is")
				}
			}
		})
	}
}

func TestPatchesComeBeforeImagesOfTheSamePostRenderer(t *testing.T) {
	t.Parallel()
	out := render(t, chart, nil, v1alpha1.PostRenderer{Kustomize: &v1alpha1.Kustomize{
		Images: []v1alpha1.KustomizeImage{{Name: "other", NewTag: "7"}},
		Patches: []v1alpha1.KustomizePatch{{
			Patch:  "[{op: replace, path: /spec/template/spec/containers/1/image, value: other}]",
			Target: &v1alpha1.ObjectSelector{Kind: "Deployment"},
		}},
	}})
	assert.Contains(t, out, "image: other:7")
}

func TestAPatchMayHoldSeveralObjectsAndDeleteOne(t *testing.T) {
	t.Parallel()
	out := render(t, chart, nil, patch(`# first
---
kind: Deployment
metadata: {name: web}
spec: {replicas: 5}
---
$patch: delete
kind: Secret
metadata: {name: web}
`, nil))
	assert.Contains(t, out, "replicas: 5")
	assert.NotContains(t, out, "hunter2")
	assert.NotContains(t, out, "secret.yaml")
}

func TestAListIsPatchedObjectByObject(t *testing.T) {
	t.Parallel()
	out := render(t, `---
# Source: web/templates/list.yaml
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}
`, nil, patch("data: {k: v}", &v1alpha1.ObjectSelector{Name: "b"}))
	assert.Equal(t, `---
# Source: web/templates/list.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
---
# Source: web/templates/list.yaml
apiVersion: v1
data:
  k: v
kind: ConfigMap
metadata:
  name: b
`, out)
}

func TestCommonMetadataIsOnEveryObjectAndWinsOverTheChart(t *testing.T) {
	t.Parallel()
	out := render(t, chart, &v1alpha1.CommonMetadata{
		Labels: map[string]string{"tier": "back", "owner": "yes"}, Annotations: map[string]string{"Example.com/Note": "one: two"},
	}, patch("metadata: {labels: {owner: patch}}", &v1alpha1.ObjectSelector{}))
	count := 0
	for _, text := range strings.Split(out, "---\n")[1:] {
		var object struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     struct {
				Selector any
				Template struct {
					Metadata struct{ Labels, Annotations map[string]string }
				}
			}
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &object))
		assert.Equal(t, "back", object.Metadata.Labels["tier"], text)
		assert.Equal(t, "yes", object.Metadata.Labels["owner"], "after the post-renderers")
		assert.Equal(t, "one: two", object.Metadata.Annotations["Example.com/Note"])
		assert.NotContains(t, object.Spec.Template.Metadata.Labels, "owner")
		assert.Empty(t, object.Spec.Template.Metadata.Annotations)
		count++
	}
	assert.Equal(t, 5, count)
	assert.Contains(t, fromTemplate(t, out, "service.yaml"), "app: web", "what the chart has besides stays")
	assert.Contains(t, fromTemplate(t, out, "service.yaml"), "team: shop")
	assert.Contains(t, fromTemplate(t, out, "deployment.yaml"), "value: \"yes\"", "texts stay texts")
	assert.Contains(t, fromTemplate(t, out, "deployment.yaml"), "value: \"0644\"")
}

func TestValuesKeepTheirTypes(t *testing.T) {
	t.Parallel()
	const manifest = `
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {"yes": "no", plain: "1e3", octal: "0o7", date: "2020-01-01", time: "1:20", nothing: "null", merge: "<<", line: "a\r\n b \n", bell: "\u0007\u007f\u0085\ufffe"}
binary: {octal: 0644, yes: yes, big: 9007199254740993, float: 1.5e300, small: -0.25, none: null, empty: {}, list: []}
`
	out := render(t, manifest, nil, patch("data: {added: here}", &v1alpha1.ObjectSelector{}))
	var before, after map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(manifest), &before))
	require.NoError(t, yaml.Unmarshal([]byte(out), &after))
	data, ok := after["data"].(map[string]any)
	require.True(t, ok)
	assert.Equal(t, "here", data["added"])
	delete(data, "added")
	assert.Equal(t, before, after)
	assert.Contains(t, out, "9007199254740993")
}

func TestNothingAskedForIsNoRenderer(t *testing.T) {
	t.Parallel()
	r, err := New("shop", []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{}}}, &v1alpha1.CommonMetadata{})
	require.NoError(t, err)
	assert.Nil(t, r)
	assert.Empty(t, r.Digest())
	out, err := r.Render([]byte(chart))
	require.NoError(t, err)
	assert.Equal(t, chart, string(out))
}

func TestTheDigestCoversAllOfTheSpec(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	selector := v1alpha1.ObjectSelector{Kind: "A"}
	for name, c := range map[string]struct {
		renderers []v1alpha1.PostRenderer
		metadata  *v1alpha1.CommonMetadata
	}{
		"patch":       {renderers: []v1alpha1.PostRenderer{patch("a: b", &v1alpha1.ObjectSelector{})}},
		"other patch": {renderers: []v1alpha1.PostRenderer{patch("a: c", &v1alpha1.ObjectSelector{})}},
		"target":      {renderers: []v1alpha1.PostRenderer{patch("a: b", &selector)}},
		"twice":       {renderers: []v1alpha1.PostRenderer{patch("a: b", &selector), patch("a: b", &selector)}},
		"image":       {renderers: []v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "a", NewTag: "1"})}},
		"name":        {renderers: []v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "a", NewName: "1"})}},
		"digest":      {renderers: []v1alpha1.PostRenderer{image(v1alpha1.KustomizeImage{Name: "a", Digest: someDigest})}},
		"label":       {metadata: &v1alpha1.CommonMetadata{Labels: map[string]string{"a": "b", "c": "d"}}},
		"annotation":  {metadata: &v1alpha1.CommonMetadata{Annotations: map[string]string{"a": "b", "c": "d"}}},
	} {
		r, err := New("shop", c.renderers, c.metadata)
		require.NoError(t, err, name)
		again, err := New("elsewhere", c.renderers, c.metadata)
		require.NoError(t, err, name)
		assert.Equal(t, r.Digest(), again.Digest(), name)
		assert.Empty(t, seen[r.Digest()], "%s has the digest of another", name)
		seen[r.Digest()] = name
	}
}

func TestOneRendererWorksForSeveralReleasesAtOnce(t *testing.T) {
	t.Parallel()
	r, err := New("shop", []v1alpha1.PostRenderer{
		patch("spec: {template: {spec: {containers: [{name: web, env: [{name: C, value: c}]}]}}}", &v1alpha1.ObjectSelector{Kind: "Deployment"}),
		image(v1alpha1.KustomizeImage{Name: "sidecar", NewTag: "3"}),
	}, &v1alpha1.CommonMetadata{Labels: map[string]string{"a": "b"}})
	require.NoError(t, err)
	want, err := r.Render([]byte(chart))
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			out, err := r.Render([]byte(chart))
			assert.NoError(t, err)
			assert.Equal(t, string(want), string(out))
		})
	}
	all.Wait()
}
