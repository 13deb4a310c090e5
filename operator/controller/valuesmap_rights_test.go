package controller

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/valuesmap"
)

// shippedRole returns the ClusterRole of the operator in deploy/manifests.yaml.
func shippedRole(t *testing.T) *rbacv1.ClusterRole {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "manifests.yaml"))
	require.NoError(t, err)
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		role := &rbacv1.ClusterRole{}
		err := decoder.Decode(role)
		require.NotErrorIs(t, err, io.EOF, "deploy/manifests.yaml has no ClusterRole helm-operator")
		require.NoError(t, err)
		if role.Kind == "ClusterRole" && role.Name == "helm-operator" {
			return role
		}
	}
}

// alone is a client of somebody who has the shipped role and no other.
func (b *bench) alone() kube.Client {
	b.Helper()
	role := shippedRole(b.T)
	role.Name = b.namespace
	require.NoError(b, b.Create(b.ctx, role))
	require.NoError(b, b.Create(b.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: b.namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.namespace},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: b.namespace}},
	}))
	config := rest.CopyConfig(shared.env.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: b.namespace}
	client, err := kube.New(config, kube.Options{Scheme: b.Scheme()})
	require.NoError(b, err)
	return client
}

func TestTheShippedRoleIsEnoughForConfigMapsWithDefaultValuesAndNoMore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	client := b.alone()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: b.namespace, Name: "values", Labels: valuesmap.Labels("charts", valuesmap.Chart{Name: "web", Version: "1.0.0"}),
	}}
	require.EventuallyWithT(t, func(c *assert.CollectT) { // the API server needs a moment to learn of the role
		require.NoError(c, client.Create(b.ctx, object))
	}, patience, tick)
	list := configMapMetadata()
	require.NoError(t, client.Get(b.ctx, kube.ObjectKeyFromObject(object), list))
	require.NoError(t, client.Patch(b.ctx, object, kube.RawPatch(types.MergePatchType, []byte(`{"data":{"values.yaml":"a: 1"}}`))))

	assert.True(t, apierrors.IsForbidden(client.Update(b.ctx, object)))
	assert.True(t, apierrors.IsForbidden(client.DeleteAllOf(b.ctx, &corev1.ConfigMap{}, kube.InNamespace(b.namespace))))
	require.NoError(t, client.Delete(b.ctx, object, kube.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion}))
}
