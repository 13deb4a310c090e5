package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestTheChartThatTheSpecNamesIsAskedFor(t *testing.T) {
	t.Parallel()
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct {
		spec v1alpha1.ChartSpec
		want client.ChartRequest
	}{
		"by a repository of its own namespace": {
			v1alpha1.ChartSpec{Name: "web", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
			client.ChartRequest{Source: client.Named("shop", "charts"), Chart: "web"},
		},
		"by a repository of another namespace": {
			v1alpha1.ChartSpec{Name: "db", Repository: &v1alpha1.RepositoryReference{Name: "charts", Namespace: "common"}},
			client.ChartRequest{Source: client.Named("common", "charts"), Chart: "db"},
		},
		"by version": {
			v1alpha1.ChartSpec{Name: "web", Version: "~1.2.0", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
			client.ChartRequest{Source: client.Named("shop", "charts"), Chart: "web", Version: "~1.2.0"},
		},
		"by digest": {
			v1alpha1.ChartSpec{Name: "web", Digest: digest, Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
			client.ChartRequest{Source: client.Named("shop", "charts"), Chart: "web", Digest: digest},
		},
		"by the URL of a repository": {
			v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://public.example.com/charts"},
			client.ChartRequest{Source: client.ByURL("https://public.example.com/charts"), Chart: "web"},
		},
		"by the URL of a registry, which wins": {
			v1alpha1.ChartSpec{
				Name: "web", OCIRepository: "oci://registry.example.com/charts/web", RepositoryURL: "https://public.example.com/charts",
				Repository: &v1alpha1.RepositoryReference{Name: "charts"},
			},
			client.ChartRequest{Source: client.ByURL("oci://registry.example.com/charts"), Chart: "web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Chart = c.spec })
			b.objects.repositories = append(b.objects.repositories, v1alpha1.HelmRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: "common", Name: "charts"},
			})
			b.settle()
			assert.Equal(t, c.want, b.charts.asked[0])
		})
	}
}

func TestADependencyMayBeInAnotherNamespace(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: "db", Namespace: "data"}}
	})
	withReleases(b, otherRelease("db", true)) // in namespace shop
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "HelmRelease data/db, which does not exist")

	dependency := otherRelease("db", true)
	dependency.Namespace = "data"
	withReleases(b, dependency)
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestTheRevisionThatTheSpecNamesIsRolledBackTo(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback, func(r *v1alpha1.HelmRelease) { r.Spec.Rollback.ToRevision = 1 })
	b.settle()
	b.values("good: true")
	b.settle()
	b.helm.done()
	b.helm.results = []result{{err: errUnready}}
	b.values("bad: true")
	b.settle()
	assert.Equal(t, []string{"upgrade", "rollback 1"}, b.helm.done(), "not to revision 2, the newest good one")
}

func TestFailuresAreRetriedAsTheSpecSays(t *testing.T) {
	t.Parallel()
	limit := int32(4)
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.Interval = "1h"
		r.Spec.Retry = &v1alpha1.RetrySpec{Limit: &limit, Interval: "20s", MaxInterval: "50s"}
	})
	b.helm.results = []result{{err: errUnready}, {err: errUnready}, {err: errUnready}, {err: errUnready}}
	for _, wait := range []time.Duration{20 * time.Second, 40 * time.Second, 50 * time.Second} {
		b.settle()
		assert.Equal(t, wait, b.once())
		b.now = b.now.Add(wait)
	}
	b.settle()
	assert.Equal(t, time.Hour, b.once(), "no try is left")
	assert.Len(t, b.helm.done(), 4)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionStalled).Status)
}

func TestAnUpgradeIsStrictWhereTheSpecSaysSo(t *testing.T) {
	t.Parallel()
	for policy, strict := range map[v1alpha1.FieldValidation]bool{"": false, v1alpha1.FieldValidationWarn: false, v1alpha1.FieldValidationStrict: true} {
		b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Upgrade = &v1alpha1.UpgradeSpec{FieldValidation: policy} })
		b.settle()
		b.values("replicas: 2")
		b.settle()
		assert.Equal(t, strict, b.helm.upgraded.StrictFields, string(policy))
		assert.False(t, b.helm.installed.StrictFields)
	}
}
