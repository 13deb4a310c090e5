package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// editRepository changes the spec of a HelmRepository as kubectl edit does.
func (s *story) editRepository(name string, change func(*v1alpha1.HelmRepositorySpec)) {
	s.Helper()
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		repository := &v1alpha1.HelmRepository{}
		require.NoError(c, s.Get(s.ctx, kube.ObjectKey{Namespace: s.namespace, Name: name}, repository))
		change(&repository.Spec)
		err := s.Update(s.ctx, repository)
		require.False(c, apierrors.IsConflict(err))
		require.NoError(s, err)
	}, patience, 50*time.Millisecond)
}

// valuesUntil waits until the ConfigMaps with default values of the repository "charts" are those of some chart versions ("web
// 1.0.0"), and returns their values by chart version.
func (s *story) valuesUntil(want ...string) map[string]string {
	s.Helper()
	var values map[string]string
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		list := &corev1.ConfigMapList{}
		require.NoError(c, s.List(s.ctx, list, kube.InNamespace(s.namespace), kube.MatchingLabels{
			"app.kubernetes.io/component": "chart-values", "helm-operator.ketches.cn/repository": "charts",
		}))
		values = map[string]string{}
		var names []string
		for i := range list.Items {
			annotations := list.Items[i].Annotations
			name := annotations["helm-operator.ketches.cn/chart-name"] + " " + annotations["helm-operator.ketches.cn/chart-version"]
			names, values[name] = append(names, name), list.Items[i].Data["values.yaml"]
		}
		require.ElementsMatch(c, want, names)
	}, patience, 50*time.Millisecond)
	return values
}

// oddChart has a version that a registry spells otherwise and a name of an object cannot hold.
func oddChart() chart {
	return chart{name: "odd", version: "1.2.3+build", files: map[string]string{"values.yaml": "# kept\nodd: true\n"}}
}

func TestConfigMapsHoldTheDefaultValuesOfChartsAsThePolicySays(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(t *testing.T, s *story) (url string, publish func(chart)){
		"HTTP": func(t *testing.T, _ *story) (string, func(chart)) {
			repo := newChartRepository(t, webChart("1.0.0"), oddChart())
			return repo.URL, func(c chart) { repo.publish(t, c) }
		},
		"OCI": func(t *testing.T, s *story) (string, func(chart)) {
			path := s.namespace + "/charts"
			return push(t, path, webChart("1.0.0"), oddChart()), func(c chart) { push(t, path, c) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			url, publish := serve(t, s)
			s.repository("charts", url)
			s.editRepository("charts", func(spec *v1alpha1.HelmRepositorySpec) {
				spec.ValuesConfigMapPolicy, spec.ValuesConfigMapRetention = v1alpha1.ValuesConfigMapLazy, "10s"
			})

			values := s.valuesUntil("web 1.0.0", "odd 1.2.3+build")
			assert.Equal(t, "# kept\nodd: true\n", values["odd 1.2.3+build"])
			assert.Equal(t, webChart("1.0.0").files["values.yaml"], values["web 1.0.0"])
			plain := &corev1.ConfigMap{}
			require.NoError(t, s.Get(s.ctx, kube.ObjectKey{Namespace: s.namespace, Name: "helm-values-charts-web-1-0-0"}, plain))
			assert.Contains(t, s.event("charts", corev1.EventTypeNormal, v1alpha1.ReasonValuesConfigMapsUpdated), "helm-values-charts-")
			assert.Contains(t, scrape(t, suite.operator),
				`helm_chart_configmaps_generated_total{chart="odd",namespace="`+s.namespace+`",repository="charts"} 1`)

			publish(webChart("1.1.0"))
			s.valuesUntil("web 1.1.0", "odd 1.2.3+build") // the old one after its time

			s.editRepository("charts", func(spec *v1alpha1.HelmRepositorySpec) {
				spec.ValuesConfigMapPolicy = v1alpha1.ValuesConfigMapOnDemand
			})
			s.apply(s.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.0.0" }))
			if strings.HasPrefix(url, "oci://") {
				s.apply(s.release("by-url", func(r *v1alpha1.HelmRelease) {
					r.Spec.Chart.Repository, r.Spec.Chart.OCIRepository = nil, url+"/odd"
					r.Spec.Chart.Name, r.Spec.Chart.Version = "odd", "1.2.3+build"
				}))
			} else {
				s.apply(s.release("by-url", func(r *v1alpha1.HelmRelease) {
					r.Spec.Chart.Repository, r.Spec.Chart.RepositoryURL = nil, url
					r.Spec.Chart.Name, r.Spec.Chart.Version = "odd", "1.2.3+build"
				}))
			}
			s.until("by-url", readyAt("odd-1.2.3+build"))
			s.valuesUntil("web 1.0.0", "odd 1.2.3+build")

			// A release may take its values from there.
			s.edit("app", func(r *v1alpha1.HelmRelease) {
				r.Spec.ValuesFrom = []v1alpha1.ValuesReference{{Kind: "ConfigMap", Name: "helm-values-charts-web-1-0-0", Optional: true}}
			})
			s.until("app", readyAt("web-1.0.0"))

			s.editRepository("charts", func(spec *v1alpha1.HelmRepositorySpec) {
				spec.ValuesConfigMapPolicy = v1alpha1.ValuesConfigMapDisabled
			})
			s.valuesUntil()

			s.editRepository("charts", func(spec *v1alpha1.HelmRepositorySpec) {
				spec.ValuesConfigMapPolicy = v1alpha1.ValuesConfigMapLazy
			})
			s.valuesUntil("web 1.1.0", "odd 1.2.3+build")
			require.NoError(t, s.Delete(s.ctx, &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "charts"}}))
			s.valuesUntil() // the garbage collector
			assert.NotContains(t, scrape(t, suite.operator), `namespace="`+s.namespace+`",repository="charts"`)
		})
	}
}

func TestTheValuesOfEveryChartOfALargeRepositoryAreReadOnce(t *testing.T) {
	t.Parallel()
	const charts = 160
	s := newStory(t)
	repo := newChartRepository(t)
	many := func(i int, version string) chart {
		return chart{name: fmt.Sprintf("chart-%03d", i), version: version, files: map[string]string{"values.yaml": fmt.Sprintf("chart: %d\n", i)}}
	}
	for i := range charts {
		repo.publish(t, many(i, "1.0.0"))
		repo.publish(t, many(i, "0.9.0"))
	}
	var fetched atomic.Int64 // tarballs
	repo.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".tgz") {
			fetched.Add(1)
		}
		repo.ServeHTTP(w, r)
	})
	s.repository("charts", repo.URL)
	s.editRepository("charts", func(spec *v1alpha1.HelmRepositorySpec) { spec.ValuesConfigMapPolicy = v1alpha1.ValuesConfigMapLazy })
	want := make([]string, 0, charts)
	for i := range charts {
		want = append(want, many(i, "1.0.0").name+" 1.0.0")
	}
	begun := time.Now()
	values := s.valuesUntil(want...)
	t.Logf("%d ConfigMaps in %s", charts, time.Since(begun).Round(time.Millisecond))
	assert.Equal(t, "chart: 77\n", values["chart-077 1.0.0"])
	assert.EqualValues(t, charts, fetched.Load())

	repo.publish(t, many(7, "1.1.0"))
	s.valuesUntil(append(want, "chart-007 1.1.0")...)
	assert.EqualValues(t, charts+1, fetched.Load(), "only the chart that changed")
}
