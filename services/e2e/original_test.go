package e2e

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// This story replaces the operator that all others share, so it does not call t.Parallel.
func TestReleasesOfTheOriginalOperatorAreAdoptedWithoutAnUpgrade(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0"), webChart("1.1.0")).URL)
	require.NoError(t, suite.operator.Terminate(gracePeriod))
	t.Cleanup(func() { assert.NoError(t, suite.restart(context.Background())) }) // if the story broke off
	s.ofTheOriginal("kept", "")
	s.ofTheOriginal("edited", "message: edited while nobody looked")
	s.ofTheOriginal("deleted", "")
	before := s.record("kept")
	require.NoError(t, s.Delete(s.ctx, s.release("deleted")))

	require.NoError(t, suite.operator.Start(s.ctx))
	kept := s.until("kept", atRevision(1))
	edited := s.until("edited", atRevision(2))
	s.gone(s.release("deleted"))
	s.gone(&corev1.ConfigMap{ObjectMeta: s.meta("deleted")})

	assert.Equal(t, before.ResourceVersion, s.record("kept").ResourceVersion, "its record is left as it is")
	assert.Equal(t, "of the original", s.message("kept"))
	assert.Equal(t, "edited while nobody looked", s.message("edited"))
	assert.Equal(t, "web-1.0.0", kept.Status.HelmRelease.Chart)
	assert.Empty(t, kept.Status.Failures)
	for _, release := range []*v1alpha1.HelmRelease{kept, edited} {
		assert.Empty(t, release.Status.LastAppliedConfiguration, "values do not stay in the status of %s", release.Name)
		assert.Empty(t, release.Status.OriginalValues, "values do not stay in the status of %s", release.Name)
	}

	// From here on, it is one like any other.
	s.edit("kept", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.1.0" })
	s.until("kept", atRevision(2))
	assert.Equal(t, "of the original", s.message("kept"))
}

// ofTheOriginal makes what the original operator leaves of a release, and then the values may be edited.
func (s *story) ofTheOriginal(name, values string) {
	s.Helper()
	const theirs = "message: of the original"
	s.helm("install", name, s.file(webChart("1.0.0")), "--set", "message=of the original")
	release := s.apply(s.release(name, func(r *v1alpha1.HelmRelease) {
		r.Finalizers = []string{v1alpha1.ReleaseFinalizer}
		r.Spec.Chart.Version = "1.0.0"
		r.Spec.Values = v1alpha1.ValuesFromString(theirs)
	}))
	var installed struct {
		Info struct {
			FirstDeployed metav1.Time `json:"first_deployed"`
		} `json:"info"`
	}
	require.NoError(s, json.Unmarshal([]byte(s.helm("status", name, "--output", "json")), &installed))
	deployed := installed.Info.FirstDeployed
	status := v1alpha1.HelmReleaseStatus{
		ObservedGeneration: release.Generation,
		HelmRelease: &v1alpha1.HelmReleaseInfo{
			Name: name, Namespace: s.namespace, Revision: 1, Status: "deployed", FirstDeployed: &deployed, LastDeployed: &deployed,
			Description: "Install complete", Chart: "web-1.0.0", AppVersion: "1",
		},
		LastAppliedConfiguration: `{"values":"` + theirs + `"}`,
		OriginalValues:           webChart("1.0.0").files["values.yaml"],
	}
	for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionReleased} {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInstallCompleted, Message: "Release is ready",
		})
	}
	release.Status = status
	require.NoError(s, s.Status().Update(s.ctx, release))
	if values != "" {
		s.edit(name, func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString(values) })
	}
}

// record returns the Secret of the first revision of a Helm release.
func (s *story) record(name string) *corev1.Secret {
	s.Helper()
	record := &corev1.Secret{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "sh.helm.release.v1." + name + ".v1"}, record))
	return record
}
