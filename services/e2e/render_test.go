package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestAReleaseIsChangedAfterRenderingAndRolledBackToWhatWasRecorded(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	patched := func(patch string, target *v1alpha1.ObjectSelector) []v1alpha1.PostRenderer {
		return []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{
			Patches: []v1alpha1.KustomizePatch{{Patch: patch, Target: target}},
			Images:  []v1alpha1.KustomizeImage{{Name: "example.invalid/web", NewTag: "2"}},
		}}}
	}
	deployments := &v1alpha1.ObjectSelector{Kind: "Deployment"}
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.PostRenderers = patched("[{op: replace, path: /spec/replicas, value: 2}]", deployments)
		r.Spec.CommonMetadata = &v1alpha1.CommonMetadata{Labels: map[string]string{"team": "shop"}}
		r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
		r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: "3s"}
	}))
	s.until("app", ready)
	web := s.deployment(s.namespace, "app")
	assert.EqualValues(t, 2, *web.Spec.Replicas)
	assert.Equal(t, "example.invalid/web:2", web.Spec.Template.Spec.Containers[0].Image)
	assert.Equal(t, "shop", web.Labels["team"])
	assert.NotContains(t, web.Spec.Template.Labels, "team")
	config := &corev1.ConfigMap{}
	require.NoError(t, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "app"}, config))
	assert.Equal(t, "shop", config.Labels["team"])
	assert.Contains(t, helm(t, "get", "manifest", "app", "--namespace", s.namespace), "example.invalid/web:2")

	// A patch that cannot be applied fails the upgrade before anything is written, and names itself.
	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.PostRenderers = patched("{kind: Deployment, metadata: {name: missing}}", nil)
	})
	release := s.until("app", notReady(v1alpha1.ReasonUpgradeFailed))
	assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message,
		"spec.postRenderers[0].kustomize.patches[0] is for Deployment missing")
	assert.Equal(t, 1, release.Status.HelmRelease.Revision)

	// One that makes the upgrade fail is rolled back with the objects that were recorded.
	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.PostRenderers = patched("spec: {replicas: 3, template: {spec: {nodeSelector: {disk: none-has-this}}}}", deployments)
		r.Spec.CommonMetadata.Labels["team"] = "other"
	})
	s.until("app", notReady(v1alpha1.ReasonRolledBack))
	web = s.deployment(s.namespace, "app")
	assert.EqualValues(t, 2, *web.Spec.Replicas)
	assert.Equal(t, "shop", web.Labels["team"])
}
