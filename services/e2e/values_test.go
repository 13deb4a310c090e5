package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestValuesOfARotatedSecretArriveAtOnce(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	secret := &corev1.Secret{ObjectMeta: s.meta("database"), StringData: map[string]string{"password": "first"}}
	require.NoError(t, s.Create(s.ctx, secret))
	settings := &corev1.ConfigMap{ObjectMeta: s.meta("settings"), Data: map[string]string{"values.yaml": "replicas: 2\nmessage: loses"}}
	require.NoError(t, s.Create(s.ctx, settings))
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Interval = "1h" // nothing below waits for it
		r.Spec.ValuesFrom = []v1alpha1.ValuesReference{
			{Kind: "ConfigMap", Name: "settings"},
			{Kind: "Secret", Name: "database", Key: "password", TargetPath: "message"},
		}
	}))
	s.until("app", ready)
	assert.Equal(t, "first", s.message("app"))

	secret.StringData = map[string]string{"password": "second"}
	began := time.Now()
	require.NoError(t, s.Update(s.ctx, secret))
	require.Eventually(t, func() bool { return s.message("app") == "second" }, patience, 10*time.Millisecond)
	t.Logf("the new value was in the cluster after %s", time.Since(began).Round(time.Millisecond))
	release := s.until("app", atRevision(2))
	assert.NotContains(t, s.event("app", corev1.EventTypeNormal, v1alpha1.ReasonUpgradeStarted), "second")
	for _, condition := range release.Status.Conditions {
		assert.NotContains(t, condition.Message, "second", "a value of a Secret is shown nowhere")
	}

	// The same data again, or data that is overridden, upgrades nothing.
	secret.Labels = map[string]string{"rotated": "no"}
	require.NoError(t, s.Update(s.ctx, secret))
	settings.Data["values.yaml"] = "replicas: 2\nmessage: loses again"
	require.NoError(t, s.Update(s.ctx, settings))
	settings.Data["values.yaml"] = "replicas: 1\n"
	require.NoError(t, s.Update(s.ctx, settings))
	s.until("app", atRevision(3))
	assert.EqualValues(t, 1, *s.deployment(s.namespace, "app").Spec.Replicas)
}
