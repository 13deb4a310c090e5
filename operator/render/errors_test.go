package render

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// secret stands where values stand: no message may hold it.
const secret = "s3cr3t-v4lue"

func TestAWrongSpecIsNamedByItsField(t *testing.T) {
	t.Parallel()
	all := &v1alpha1.ObjectSelector{}
	kustomize := "spec.postRenderers[0].kustomize."
	for name, c := range map[string]struct {
		renderer v1alpha1.PostRenderer
		mention  string
	}{
		"no renderer":                     {v1alpha1.PostRenderer{}, "spec.postRenderers[0] names no renderer"},
		"no YAML":                         {patch("a: b: "+secret, all), kustomize + "patches[0].patch is not valid YAML"},
		"a separator that is none":        {patch("---"+secret, all), kustomize + "patches[0].patch is not valid YAML"},
		"comments only":                   {patch("# "+secret, all), kustomize + "patches[0].patch is empty"},
		"a text":                          {patch(secret, all), kustomize + "patches[0].patch is neither"},
		"no object named":                 {patch("spec: "+secret, nil), kustomize + "patches[0].patch names no object"},
		"a JSON patch without a target":   {patch("[]", nil), kustomize + "patches[0] is a JSON 6902 patch and needs a target"},
		"a JSON patch that is not alone":  {patch("[]\n---\n[]", all), kustomize + "patches[0].patch holds 2 documents"},
		"two merge patches with a target": {patch("{}\n---\n{}", all), kustomize + "patches[0].patch holds 2 documents"},
		"a list of texts":                 {patch("["+secret+"]", all), kustomize + "patches[0].patch is no JSON 6902 patch"},
		"an unknown operation":            {patch("[{op: "+secret+", path: /a}]", all), kustomize + "patches[0].patch"},
		"no path":                         {patch("[{op: remove}]", all), kustomize + "patches[0].patch"},
		"a path without a slash":          {patch("[{op: remove, path: a}]", all), "operation 0 needs a path"},
		"no value":                        {patch("[{op: remove, path: /a}, {op: add, path: /a}]", all), kustomize + "patches[0].patch"},
		"no from":                         {patch("[{op: move, path: /a}]", all), kustomize + "patches[0].patch"},
		"a kind that is no expression":    {patch("{}", &v1alpha1.ObjectSelector{Kind: "("}), kustomize + "patches[0].target.kind"},
		"labels that are no selector":     {patch("{}", &v1alpha1.ObjectSelector{LabelSelector: "a b"}), kustomize + "patches[0].target.labelSelector"},
		"annotations likewise":            {patch("{}", &v1alpha1.ObjectSelector{AnnotationSelector: "=="}), kustomize + "patches[0].target.annotationSelector"},
		"an image with a tag":             {image(v1alpha1.KustomizeImage{Name: "host:1/a:1", NewTag: "2"}), kustomize + "images[0].name"},
		"an image that changes nothing":   {image(v1alpha1.KustomizeImage{Name: "host:1/a"}), kustomize + "images[0] changes nothing"},
		"an image with a short digest":    {image(v1alpha1.KustomizeImage{Name: "a", Digest: "sha256:00"}), kustomize + "images[0].digest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New("shop", []v1alpha1.PostRenderer{c.renderer}, nil)
			require.ErrorContains(t, err, c.mention)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestMetadataThatCannotBeIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		metadata v1alpha1.CommonMetadata
		mention  string
	}{
		"Helm's own label":      {v1alpha1.CommonMetadata{Labels: map[string]string{"app.kubernetes.io/managed-by": "me"}}, "belongs to Helm"},
		"Helm's own annotation": {v1alpha1.CommonMetadata{Annotations: map[string]string{"meta.helm.sh/release-name": "x"}}, "meta.helm.sh/release-name"},
		"the same as a label":   {v1alpha1.CommonMetadata{Labels: map[string]string{"meta.helm.sh/release-namespace": "x"}}, "belongs to Helm"},
		"a key with a space":    {v1alpha1.CommonMetadata{Annotations: map[string]string{"a b": secret}}, `spec.commonMetadata.annotations: "a b"`},
		"a label in upper case": {v1alpha1.CommonMetadata{Labels: map[string]string{"Example.com/a": secret}}, `spec.commonMetadata.labels: "Example.com/a"`},
		"a value with a space":  {v1alpha1.CommonMetadata{Labels: map[string]string{"a": secret + " b"}}, `spec.commonMetadata.labels: "a" has a value`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New("shop", nil, &c.metadata)
			require.ErrorContains(t, err, c.mention)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestWhatCannotBeRenderedIsNamedWithItsObject(t *testing.T) {
	t.Parallel()
	deployments := &v1alpha1.ObjectSelector{Kind: "Deployment"}
	where := "spec.postRenderers[1].kustomize.patches[0] "
	doubling := ""
	for i := range 40 {
		doubling += fmt.Sprintf("- {op: copy, from: /spec, path: /spec/x%d}\n", i)
	}
	for name, c := range map[string]struct {
		renderer v1alpha1.PostRenderer
		chart    string
		mention  string
	}{
		"a patch for an object that is not there": {
			patch("kind: Deployment\nmetadata: {name: www, namespace: other}\nspec: {a: "+secret+"}", nil), chart,
			where + "is for Deployment other/www, which the chart does not render",
		},
		"not the one in another namespace": {patch("kind: ConfigMap\nmetadata: {name: web}", nil), chart, where + "is for ConfigMap web"},
		"not the one of another version":   {patch("apiVersion: apps/v2\nkind: Deployment\nmetadata: {name: web}", nil), chart, where},
		"a path that is not there": {
			patch("[{op: test, path: /kind, value: Deployment}, {op: replace, path: /spec/"+"x, value: "+secret+"}]", deployments), chart,
			where + "cannot be applied to Deployment web: operation 1 (replace /spec/x) names what the object does not have",
		},
		"an index that is not there": {
			patch("[{op: add, path: /spec/template/spec/containers/9, value: "+secret+"}]", deployments), chart, "has an index",
		},
		"a test that does not hold": {patch("[{op: test, path: /spec/replicas, value: "+secret+"}]", deployments), chart, "operation 0 (test /spec/replicas) does not hold"},
		"a copy that grows without bound": {
			patch(doubling, deployments), chart, "copies more than",
		},
		"what is no object afterwards": {patch("[{op: remove, path: /kind}]", deployments), chart, where + "takes from Deployment web"},
		"what is a list afterwards":    {patch("[{op: add, path: /items, value: []}]", deployments), chart, where + "takes from Deployment web"},
		"a merge of what does not fit": {patch("spec: ["+secret+"]", deployments), chart, where + "cannot be merged into Deployment web"},
		"an image that is a list": {
			image(v1alpha1.KustomizeImage{Name: "a", NewTag: "1"}),
			"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns}\nspec: {containers: [{image: [" + secret + "]}]}",
			"spec.postRenderers[1].kustomize.images[0] cannot be applied to Pod ns/p",
		},
		"a document without a kind":     {patch("{}", deployments), "---\n# Source: web/templates/x.yaml\na: " + secret, "document 1 (web/templates/x.yaml) is no Kubernetes object"},
		"a document that is no YAML":    {patch("{}", deployments), "a: b: " + secret, "is not valid YAML"},
		"a separator that is no such":   {patch("{}", deployments), "a: b\n--- " + secret + "\n", "document 1 ends in a line"},
		"a key that is lost in writing": {patch("{}", deployments), "{apiVersion: v1, kind: A, metadata: {name: b}, data: {\"<<\": " + secret + "}}", "A b holds what reads otherwise"},
		"metadata that is no object":    {patch("{}", deployments), "apiVersion: v1\nkind: Pod\nmetadata: " + secret, "spec.commonMetadata cannot be added"},
		"labels that are no object":     {patch("{}", deployments), "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: " + secret + "}", "its labels are no object"},
		"an object without a metadata":  {patch("{}", deployments), "apiVersion: v1\nkind: Pod", "it has no metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := New("shop", []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{}}, c.renderer}, &v1alpha1.CommonMetadata{Labels: map[string]string{"a": "b"}})
			require.NoError(t, err)
			_, err = r.Render([]byte(c.chart))
			require.ErrorContains(t, err, c.mention)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}
