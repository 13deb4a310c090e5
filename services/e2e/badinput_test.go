package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestBadInputGetsAClearErrorAndEverythingElseGoesOn(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"),
		chart{name: "broken", version: "1.0.0", files: map[string]string{"templates/bad.yaml": "{{ .Values.missing.field }}"}})
	repo.publishAs(t, chart{name: "forged", version: "1.0.0"}, strings.Repeat("a", 64), webChart("1.0.0").tarball(t))
	s.repository("charts", repo.URL)

	cases := map[string]struct {
		edit    func(*v1alpha1.HelmRelease)
		reason  string
		mention string // what the message must name
	}{
		"unknown-repository": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Name = "nowhere" },
			v1alpha1.ReasonRepositoryNotFound, "nowhere",
		},
		"no-source": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository = nil },
			v1alpha1.ReasonConfigurationError, "repository",
		},
		"unknown-chart": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Name = "nothing" },
			v1alpha1.ReasonChartNotFound, "nothing",
		},
		"no-version-matches": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "^9.0.0" },
			v1alpha1.ReasonChartNotFound, "^9.0.0",
		},
		"malformed-constraint": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "one.two" },
			v1alpha1.ReasonConfigurationError, "one.two",
		},
		"values-are-not-yaml": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("a: b: c") },
			v1alpha1.ReasonValuesError, "values",
		},
		"values-are-a-list": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Values = &v1alpha1.Values{Raw: []byte(`["a"]`)} },
			v1alpha1.ReasonValuesError, "values",
		},
		"chart-does-not-render": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Name = "broken" },
			v1alpha1.ReasonInstallFailed, "bad.yaml",
		},
		"digest-does-not-match": {
			func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Name = "forged" },
			"", "digest",
		},
		"name-is-too-long": {
			func(r *v1alpha1.HelmRelease) {
				r.Spec.Release = &v1alpha1.ReleaseTarget{Name: strings.Repeat("n", 54)}
			},
			v1alpha1.ReasonConfigurationError, "53",
		},
		"field-not-supported-yet": {
			func(r *v1alpha1.HelmRelease) { r.Spec.ServiceAccountName = "somebody" },
			v1alpha1.ReasonConfigurationError, "serviceAccountName",
		},
	}
	for name, bad := range cases {
		s.apply(s.release(name, bad.edit))
	}
	s.apply(s.release("good"))

	s.until("good", ready)
	for name, bad := range cases {
		release := s.until(name, notReady(bad.reason))
		condition := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady)
		assert.Contains(t, condition.Message, bad.mention, name)
		assert.Contains(t, s.event(name, corev1.EventTypeWarning, condition.Reason), bad.mention, name)
	}
}

func TestABadRepositoryGetsAClearErrorAndRecovers(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct {
		fault  http.HandlerFunc
		reason string
	}{
		"unauthorized":  {status(http.StatusUnauthorized), v1alpha1.ReasonAuthenticationFailed},
		"not found":     {status(http.StatusNotFound), v1alpha1.ReasonSyncFailed},
		"server error":  {status(http.StatusInternalServerError), v1alpha1.ReasonSyncFailed},
		"garbage index": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hello</html>")) }, v1alpha1.ReasonSyncFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			repo := newChartRepository(t, webChart("1.0.0"))
			repo.misbehave(bad.fault)
			s.repository("charts", repo.URL)
			s.apply(s.release("app"))

			repository := s.repositoryUntil("charts", metav1.ConditionFalse, bad.reason)
			assert.Contains(t, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message, "Failed to")
			assert.True(t, meta.IsStatusConditionTrue(repository.Status.Conditions, v1alpha1.ConditionFailed))
			s.event("charts", corev1.EventTypeWarning, bad.reason)
			release := s.until("app", notReady(""))
			s.event("app", corev1.EventTypeWarning, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Reason)

			repo.misbehave(nil)
			repository = s.repositoryUntil("charts", metav1.ConditionTrue, "")
			assert.True(t, meta.IsStatusConditionFalse(repository.Status.Conditions, v1alpha1.ConditionFailed))
			s.until("app", ready)
		})
	}
}

func TestARepositoryThatIsDownKeepsItsReleasesReady(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"))
	s.repository("charts", repo.URL)
	s.apply(s.release("app"))
	s.until("app", ready)

	repo.misbehave(status(http.StatusBadGateway))
	repository := s.repositoryUntil("charts", metav1.ConditionFalse, v1alpha1.ReasonSyncFailed)

	assert.NotNil(t, repository.Status.StaleSince)
	require.NoError(t, ready(s.until("app", ready)))
	s.apply(s.release("another"))
	s.until("another", ready)
}

func TestARepositoryThatNeverAnsweredSaysSo(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	repo := newChartRepository(t)
	repo.Close()
	s.repository("charts", repo.URL)

	repository := s.repositoryUntil("charts", metav1.ConditionFalse, v1alpha1.ReasonSyncFailed)
	assert.Contains(t, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message, "Failed to")
}
