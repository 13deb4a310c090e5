package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// fakeCluster holds one object and merges patches into it, with no defaults and no other spellings.
type fakeCluster struct {
	live    *unstructured.Unstructured
	calls   []string
	refuses error // of patches
	broken  error // of reads
}

func (c *fakeCluster) Get(context.Context, string, metav1.GetOptions, ...string) (*unstructured.Unstructured, error) {
	c.calls = append(c.calls, "get")
	switch {
	case c.broken != nil:
		return nil, c.broken
	case c.live == nil:
		return nil, apierrors.NewNotFound(schema.GroupResource{}, "web")
	}
	return c.live.DeepCopy(), nil
}

func (c *fakeCluster) Create(
	_ context.Context, object *unstructured.Unstructured, _ metav1.CreateOptions, _ ...string,
) (*unstructured.Unstructured, error) {
	c.calls = append(c.calls, "create")
	c.live = object.DeepCopy()
	return object, nil
}

func (c *fakeCluster) Patch(
	_ context.Context, _ string, kind types.PatchType, patch []byte, options metav1.PatchOptions, _ ...string,
) (*unstructured.Unstructured, error) {
	call := "patch"
	if len(options.DryRun) > 0 {
		call = "dry run"
	}
	c.calls = append(c.calls, call)
	if c.refuses != nil {
		return nil, c.refuses
	}
	before, err := json.Marshal(c.live.Object)
	if err != nil {
		return nil, err
	}
	if kind != types.StrategicMergePatchType {
		return nil, errors.New("only built-in kinds are known here")
	}
	typed, err := scheme.Scheme.New(c.live.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, typed)
	if err != nil {
		return nil, err
	}
	patched := &unstructured.Unstructured{}
	if err := patched.UnmarshalJSON(after); err != nil {
		return nil, err
	}
	if len(options.DryRun) == 0 {
		c.live = patched
	}
	return patched, nil
}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	out := &unstructured.Unstructured{}
	require.NoError(t, out.UnmarshalJSON(raw))
	return out
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: web, image: "web:1", args: [one, two], env: [{name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:1"}
`

func TestOnlyFieldsOfTheManifestAreCompared(t *testing.T) {
	t.Parallel()
	at := func(path, want, have string) []Difference { return []Difference{{Path: path, Want: want, Have: have}} }
	tests := map[string]struct {
		live string
		want []Difference
	}{
		"an equal object": {web, nil},
		"fields, labels and status of others": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, uid: x, generation: 4, labels: {app: web, team: a}, annotations: {a: b}}
spec:
  replicas: 2
  paused: true
  template:
    spec:
      dnsPolicy: Default
      containers:
        - {name: web, image: "web:1", args: [one, two], tty: true, env: [{name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:1"}
status: {replicas: 7}
`, nil},
		"items of others": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: injected, image: "mesh:1"}
        - {name: web, image: "web:1", args: [one, two], env: [{name: C, value: c}, {name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:1"}
`, nil},
		"a number": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 5
  template:
    spec:
      containers:
        - {name: web, image: "web:1", args: [one, two], env: [{name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:1"}
`, at("/spec/replicas", "2", "5")},
		"a label that is gone": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: web, image: "web:1", args: [one, two], env: [{name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:1"}
`, at("/metadata/labels", "", "")},
		"items that moved, of which one changed": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: injected, image: "mesh:1"}
        - {name: web, image: "web:2", args: [one, two], env: [{name: A, value: a}, {name: B, value: other}]}
        - {name: side, image: "side:1"}
`, []Difference{
			{Path: "/spec/template/spec/containers/0/env/1/value"},
			{Path: "/spec/template/spec/containers/0/image", Want: `"web:1"`, Have: `"web:2"`},
		}},
		"a list without keys": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: web, image: "web:1", args: [one], env: [{name: A, value: a}, {name: B, value: b}]}
        - {name: side, image: "side:1"}
`, at("/spec/template/spec/containers/0/args", "", "")},
		"an item that is gone": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - {name: web, image: "web:1", args: [one, two], env: [{name: A, value: a}, {name: B, value: b}]}
`, at("/spec/template/spec/containers/1", "", "")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := &fakeCluster{live: object(t, test.live)}
			comparer := Comparer{Manager: "test"}

			finding, err := comparer.Compare(t.Context(), cluster, object(t, web))

			require.NoError(t, err)
			assert.Equal(t, test.want, finding.Differences)
			assert.Equal(t, "Deployment shop/web", finding.Object.String())
			if test.want == nil {
				assert.Empty(t, finding.State)
				if name != "items of others" { // the order of lists is tried
					assert.Equal(t, []string{"get"}, cluster.calls, "nothing is tried when there is nothing to patch")
				}
				return
			}
			assert.Equal(t, v1alpha1.DriftChanged, finding.State)
			assert.Equal(t, []string{"get", "dry run"}, cluster.calls)

			require.NoError(t, comparer.Correct(t.Context(), cluster, finding))
			again, err := comparer.Compare(t.Context(), cluster, object(t, web))
			require.NoError(t, err)
			assert.Empty(t, again.State, "what was corrected differs no more: %v", again.Differences)
		})
	}
}

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

func TestAnObjectThatIsGoneIsMadeAgainAndOneThatGoesIsWaitedFor(t *testing.T) {
	t.Parallel()
	want := object(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}")
	cluster := &fakeCluster{}

	finding, err := Comparer{}.Compare(t.Context(), cluster, want)
	require.NoError(t, err)
	assert.Equal(t, v1alpha1.DriftMissing, finding.State)
	require.NoError(t, Comparer{}.Correct(t.Context(), cluster, finding))
	assert.Equal(t, want, cluster.live)

	now := metav1.Now()
	cluster.live.SetDeletionTimestamp(&now)
	cluster.calls = nil
	finding, err = Comparer{}.Compare(t.Context(), cluster, want)
	require.NoError(t, err)
	assert.Equal(t, v1alpha1.DriftDeleting, finding.State)
	require.NoError(t, Comparer{}.Correct(t.Context(), cluster, finding))
	assert.Equal(t, []string{"get"}, cluster.calls)
}

func TestValuesOfSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	want := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: web}, stringData: {key: hunter2}, data: {other: YQ==}}`)
	equal := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: web}, data: {key: aHVudGVyMg==, other: YQ==, third: YQ==}}`)
	cluster := &fakeCluster{live: equal}
	finding, err := Comparer{}.Compare(t.Context(), cluster, want)
	require.NoError(t, err)
	assert.Empty(t, finding.Differences)
	assert.Equal(t, []string{"get"}, cluster.calls, "stringData is compared with what is stored")

	cluster.live = object(t, `{apiVersion: v1, kind: Secret, metadata: {name: web}, data: {key: b3RoZXI=}}`)
	finding, err = Comparer{}.Compare(t.Context(), cluster, want)
	require.NoError(t, err)
	assert.Equal(t, []Difference{{Path: "/data/key"}, {Path: "/data/other"}}, finding.Differences)

	d := differ{}
	d.report("/data/password", "hunter2", "other")
	d.report("/spec/containers/0/env/3/value", "hunter2", "other")
	assert.Equal(t, []Difference{{Path: "/data/password"}, {Path: "/spec/containers/0/env/3/value"}}, d.found)
}

func TestErrorsSayWhatWasRefusedAndQuoteNothing(t *testing.T) {
	t.Parallel()
	want := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: shop}, data: {a: hunter2}}`)
	live := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: shop}, data: {a: other}}`)
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "web", errors.New("hunter2"))

	_, err := Comparer{}.Compare(t.Context(), &fakeCluster{broken: forbidden}, want)
	require.ErrorIs(t, err, ErrUnreadable)
	require.EqualError(t, err,
		"ConfigMap shop/web: it could not be read (Forbidden: no right to get it, or a policy refuses that)")

	_, err = Comparer{}.Compare(t.Context(), &fakeCluster{live: live, refuses: apierrors.NewBadRequest("hunter2")}, want)
	require.ErrorIs(t, err, ErrNotTried)
	require.EqualError(t, err, "ConfigMap shop/web: the patch that would mend it could not be tried (BadRequest)")

	_, err = Comparer{}.Compare(t.Context(), &fakeCluster{live: live, refuses: context.Canceled}, want)
	require.ErrorIs(t, err, context.Canceled)

	cluster := &fakeCluster{live: live, refuses: apierrors.NewInvalid(schema.GroupKind{Kind: "ConfigMap"}, "web", nil)}
	finding, err := Comparer{}.Compare(t.Context(), cluster, want)
	require.NoError(t, err, "a patch that is not valid still tells a difference")
	assert.Equal(t, []Difference{{Path: "/data/a", Want: `"hunter2"`, Have: `"other"`}}, finding.Differences)
	err = Comparer{}.Correct(t.Context(), cluster, finding)
	require.ErrorIs(t, err, ErrNotMended)
	require.EqualError(t, err, "ConfigMap shop/web: it could not be mended (Invalid)")
	assert.Equal(t, []string{"get", "dry run"}, cluster.calls, "what was refused as a dry run is not sent")

	cluster = &fakeCluster{live: live}
	finding, err = Comparer{}.Compare(t.Context(), cluster, want)
	require.NoError(t, err)
	cluster.refuses = forbidden
	require.EqualError(t, Comparer{}.Correct(t.Context(), cluster, finding),
		"ConfigMap shop/web: it could not be mended (Forbidden: no right to patch it, or a policy refuses that)")
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

func TestPointersAndValuesAreSpelled(t *testing.T) {
	t.Parallel()
	path, err := parsePointer("/metadata/annotations/example.com~1a~0b")
	require.NoError(t, err)
	assert.Equal(t, []string{"metadata", "annotations", "example.com/a~b"}, path)
	assert.Equal(t, "/x/example.com~1a~0b", pointerTo("/x", "example.com/a~b"))
	assert.Equal(t, "true", spell(true))
	assert.Equal(t, `""`, spell(""))
	assert.Empty(t, spell(map[string]any{"a": 1}))
	assert.Empty(t, spell(strings.Repeat("x", maxValue-1)), "with its quotes it is too long")
	assert.NotEmpty(t, spell(strings.Repeat("x", maxValue-2)))
}
