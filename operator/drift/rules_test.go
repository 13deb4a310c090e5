package drift

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestWhatMayDifferIsNeitherReportedNorPatched(t *testing.T) {
	t.Parallel()
	live := object(t, `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  managedFields:
    - {manager: kubectl, operation: Update, fieldsV1: {"f:metadata": {"f:labels": {"f:app": {}}}}}
    - {manager: hpa, operation: Update, subresource: scale, fieldsV1: {"f:spec": {"f:replicas": {}}}}
spec:
  replicas: 9
  template:
    spec:
      containers:
        - {name: injected, image: "mesh:1"}
        - {name: web, image: "web:2", args: [other], env: [{name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:2"}
`)
	rules, err := ParseRules([]v1alpha1.DriftIgnoreRule{
		{Paths: []string{"/spec/template/spec/containers/0/image", "/spec/not/there", "/spec/template/spec/containers/7/image"}},
		{Paths: []string{"/metadata/labels/app"}, Target: &v1alpha1.ObjectSelector{
			Group: "apps", Version: "v1", Kind: "Deployment", Name: "web", Namespace: "shop", LabelSelector: "app=web",
		}},
		{Paths: []string{"/spec/template/spec/containers/0/args"}, Target: &v1alpha1.ObjectSelector{Kind: "StatefulSet"}},
		{Paths: []string{""}, Target: &v1alpha1.ObjectSelector{AnnotationSelector: "none=such"}},
	})
	require.NoError(t, err)
	comparer := Comparer{Rules: rules}
	cluster := &fakeCluster{live: live}

	finding, err := comparer.Compare(t.Context(), cluster, object(t, web))

	require.NoError(t, err)
	assert.Equal(t, []Difference{
		{Path: "/spec/template/spec/containers/0/args"},
		{Path: "/spec/template/spec/containers/1/image", Want: `"side:1"`, Have: `"side:2"`},
	}, finding.Differences)
	require.NoError(t, comparer.Correct(t.Context(), cluster, finding))
	replicas, _, err := unstructured.NestedInt64(cluster.live.Object, "spec", "replicas")
	require.NoError(t, err)
	assert.EqualValues(t, 9, replicas, "what an autoscaler set stays")
	containers, _, err := unstructured.NestedSlice(cluster.live.Object, "spec", "template", "spec", "containers")
	require.NoError(t, err)
	var images []string
	for _, container := range containers {
		fields, isMap := container.(map[string]any)
		require.True(t, isMap)
		images = append(images, fmt.Sprint(fields["name"], " ", fields["image"]))
	}
	assert.ElementsMatch(t, []string{"injected mesh:1", "web web:2", "side side:1"}, images)
	assert.Empty(t, cluster.live.GetLabels(), "a label that may differ is not put back")
}

func TestEveryFieldOfATargetMustMatch(t *testing.T) {
	t.Parallel()
	live := object(t, web)
	live.SetLabels(map[string]string{"app": "other"})
	for selects, target := range map[bool][]v1alpha1.ObjectSelector{
		true: {
			{Group: "apps"}, {Version: "v1"}, {Kind: "Deployment"}, {Name: "web"}, {Namespace: "shop"}, {LabelSelector: "app=web"},
			{AnnotationSelector: "!team"},
		},
		false: {
			{Group: "batch"}, {Version: "v2"}, {Kind: "StatefulSet"}, {Name: "we"}, {Namespace: "other"}, {LabelSelector: "app=other"},
			{AnnotationSelector: "team"}, {Group: "apps", Name: "we"},
		},
	} {
		for _, target := range target {
			rules, err := ParseRules([]v1alpha1.DriftIgnoreRule{{Paths: []string{"/metadata/labels"}, Target: &target}})
			require.NoError(t, err)
			comparer := Comparer{Rules: rules}
			finding, err := comparer.Compare(t.Context(), &fakeCluster{live: live.DeepCopy()}, object(t, web))
			require.NoError(t, err)
			assert.Equal(t, selects, len(finding.Differences) == 0, "%+v: %v", target, finding.Differences)
		}
	}
}

func TestARuleForAllMetadataLeavesTheBookkeepingOfTheServerAlone(t *testing.T) {
	t.Parallel()
	rules, err := ParseRules([]v1alpha1.DriftIgnoreRule{{Paths: []string{"/metadata"}}})
	require.NoError(t, err)
	cluster := &fakeCluster{live: object(t, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: web
  uid: x
  resourceVersion: "5"
  managedFields: [{manager: kubectl, operation: Update, fieldsV1: {"f:data": {}}}]
data: {a: b}
`)}

	finding, err := Comparer{Rules: rules}.Compare(t.Context(), cluster,
		object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, labels: {app: web}}\ndata: {a: b}"))

	require.NoError(t, err)
	assert.Empty(t, finding.State)
	assert.Equal(t, []string{"get"}, cluster.calls)
}

func TestObjectsThatAreLeftAlone(t *testing.T) {
	t.Parallel()
	plain := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, labels: {app: web}}\ndata: {a: b}"
	off := "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n" +
		"metadata: {name: web, annotations: {helm-operator.ketches.cn/drift-detection: disabled}}"
	changed := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: c}"
	tests := map[string]struct {
		object, live string
		rule         string // label selector of a rule for whole objects
		calls        []string
	}{
		"a hook":               {"apiVersion: v1\nkind: Pod\nmetadata: {name: web, annotations: {helm.sh/hook: test}}", "", "", nil},
		"one to keep":          {"apiVersion: v1\nkind: Pod\nmetadata: {name: web, annotations: {helm.sh/resource-policy: keep}}", "", "", nil},
		"one switched off":     {off, changed, "", nil},
		"switched off by hand": {plain, off + "\nother: {}", "", []string{"get"}},
		"ignored as a whole":   {plain, changed, "app in (web)", nil},
		"a Job whose time was over": {
			"apiVersion: batch/v1\nkind: Job\nmetadata: {name: web}\nspec: {ttlSecondsAfterFinished: 5}", "", "", []string{"get"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, comparer := &fakeCluster{}, Comparer{}
			if test.live != "" {
				cluster.live = object(t, test.live)
			}
			if test.rule != "" {
				rules, err := ParseRules([]v1alpha1.DriftIgnoreRule{
					{Paths: []string{""}, Target: &v1alpha1.ObjectSelector{LabelSelector: test.rule}},
				})
				require.NoError(t, err)
				comparer.Rules = rules
			}

			finding, err := comparer.Compare(t.Context(), cluster, object(t, test.object))

			require.NoError(t, err)
			assert.Empty(t, finding.State)
			assert.Equal(t, test.calls, cluster.calls)
		})
	}
}

func TestIgnoreRulesThatAreWrongNameTheField(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rule v1alpha1.DriftIgnoreRule
		want string
	}{
		"a path without a slash": {
			v1alpha1.DriftIgnoreRule{Paths: []string{"/a", "spec.replicas"}},
			`ignore[1].paths[1]: "spec.replicas" is not a JSON pointer: it must be empty or begin with a slash, such as /spec/replicas`,
		},
		"a label selector": {
			v1alpha1.DriftIgnoreRule{Target: &v1alpha1.ObjectSelector{LabelSelector: "=="}},
			`ignore[1].target.labelSelector: "==" is not a label selector, such as app=web`,
		},
		"an annotation selector": {
			v1alpha1.DriftIgnoreRule{Target: &v1alpha1.ObjectSelector{AnnotationSelector: "a in"}},
			`ignore[1].target.annotationSelector: "a in" is not a selector, such as key=value`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseRules([]v1alpha1.DriftIgnoreRule{{Paths: []string{""}}, test.rule})
			require.EqualError(t, err, test.want)
		})
	}
}
