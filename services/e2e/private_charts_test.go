package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack/standin"
)

// This story replaces the operator that all others share, so it does not call t.Parallel: without knowing the authority, chartcache
// would not get as far as to be asked for a name.
func TestAReleaseThatNamesAURLUsesThePrivateRepositoriesOfItsOwnNamespaceOnly(t *testing.T) {
	h := newHosts(t)
	registry := h.basicRegistry("private-charts", "ann", "s3cret")
	oci := registry.push("team/charts", webChart("1.0.0"))
	accounts := standin.NewAccounts(map[string]string{"ann": "s3cret"})
	http := "https://" + h.serve(accounts.Guard(unserved(t, webChart("1.0.0"))), nil)
	own, other := newStory(t), newStory(t)
	own.withoutSharedOperator()
	own.ownServices(h.caFile, own.namespace, other.namespace)

	login := func(s *story, password string) *v1alpha1.RepositoryAuth {
		name := "login-" + password
		s.keep(name, corev1.SecretTypeBasicAuth, map[string]string{"username": "ann", "password": password})
		return &v1alpha1.RepositoryAuth{SecretRef: &v1alpha1.SecretReference{Name: name}}
	}
	// Of several, the longest path that is one of the chart's counts, and "team/chart" is none.
	own.privateRepository("registry", "oci://"+registry.host, login(own, "wrong"))
	own.privateRepository("team", "oci://"+registry.host+"/team", login(own, "s3cret"))
	own.privateRepository("team-chart", "oci://"+registry.host+"/team/chart", login(own, "wrong"))
	own.privateRepository("http", http, login(own, "s3cret"))
	for _, s := range []*story{own, other} {
		s.apply(s.release("by-oci", func(r *v1alpha1.HelmRelease) {
			r.Spec.Chart.Repository, r.Spec.Chart.OCIRepository = nil, oci+"/web"
		}))
		s.apply(s.release("by-url", func(r *v1alpha1.HelmRelease) {
			r.Spec.Chart.Repository, r.Spec.Chart.RepositoryURL = nil, http
		}))
	}

	for _, name := range []string{"by-oci", "by-url"} {
		own.until(name, readyAt("web-1.0.0"))
		release := other.until(name, notReady(v1alpha1.ReasonAuthenticationFailed))
		message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
		assert.NotContains(t, message, "s3cret")
		assert.Contains(t, other.event(name, corev1.EventTypeWarning, v1alpha1.ReasonAuthenticationFailed),
			"no HelmRepository of namespace "+other.namespace+" is for this URL: give the credentials in one")
		assert.Nil(t, release.Status.HelmRelease, "nothing was deployed")
	}

	// A repository of its own, also one that comes later, is all that is missing.
	other.privateRepository("team", "oci://"+registry.host+"/team", login(other, "s3cret"))
	other.until("by-oci", readyAt("web-1.0.0"))
	other.until("by-url", notReady(v1alpha1.ReasonAuthenticationFailed))
}
