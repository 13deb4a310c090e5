package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// replicasPatch sets the replicas of Deployments.
func replicasPatch(replicas string) []v1alpha1.PostRenderer {
	return []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{Patches: []v1alpha1.KustomizePatch{{
		Patch: "spec: {replicas: " + replicas + "}", Target: &v1alpha1.ObjectSelector{Kind: "Deployment"},
	}}}}}
}

const deploymentManifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 1}\n"

// A change here would upgrade every release when the operator is upgraded.
func TestTheDesiredDigestStaysWhatItWas(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "sha256:0cd7e113b29699551bad2cc01ded60d9e65b2c71ea437c63a5e5180870237263", desiredDigest("chart", "values", appTarget, ""))
	assert.NotEqual(t, desiredDigest("chart", "values", appTarget, ""), desiredDigest("chart", "values", appTarget, "other"))
}

func TestAnEditOfPostRenderersOrCommonMetadataUpgrades(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	plain := b.settle().Status.DesiredDigest
	assert.Nil(t, b.helm.installed.PostRender)

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.PostRenderers = replicasPatch("5") })
	patched := b.settle().Status.DesiredDigest
	assert.NotEqual(t, plain, patched)
	require.NotNil(t, b.helm.upgraded.PostRender)
	out, err := b.helm.upgraded.PostRender([]byte(deploymentManifest))
	require.NoError(t, err)
	assert.Contains(t, string(out), "replicas: 5")

	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.CommonMetadata = &v1alpha1.CommonMetadata{Labels: map[string]string{"team": "shop"}, Annotations: map[string]string{"a": "note"}}
	})
	labelled := b.settle().Status.DesiredDigest
	assert.NotEqual(t, patched, labelled)
	out, err = b.helm.upgraded.PostRender([]byte(deploymentManifest))
	require.NoError(t, err)
	assert.Contains(t, string(out), "team: shop")
	assert.Contains(t, string(out), "a: note")

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.PostRenderers, r.Spec.CommonMetadata = nil, nil })
	assert.Equal(t, plain, b.settle().Status.DesiredDigest)
	assert.Nil(t, b.helm.upgraded.PostRender)
	assert.Equal(t, []string{"install", "upgrade", "upgrade", "upgrade"}, b.helm.done())

	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.PostRenderers = []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{}}}
		r.Spec.CommonMetadata = &v1alpha1.CommonMetadata{}
	})
	assert.Equal(t, plain, b.settle().Status.DesiredDigest, "what asks for nothing changes nothing")
	assert.Empty(t, b.helm.done())
}

func TestAnInstallIsPostRendered(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.PostRenderers = replicasPatch("5") })
	b.settle()
	require.NotNil(t, b.helm.installed.PostRender)
	out, err := b.helm.installed.PostRender([]byte(deploymentManifest))
	require.NoError(t, err)
	assert.Contains(t, string(out), "replicas: 5")
}

func TestAPostRendererThatCannotBeReadIsAConfigurationError(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.PostRenderers = []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{Patches: []v1alpha1.KustomizePatch{{Patch: "[]"}}}}}
	})
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "spec.postRenderers[0].kustomize.patches[0]")
	assert.Empty(t, b.helm.done())
}

func TestAReleaseOfTheOriginalIsNotTakenForOneThatWasPostRendered(t *testing.T) {
	t.Parallel()
	when := metav1.NewTime(testTime.Add(-time.Hour).Truncate(time.Second))
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.PostRenderers = replicasPatch("5")
		r.Status.HelmRelease = &v1alpha1.HelmReleaseInfo{Name: "app", Namespace: "shop", Revision: 7, Status: "deployed", FirstDeployed: &when}
	})
	b.helm.records[appTarget] = []helm.Release{{
		Name: "app", Namespace: "shop", Revision: 7, Status: helm.StatusDeployed, FirstDeployed: when.Time, ChartName: "web", ChartVersion: "1.0.0",
	}}
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
}
