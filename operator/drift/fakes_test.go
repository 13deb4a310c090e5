package drift

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
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
