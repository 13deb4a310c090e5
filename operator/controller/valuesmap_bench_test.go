package controller

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

// valuesBench is a bench with a repository that keeps ConfigMaps with default values.
type valuesBench struct {
	*bench
	repository *v1alpha1.HelmRepository
	source     client.Source
}

func newValuesBench(t *testing.T, policy v1alpha1.ValuesConfigMapPolicy) *valuesBench {
	b := newBench(t)
	repository := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "charts"},
		Spec: v1alpha1.HelmRepositorySpec{
			URL: "oci://registry.example.com/" + b.namespace, ValuesConfigMapPolicy: policy, ValuesConfigMapRetention: "1h",
		},
	}
	require.NoError(t, b.Create(b.ctx, repository))
	return &valuesBench{bench: b, repository: repository, source: client.Named(b.namespace, "charts")}
}

// newValuesBenchUsedFromElsewhere has the values of the one chart that a release of another namespace uses.
func newValuesBenchUsedFromElsewhere(t *testing.T) *valuesBench {
	b, other := newValuesBench(t, v1alpha1.ValuesConfigMapOnDemand), newBench(t)
	b.publish(b.repository, "1.0.0")
	other.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Namespace = b.namespace })
	other.until("app", ready)
	require.Eventually(t, func() bool { return len(b.values()) == 1 }, patience, tick)
	return b
}

// policy changes the policy of the repository, and waits until the manager's cache knows: what is published then is treated by it.
func (b *valuesBench) policy(policy v1alpha1.ValuesConfigMapPolicy) {
	b.Helper()
	b.edit(b.repository, func() { b.repository.Spec.ValuesConfigMapPolicy = policy })
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		known := &v1alpha1.HelmRepository{}
		require.NoError(c, shared.known.Get(b.ctx, keyOf(b.repository), known))
		require.Equal(c, b.repository.Generation, known.Generation)
	}, patience, tick)
}

// heard waits until the manager's cache holds the ConfigMaps of the namespace as they are.
func (b *valuesBench) heard() {
	b.Helper()
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		known, fresh := &metav1.PartialObjectMetadataList{}, &metav1.PartialObjectMetadataList{}
		versions := [2]map[string]string{{}, {}}
		for i, list := range []*metav1.PartialObjectMetadataList{known, fresh} {
			list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kindConfigMap + "List"))
			require.NoError(c, []kube.Reader{shared.known, b.bench}[i].List(b.ctx, list, kube.InNamespace(b.namespace)))
			for j := range list.Items {
				versions[i][list.Items[j].Name] = list.Items[j].ResourceVersion
			}
		}
		require.Equal(c, versions[1], versions[0])
	}, patience, tick)
}

// publishChart publishes a chart that holds only values.yaml, and none when the values are empty.
func (b *valuesBench) publishChart(name, version, values string) {
	b.Helper()
	files := map[string]string{name + "/Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	if values != "" {
		files[name+"/values.yaml"] = values
	}
	b.cache.publish(b.source, b.repository.Generation, client.ChartVersion{Chart: name, Version: version}, tarball(b.T, files))
}

// values returns the values that the ConfigMaps of the repository hold, by name.
func (b *valuesBench) values() map[string]string {
	list := &corev1.ConfigMapList{}
	require.NoError(b, b.List(b.ctx, list, kube.InNamespace(b.namespace), kube.MatchingLabels{valuesmap.RepositoryLabel: "charts"}))
	values := map[string]string{}
	for i := range list.Items {
		values[list.Items[i].Name] = list.Items[i].Data[valuesmap.DataKey]
	}
	return values
}

// valuesUntil waits until the ConfigMaps of the repository hold values, by name without what all names begin with.
func (b *valuesBench) valuesUntil(want map[string]string) {
	b.Helper()
	full := map[string]string{}
	for name, values := range want {
		full["helm-values-charts-"+name] = values
	}
	require.EventuallyWithT(b, func(c *assert.CollectT) { require.Equal(c, full, b.values()) }, patience, tick)
}

// configMap returns a ConfigMap by the end of its name.
func (b *valuesBench) configMap(name string) *corev1.ConfigMap {
	b.Helper()
	object := &corev1.ConfigMap{}
	require.NoError(b, b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: "helm-values-charts-" + name}, object))
	return object
}

// unusedUntil waits until a ConfigMap is marked as unused, or is no longer.
func (b *valuesBench) unusedUntil(name string, want bool) {
	b.Helper()
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		_, unused := b.configMap(name).Annotations[valuesmap.UnusedAnnotation]
		require.Equal(c, want, unused)
	}, patience, tick)
}

// expire makes a ConfigMap one that is unused for longer than the retention.
func (b *valuesBench) expire(name string) {
	b.Helper()
	object := b.configMap(name)
	b.edit(object, func() {
		object.Annotations[valuesmap.UnusedAnnotation] = time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
	})
}

// counter returns the sum of a counter over the series of this bench's repository.
func (b *valuesBench) counter(name string) (sum float64, series int) {
	b.Helper()
	families, err := shared.metrics.Gather()
	require.NoError(b, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "namespace" && label.GetValue() == b.namespace {
					sum += metric.GetCounter().GetValue()
					series++
				}
			}
		}
	}
	return sum, series
}

// cleanedUntil waits until a number of removed ConfigMaps is counted.
func (b *valuesBench) cleanedUntil(want int) {
	b.Helper()
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		cleaned, _ := b.counter("helm_chart_configmaps_cleaned_total")
		require.InDelta(c, want, cleaned, 0)
	}, patience, tick)
}

// reconciler returns a reconciler of its own, which has seen nothing and whose cache holds no releases.
func (b *valuesBench) reconciler(now func() time.Time, partial bool) *valuesReconciler {
	metrics, err := newValuesMetrics(prometheus.NewRegistry())
	require.NoError(b, err)
	return &valuesReconciler{
		client: b.Client, known: shared.known, charts: b.cache, events: noEvents{}, metrics: metrics, now: now,
		newest:  func(client.Source) client.Revision { return client.Revision{} },
		users:   (&watch{reader: noReleases{b.Client}}).users,
		partial: partial, everywhere: newEveryRelease(b.Client, now), memory: map[types.NamespacedName]*valuesMemory{},
	}
}
