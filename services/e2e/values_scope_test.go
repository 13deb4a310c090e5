package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// This story replaces the operator that all others share by limited ones, so it does not call t.Parallel.
func TestAnOperatorThatSeesSomeReleasesOnlyKeepsTheValuesThatOthersUse(t *testing.T) {
	s, other := newStory(t), newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0"), webChart("1.0.0").named("first"), webChart("1.0.0").named("second")).URL)
	s.editRepository("charts", func(spec *v1alpha1.HelmRepositorySpec) { spec.ValuesConfigMapPolicy = v1alpha1.ValuesConfigMapOnDemand })
	other.apply(other.release("elsewhere", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Namespace = s.namespace }))
	other.until("elsewhere", ready)
	want := []string{"web 1.0.0"}
	s.valuesUntil(want...)
	s.withoutSharedOperator()

	for _, limit := range []struct{ chart, flag, value string }{
		{"first", "--watch-namespaces", s.namespace},
		{"second", "--watch-label-selector", "shard=a"},
	} {
		t.Run(limit.flag, func(t *testing.T) {
			operator, err := suite.Operator("operator-limited-"+limit.chart, suite.chartcache.GRPC, limit.flag, limit.value)
			require.NoError(t, err)
			require.NoError(t, operator.Start(t.Context()))
			t.Cleanup(func() { assert.NoError(t, operator.Terminate(gracePeriod)) })
			s.apply(s.release(limit.chart, func(r *v1alpha1.HelmRelease) {
				r.Labels, r.Spec.Chart.Name = map[string]string{"shard": "a"}, limit.chart
			}))
			want = append(want, limit.chart+" 1.0.0")
			s.valuesUntil(want...) // the pass that made one marks others before

			object := &corev1.ConfigMap{}
			require.NoError(t, s.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "helm-values-charts-web-1-0-0"}, object))
			assert.NotContains(t, object.Annotations, "helm-operator.ketches.cn/unused-since")
		})
	}
}
