package drift

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

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
