package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestARenamedReleaseIsRefusedReinstalledOrLeftBehindByPolicy(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	for _, name := range []string{"refuse", "reinstall", "orphan"} {
		s.apply(s.release(name))
	}
	rename := func(name string, policy v1alpha1.OnChangePolicy) {
		s.until(name, ready)
		s.edit(name, func(r *v1alpha1.HelmRelease) {
			r.Spec.Release = &v1alpha1.ReleaseTarget{Name: name + "-new", OnChange: policy}
			r.Spec.Values = v1alpha1.ValuesFromString("message: renamed")
		})
	}

	rename("refuse", v1alpha1.OnChangeRefuse)
	release := s.until("refuse", notReady(v1alpha1.ReasonConfigurationError))
	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Contains(t, message, s.namespace+"/refuse, but spec.release now names "+s.namespace+"/refuse-new")
	assert.Equal(t, "hello", s.message("refuse"), "nothing is touched")
	s.edit("refuse", func(r *v1alpha1.HelmRelease) { r.Spec.Release = nil })
	s.until("refuse", atRevision(2))
	assert.Equal(t, "renamed", s.message("refuse"))

	rename("reinstall", v1alpha1.OnChangeReinstall)
	release = s.until("reinstall", ready)
	assert.Equal(t, "reinstall-new", release.Status.HelmRelease.Name)
	assert.Equal(t, "renamed", s.message("reinstall-new"))
	s.gone(&corev1.ConfigMap{ObjectMeta: s.meta("reinstall")})

	rename("orphan", v1alpha1.OnChangeOrphan)
	release = s.until("orphan", ready)
	assert.Equal(t, "orphan-new", release.Status.HelmRelease.Name)
	assert.Equal(t, "renamed", s.message("orphan-new"))
	assert.Equal(t, "hello", s.message("orphan"), "what is left behind stays as it was")

	names := helm(t, "list", "--namespace", s.namespace, "--short")
	assert.Equal(t, "orphan\norphan-new\nrefuse\nreinstall-new\n", names)
	for _, name := range []string{"refuse", "reinstall", "orphan"} {
		object := s.get(name)
		require.NoError(t, s.Delete(s.ctx, object))
		s.gone(object)
	}
	assert.Equal(t, "orphan\n", helm(t, "list", "--namespace", s.namespace, "--short"))
}
