package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// This story replaces the operator that all others share, so it does not call t.Parallel.
func TestWhatHappensToReleasesOfTheOriginalWhileNoOperatorWorksIsCaughtUpWith(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0"), webChart("1.1.0")).URL)
	s.withoutSharedOperator()
	tarball := s.packaged(webChart("1.0.0"))
	for _, name := range []string{"kept", "edited", "deleted"} {
		s.inherit(&inheritance{
			name: name, chart: tarball, deployed: "web-1.0.0", values: []string{"message: of the original"},
			spec: func(spec *v1alpha1.HelmReleaseSpec) { spec.Chart.Version = "1.0.0" },
		})
	}
	before := s.record("kept")
	s.edit("edited", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: edited") })
	require.NoError(t, s.Delete(s.ctx, s.release("deleted")))

	s.ownServices("", s.namespace)
	s.until("kept", atRevision(1))
	edited := s.until("edited", atRevision(2))
	assert.Empty(t, edited.Status.LastAppliedConfiguration)
	assert.Empty(t, edited.Status.OriginalValues)
	s.gone(s.release("deleted"))
	s.gone(&corev1.ConfigMap{ObjectMeta: s.meta("deleted")})
	assert.Equal(t, before.ResourceVersion, s.record("kept").ResourceVersion, "its record is left as it is")
	assert.Equal(t, "of the original", s.message("kept"))
	assert.Equal(t, "edited", s.message("edited"))

	// From here on, it is one like any other.
	s.edit("kept", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.1.0" })
	s.until("kept", atRevision(2))
	assert.Equal(t, "of the original", s.message("kept"))
}

// record returns the Secret of the first revision of a Helm release.
func (s *story) record(name string) *corev1.Secret {
	s.Helper()
	record := &corev1.Secret{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "sh.helm.release.v1." + name + ".v1"}, record))
	return record
}
