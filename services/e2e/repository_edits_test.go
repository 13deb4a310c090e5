package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack/standin"
)

// outcome is what the Ready condition of a repository says.
type outcome struct {
	status  metav1.ConditionStatus
	reason  string
	mention string // in the message
	stalled bool
}

func works() outcome {
	return outcome{status: metav1.ConditionTrue, reason: v1alpha1.ReasonSyncCompleted}
}

func fails(reason, mention string) outcome {
	return outcome{metav1.ConditionFalse, reason, mention, reason == v1alpha1.ReasonConfigurationError}
}

// repositoryIs waits for an outcome, and for the other conditions to agree with it.
func (s *story) repositoryIs(name string, want outcome) *v1alpha1.HelmRepository {
	s.Helper()
	repository := s.repositoryUntil(name, want.status, want.reason)
	conditions := repository.Status.Conditions
	assert.Contains(s, meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).Message, want.mention)
	failed := want.status == metav1.ConditionFalse && want.reason != v1alpha1.ReasonSuspended
	assert.Equal(s, failed, meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionFailed), "Failed")
	assert.False(s, meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionSyncing), "Syncing")
	assert.Equal(s, want.stalled, meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled) != nil, "Stalled")
	assert.Equal(s, repository.Generation, repository.Status.ObservedGeneration)
	return repository
}

func TestEveryFieldOfARepositoryMayBeEditedInPlace(t *testing.T) {
	t.Parallel()
	type spec = v1alpha1.HelmRepositorySpec
	h := newHosts(t)
	plain := newChartRepository(t, webChart("1.0.0")).URL
	guarded := "https://" + h.serve(standin.NewAccounts(map[string]string{"ann": "s3cret"}).Guard(unserved(t, webChart("1.0.0"))), nil)
	blind := &v1alpha1.TLSConfig{InsecureSkipVerify: true}
	secret := func(name, namespace string) *v1alpha1.SecretReference {
		return &v1alpha1.SecretReference{Name: name, Namespace: namespace}
	}
	hanging := newChartRepository(t, webChart("1.0.0"))
	hanging.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	registry := push(t, "edited", webChart("1.0.0"))
	denied := fails(v1alpha1.ReasonAuthenticationFailed, "Failed to authenticate")

	for name, test := range map[string]struct {
		before spec
		is     outcome
		edit   func(*spec)
		then   outcome
	}{
		"from HTTP to a registry": {spec{URL: plain}, works(), func(r *spec) { r.URL, r.Insecure = registry, true }, works()},
		"from a registry to HTTP": {
			spec{URL: registry, Insecure: true, Type: v1alpha1.RepositoryTypeOCI}, works(),
			func(r *spec) { r.URL, r.Type = plain, v1alpha1.RepositoryTypeHelm }, works(),
		},
		"a type that is not that of the URL": {
			spec{URL: plain, Type: v1alpha1.RepositoryTypeOCI}, fails(v1alpha1.ReasonConfigurationError, "spec.type is oci, so spec.url must begin with oci://"),
			func(r *spec) { r.Type = v1alpha1.RepositoryTypeHelm }, works(),
		},
		"a timeout that an upstream does not keep": {
			spec{URL: plain}, works(), func(r *spec) { r.URL, r.Timeout = hanging.URL, "1s" }, fails(v1alpha1.ReasonSyncFailed, "Failed to sync"),
		},
		"a timeout that is none": {
			spec{URL: plain, Timeout: "99999999999999h"}, fails(v1alpha1.ReasonConfigurationError, "spec.timeout"),
			func(r *spec) { r.Timeout = "1m" }, works(),
		},
		"an interval that is none": {
			spec{URL: plain, Interval: "99999999999999h"}, fails(v1alpha1.ReasonConfigurationError, "spec.interval"),
			func(r *spec) { r.Interval = "0s" }, works(),
		},
		"a name and a password": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{TLS: blind}}, denied,
			func(r *spec) { r.Auth.Basic = &v1alpha1.BasicAuth{Username: "ann", Password: "s3cret"} }, works(),
		},
		"another password": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{TLS: blind, Basic: &v1alpha1.BasicAuth{Username: "ann", Password: "s3cret"}}}, works(),
			func(r *spec) { r.Auth.Basic.Password = "s3cret-0" }, denied,
		},
		"a Secret for basic": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{TLS: blind, Basic: &v1alpha1.BasicAuth{SecretRef: secret("gone", "")}}},
			fails(v1alpha1.ReasonAuthenticationFailed, "does not exist"),
			func(r *spec) { r.Auth.Basic.SecretRef.Name = keys }, works(),
		},
		"a Secret": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{TLS: blind, SecretRef: secret("gone", "")}},
			fails(v1alpha1.ReasonAuthenticationFailed, "does not exist"),
			func(r *spec) { r.Auth.SecretRef.Name = keys }, works(),
		},
		"a Secret of another namespace": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{TLS: blind, SecretRef: secret(keys, "kube-system")}},
			fails(v1alpha1.ReasonConfigurationError, "--allow-cross-namespace-secrets"),
			func(r *spec) { r.Auth.SecretRef.Namespace = "" }, works(),
		},
		"a Secret with an authority": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{SecretRef: secret(keys, "")}}, fails(v1alpha1.ReasonSyncFailed, "give its CA"),
			func(r *spec) { r.Auth.TLS = &v1alpha1.TLSConfig{SecretRef: secret(private, "")} }, works(),
		},
		"any certificate": {
			spec{URL: guarded, Auth: &v1alpha1.RepositoryAuth{SecretRef: secret(keys, "")}}, fails(v1alpha1.ReasonSyncFailed, "give its CA"),
			func(r *spec) { r.Auth.TLS = blind }, works(),
		},
		"plain HTTP to a registry": {
			spec{URL: registry}, fails(v1alpha1.ReasonSyncFailed, "plain HTTP"), func(r *spec) { r.Insecure = true }, works(),
		},
		"suspend and resume": {
			spec{URL: plain, Suspend: true}, outcome{status: metav1.ConditionFalse, reason: v1alpha1.ReasonSuspended, mention: "Repository sync is suspended"},
			func(r *spec) { r.Suspend = false }, works(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.keep(keys, "", map[string]string{"username": "ann", "password": "s3cret"})
			s.keep(private, "", map[string]string{"ca.crt": h.ca()})
			require.NoError(t, s.Create(s.ctx, &v1alpha1.HelmRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "charts"}, Spec: *test.before.DeepCopy(),
			}))
			s.repositoryIs("charts", test.is)
			s.editRepository("charts", test.edit)
			repository := s.repositoryIs("charts", test.then)
			if test.then.status == metav1.ConditionTrue {
				s.apply(s.release("app"))
				s.until("app", readyAt("web-1.0.0"))
				assert.Equal(t, 1, repository.Status.Stats.TotalCharts)
				assert.Nil(t, repository.Status.StaleSince)
			}
		})
	}
}

func TestAnEditedURLOrIntervalOrAResumedRepositoryBringsWhatIsThereNow(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first, second := newChartRepository(t, webChart("1.0.0")), newChartRepository(t, webChart("1.0.0"), webChart("2.0.0"))
	s.repository("charts", first.URL)
	s.repositoryIs("charts", works())
	versions := func(want int) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			repository := s.repositoryUntil("charts", metav1.ConditionTrue, "")
			require.Equal(c, want, repository.Status.Stats.TotalVersions)
			require.Len(c, repository.Status.Charts[0].Versions, want)
		}, patience, 50*time.Millisecond)
	}
	s.editRepository("charts", func(r *v1alpha1.HelmRepositorySpec) { r.URL, r.Interval = second.URL, "1h" })
	s.repositoryIs("charts", works())
	versions(2)

	s.editRepository("charts", func(r *v1alpha1.HelmRepositorySpec) { r.Interval = "10s" })
	s.repositoryIs("charts", works()) // the edit synced, and within the hour nothing else would
	second.publish(t, webChart("3.0.0"))
	versions(3)

	s.editRepository("charts", func(r *v1alpha1.HelmRepositorySpec) { r.Suspend, r.Interval = true, "1h" })
	s.repositoryIs("charts", outcome{status: metav1.ConditionFalse, reason: v1alpha1.ReasonSuspended})
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "3.x" }))
	s.until("app", readyAt("web-3.0.0")) // what is cached stays served
	second.publish(t, webChart("3.1.0"))
	s.editRepository("charts", func(r *v1alpha1.HelmRepositorySpec) { r.Suspend = false })
	versions(4)
	s.until("app", readyAt("web-3.1.0"))
}

func TestCredentialsGoToOtherHostsOfTheIndexOnlyWhereAsked(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	accounts := standin.NewAccounts(map[string]string{"ann": "s3cret"})
	index, files := newChartRepository(t, webChart("1.0.0")), newChartRepository(t, webChart("1.0.0"))
	index.entries["web"][0]["urls"] = []string{files.URL + "/web-1.0.0.tgz"}
	index.Config.Handler, files.Config.Handler = accounts.Guard(index), accounts.Guard(files)
	s.privateRepository("charts", index.URL, &v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{Username: "ann", Password: "s3cret"}})
	s.repositoryIs("charts", works())
	s.apply(s.release("app"))
	release := s.until("app", notReady(""))
	assert.NotContains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message, "s3cret")

	s.editRepository("charts", func(r *v1alpha1.HelmRepositorySpec) { r.Auth.PassCredentials = true })
	s.until("app", readyAt("web-1.0.0"))
}

func TestAnIndexThatLostMostOfItsChartsIsNotTaken(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	repo := newChartRepository(t)
	for i := range 20 {
		repo.publish(t, chart{name: fmt.Sprintf("chart-%02d", i), version: "1.0.0", files: map[string]string{}})
	}
	s.repository("charts", repo.URL)
	before := s.repositoryIs("charts", works())
	assert.Equal(t, 20, before.Status.Stats.TotalCharts)
	assert.Positive(t, before.Status.Stats.LastIndexSize)

	small := newChartRepository(t, webChart("1.0.0"))
	repo.misbehave(small.ServeHTTP)
	after := s.repositoryIs("charts", fails(v1alpha1.ReasonSyncFailed, "Failed to sync"))
	assert.Equal(t, before.Status.Stats, after.Status.Stats, "what is served stays")
	assert.Equal(t, before.Status.Charts, after.Status.Charts)
	assert.NotNil(t, after.Status.StaleSince)
	assert.Contains(t, s.event("charts", corev1.EventTypeWarning, v1alpha1.ReasonSyncFailed), "charts")

	repo.misbehave(nil)
	assert.Nil(t, s.repositoryIs("charts", works()).Status.StaleSince)
}

func TestASecretOfAnotherNamespaceIsUsedWhereTheAdministratorAllowsIt(t *testing.T) {
	t.Parallel()
	s, shared := newStory(t), newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"))
	repo.Config.Handler = standin.NewAccounts(map[string]string{"ann": "s3cret"}).Guard(repo)
	shared.keep(keys, "", map[string]string{"username": "ann", "password": "s3cret"})
	s.privateRepository("charts", repo.URL, &v1alpha1.RepositoryAuth{SecretRef: &v1alpha1.SecretReference{Name: keys, Namespace: shared.namespace}})
	s.repositoryIs("charts", fails(v1alpha1.ReasonConfigurationError, "--allow-cross-namespace-secrets"))

	allowing := startChartcache(t, "chartcache-secrets", "--kubeconfig", suite.Info.Accounts["chartcache"], "--allow-cross-namespace-secrets")
	api := clientOf(t, allowing)
	synced, err := api.Sync(t.Context(), client.Named(s.namespace, "charts"))
	require.NoError(t, err)
	assert.EqualValues(t, 1, synced.Repository.ChartCount)
}
