package controller

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// as is a client of somebody who may do everything, under a name.
func (b *bench) as(user string) kube.Client {
	b.Helper()
	config := rest.CopyConfig(shared.env.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
	client, err := kube.New(config, kube.Options{Scheme: b.Scheme()})
	require.NoError(b, err)
	return client
}

// The policy of the page about identities, for the namespace of the test only.
func TestThePolicyOfThePageRefusesReleasesWithoutAnAccount(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "identities.md"))
	require.NoError(t, err)
	_, text, found := strings.Cut(string(page), "```yaml\napiVersion: admissionregistration.k8s.io/v1")
	require.True(t, found)
	text, _, _ = strings.Cut("apiVersion: admissionregistration.k8s.io/v1"+text, "```")
	first, second, found := strings.Cut(text, "---\n")
	require.True(t, found)
	policy, binding := &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(first), policy))
	require.NoError(t, yaml.UnmarshalStrict([]byte(second), binding))
	require.Equal(t, policy.Name, binding.Spec.PolicyName)
	policy.Name, binding.Name, binding.Spec.PolicyName = b.namespace, b.namespace, b.namespace
	policy.Spec.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: b.namespace}}
	before := b.release("before")
	require.NoError(t, b.Create(b.ctx, policy))
	require.NoError(t, b.Create(b.ctx, binding))

	somebody, operator := b.as("somebody"), b.as("system:serviceaccount:ketches:helm-operator")
	release := func(name, account string) *v1alpha1.HelmRelease {
		return &v1alpha1.HelmRelease{
			ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name},
			Spec: v1alpha1.HelmReleaseSpec{
				ServiceAccountName: account,
				Chart:              v1alpha1.ChartSpec{Name: "web", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
			},
		}
	}
	const refusal = "spec.serviceAccountName must name a ServiceAccount"
	require.EventuallyWithT(t, func(c *assert.CollectT) { // the API server needs a moment to learn of the policy
		require.ErrorContains(c, somebody.Create(b.ctx, release("without", ""), kube.DryRunAll), refusal)
	}, patience, tick)
	require.NoError(t, somebody.Create(b.ctx, release("with", "deployer"), kube.DryRunAll))
	edit := kube.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}}}`))
	require.ErrorContains(t, somebody.Patch(b.ctx, before.DeepCopy(), edit), refusal)
	require.NoError(t, operator.Patch(b.ctx, before.DeepCopy(), edit), "the operator is not kept from its finalizers")
}
