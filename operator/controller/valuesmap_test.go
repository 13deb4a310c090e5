package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestLazyKeepsTheValuesOfTheNewestVersionOfEveryChart(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1 # with a comment\n")
	b.valuesUntil(map[string]string{"web-1-0-0": "a: 1 # with a comment\n"})
	b.publishChart("db", "2.0.0-rc.1", "b: 2\n")
	b.publishChart("my_cache", "1.2.3+build", "c: 3\n")
	require.Eventually(t, func() bool { return len(b.values()) == 3 }, patience, tick)
	assert.Equal(t, "b: 2\n", b.values()["helm-values-charts-db-2-0-0-rc-1"])

	object := b.configMap("web-1-0-0")
	assert.Equal(t, valuesmap.Labels("charts", valuesmap.Chart{Name: "web", Version: "1.0.0"}), object.Labels)
	assert.Equal(t, "web", object.Annotations[valuesmap.ChartAnnotation])
	assert.Equal(t, "1.0.0", object.Annotations[valuesmap.VersionAnnotation])
	assert.Equal(t, "charts", object.Annotations[valuesmap.RepositoryAnnotation])
	assert.Contains(t, object.Annotations[valuesmap.DigestAnnotation], "sha256:")
	require.Len(t, object.OwnerReferences, 1)
	assert.Equal(t, b.repository.UID, object.OwnerReferences[0].UID)
	odd := &corev1.ConfigMapList{}
	require.NoError(t, b.List(b.ctx, odd, kube.InNamespace(b.namespace), kube.MatchingLabels{valuesmap.VersionLabel: "1.2.3_build"}))
	require.Len(t, odd.Items, 1)
	assert.Equal(t, "1.2.3+build", odd.Items[0].Annotations[valuesmap.VersionAnnotation])
	assert.Equal(t, "my_cache", odd.Items[0].Annotations[valuesmap.ChartAnnotation])
	assert.Contains(t, b.event("charts", corev1.EventTypeNormal, v1alpha1.ReasonValuesConfigMapsUpdated).Message,
		"ConfigMaps with default values: made ")

	before := b.cache.detailsOf(b.source)
	b.publishChart("web", "1.1.0", "a: 2\n")
	require.Eventually(t, func() bool { return b.values()["helm-values-charts-web-1-1-0"] == "a: 2\n" }, patience, tick)
	b.unusedUntil("web-1-0-0", true)
	assert.Equal(t, before+1, b.cache.detailsOf(b.source), "only the chart that changed is read")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		made, series := b.counter("helm_chart_configmaps_generated_total")
		require.InDelta(c, 4, made, 0)
		require.Equal(c, 3, series, "one for each chart")
	}, patience, tick)
}

func TestOnDemandKeepsTheValuesOfWhatReleasesUse(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapOnDemand)
	for _, version := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		b.publish(b.repository, version)
	}
	const values = "message: hello\nworkload: false\n"
	byName := b.release("by-name", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.0.0" })
	b.until("by-name", ready)
	b.valuesUntil(map[string]string{"web-1-0-0": values})

	byURL := b.release("by-url", func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Repository, r.Spec.Chart.OCIRepository, r.Spec.Chart.Version = nil, b.repository.Spec.URL+"/web", "2.0.0"
	})
	b.until("by-url", ready)
	b.valuesUntil(map[string]string{"web-1-0-0": values, "web-2-0-0": values})

	b.edit(byName, func() { byName.Spec.Chart.Version = "1.1.0" })
	b.valuesUntil(map[string]string{"web-1-0-0": values, "web-1-1-0": values, "web-2-0-0": values})
	b.unusedUntil("web-1-0-0", true)

	b.edit(byName, func() { byName.Spec.Chart.Version = "1.0.0" })
	b.unusedUntil("web-1-0-0", false)
	b.unusedUntil("web-1-1-0", true)

	require.NoError(t, b.Delete(b.ctx, byURL))
	b.gone(byURL)
	b.unusedUntil("web-2-0-0", true)
	b.unusedUntil("web-1-0-0", false)
}

func TestAReleaseOfAnotherNamespaceUsesARepositoryToo(t *testing.T) {
	t.Parallel()
	newValuesBenchUsedFromElsewhere(t)
}

func TestRetentionRemovesWhatIsNoLongerCurrentAndNeverTheCurrentOne(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.valuesUntil(map[string]string{"web-1-0-0": "a: 1\n"})
	b.expire("web-1-0-0")
	b.unusedUntil("web-1-0-0", false)

	b.publishChart("web", "1.1.0", "a: 2\n")
	b.unusedUntil("web-1-0-0", true)
	b.expire("web-1-0-0")
	b.valuesUntil(map[string]string{"web-1-1-0": "a: 2\n"})
	b.cleanedUntil(1)
}

// The annotation is all that has to survive a restart: a reconciler that knows nothing takes up where another one ended.
func TestWhatIsUnusedIsRemovedAtItsTimeByItself(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.publishChart("web", "1.1.0", "a: 2\n")
	require.Eventually(t, func() bool { return len(b.values()) > 0 && b.values()["helm-values-charts-web-1-1-0"] != "" }, patience, tick)
	b.publishChart("web", "1.2.0", "a: 3\n")
	b.unusedUntil("web-1-1-0", true)
	key := types.NamespacedName{Namespace: b.namespace, Name: "charts"}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		result, err := b.reconciler(time.Now, false).Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
		require.NoError(c, err)
		require.InDelta(c, time.Hour.Seconds(), result.RequeueAfter.Seconds(), 60, "the next look is when its time is over")
	}, patience, tick)
	later := func() time.Time { return time.Now().Add(time.Hour + time.Second) }
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := b.reconciler(later, false).Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
		require.NoError(c, err)
		require.Equal(c, []string{"helm-values-charts-web-1-2-0"}, slices.Sorted(maps.Keys(b.values())))
	}, patience, tick)
}

func TestAnOperatorThatSeesSomeReleasesOnlyAsksForAllBeforeItRemovesAnything(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ partial, removed bool }{
		"some": {true, false},
		"all":  {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newValuesBench(t, v1alpha1.ValuesConfigMapOnDemand)
			b.publish(b.repository, "1.0.0")
			b.release("app")
			b.until("app", ready)
			require.Eventually(t, func() bool { return len(b.values()) == 1 }, patience, tick)
			key := types.NamespacedName{Namespace: b.namespace, Name: "charts"}
			later := func() time.Time { return time.Now().Add(5 * time.Hour) }
			since := ""
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				_, err := b.reconciler(time.Now, test.partial).Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
				require.NoError(c, err)
				_, err = b.reconciler(later, test.partial).Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
				require.NoError(c, err)
				object := &corev1.ConfigMap{}
				if b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: "helm-values-charts-web-1-0-0"}, object) == nil {
					since = object.Annotations[valuesmap.UnusedAnnotation]
				} else {
					since = "removed"
				}
				require.Equal(c, test.removed, since != "", since)
			}, patience, tick)
		})
	}
}

func TestAnotherPolicyRemovesWhatTheOneBeforeLeft(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.publishChart("db", "1.0.0", "b: 1\n")
	b.valuesUntil(map[string]string{"web-1-0-0": "a: 1\n", "db-1-0-0": "b: 1\n"})

	b.policy(v1alpha1.ValuesConfigMapOnDemand)
	b.publishChart("web", "1.0.1", "a: 1\n") // chartcache has seen the edit
	b.unusedUntil("web-1-0-0", true)
	b.unusedUntil("db-1-0-0", true)

	// Chartcache is not asked for this, and does not even have to have seen the edit.
	b.policy(v1alpha1.ValuesConfigMapDisabled)
	b.valuesUntil(map[string]string{})
	b.cleanedUntil(2)
}

func TestAConfigMapOfSomebodyElseIsNeverOverwritten(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	theirs := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "helm-values-charts-web-1-0-0"},
		Data:       map[string]string{valuesmap.DataKey: "mine: true\n"},
	}
	require.NoError(t, b.Create(b.ctx, theirs))
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.publishChart("db", "1.0.0", "b: 1\n")
	b.valuesUntil(map[string]string{"db-1-0-0": "b: 1\n"})
	message := b.event("charts", corev1.EventTypeWarning, v1alpha1.ReasonValuesConfigMapsFailed).Message
	assert.Contains(t, message, "ConfigMap helm-values-charts-web-1-0-0 exists and is not of this repository")
	assert.Equal(t, "mine: true\n", b.configMap("web-1-0-0").Data[valuesmap.DataKey])

	b.policy(v1alpha1.ValuesConfigMapDisabled)
	b.valuesUntil(map[string]string{})
	assert.Equal(t, "mine: true\n", b.configMap("web-1-0-0").Data[valuesmap.DataKey])

	b.policy(v1alpha1.ValuesConfigMapLazy)
	b.publishChart("db", "1.0.1", "b: 1\n")
	b.valuesUntil(map[string]string{"db-1-0-1": "b: 1\n"})
	require.NoError(t, b.Delete(b.ctx, theirs))
	b.valuesUntil(map[string]string{"db-1-0-1": "b: 1\n", "web-1-0-0": "a: 1\n"})
}

func TestChartsWhoseValuesCannotBeKeptAreToldOfOnceAndDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	broken := b.namespace + "-broken" // the fake is shared
	b.cache.breakDetail(broken, &client.Error{Reason: chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID, Message: "the tarball is cut off"})
	slow := b.namespace + "-slow"
	b.cache.breakDetail(slow, fmt.Errorf("%w: %w", &client.Error{Code: codes.DeadlineExceeded, Message: "it took too long"}, context.DeadlineExceeded))
	b.publishChart(broken, "1.0.0", "a: 1\n")
	b.publishChart(slow, "1.0.0", "a: 1\n")
	b.publishChart("huge", "1.0.0", "a: "+strings.Repeat("x", maxValuesBytes)+"\n")
	b.publishChart("bare", "1.0.0", "")
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.valuesUntil(map[string]string{"bare-1-0-0": "", "web-1-0-0": "a: 1\n"})
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		message := b.event("charts", corev1.EventTypeWarning, v1alpha1.ReasonValuesConfigMapsFailed).Message
		require.Contains(c, message, "the tarball is cut off")
		require.Contains(c, message, "it took too long")
		require.Contains(c, message, "values.yaml of chart huge 1.0.0 has 1048580 bytes, and a ConfigMap holds at most 1048576")
	}, patience, tick)

	before := b.cache.detailsOf(b.source)
	b.publishChart("db", "1.0.0", "b: 1\n")
	b.valuesUntil(map[string]string{"bare-1-0-0": "", "web-1-0-0": "a: 1\n", "db-1-0-0": "b: 1\n"})
	assert.Equal(t, before+1, b.cache.detailsOf(b.source), "what cannot work is not tried again")
}

func TestWhatCouldNotBeMadeIsTriedAgainLaterAndLater(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := &valuesPass{valuesMemory: &valuesMemory{problems: map[string]*valuesProblem{}}, now: now}
	for _, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		require.False(t, p.isHeld("a", "sha256:1"))
		p.next = time.Time{}
		p.problem("a", "sha256:1", firstValuesRetry, "no")
		assert.True(t, p.isHeld("a", "sha256:1"))
		assert.Equal(t, p.now.Add(pause), p.next)
		p.now = p.next
	}
	for range 40 {
		p.problem("a", "sha256:1", firstValuesRetry, "no")
	}
	assert.Equal(t, p.now.Add(longestValuesRetry), p.problems["a"].retryAt)
	assert.False(t, p.isHeld("a", "sha256:2"), "another chart is another try")
}

func TestARepositoryThatIsNotKnownNowKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.publishChart("db", "1.0.0", "b: 1\n")
	b.valuesUntil(map[string]string{"web-1-0-0": "a: 1\n", "db-1-0-0": "b: 1\n"})

	b.cache.change(b.source, func(state *client.Repository) {
		state.State, state.StaleSince = chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, time.Now()
		state.LastError = &client.RepositoryError{
			Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, Message: "down", Time: time.Now(),
		}
	})
	b.cache.withdraw(b.source, "web", "")
	b.cache.add(b.source, client.ChartVersion{Chart: "cache", Version: "1.0.0"}, tarball(t, map[string]string{"cache/values.yaml": "c: 1\n"}))
	b.valuesUntil(map[string]string{"web-1-0-0": "a: 1\n", "db-1-0-0": "b: 1\n", "cache-1-0-0": "c: 1\n"})
	assert.NotContains(t, b.configMap("web-1-0-0").Annotations, valuesmap.UnusedAnnotation)

	b.publishChart("other", "1.0.0", "d: 1\n") // synced again
	b.valuesUntil(map[string]string{"db-1-0-0": "b: 1\n", "cache-1-0-0": "c: 1\n", "other-1-0-0": "d: 1\n"})
}

func TestWhatSomebodyElseDoesToAConfigMapIsUndone(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1\n")
	want := map[string]string{"web-1-0-0": "a: 1\n"}
	b.valuesUntil(want)

	object := b.configMap("web-1-0-0")
	require.NoError(t, b.Delete(b.ctx, object))
	require.Eventually(t, func() bool {
		again := &corev1.ConfigMap{}
		return b.Get(b.ctx, kube.ObjectKeyFromObject(object), again) == nil && again.UID != object.UID
	}, patience, tick)

	object = b.configMap("web-1-0-0")
	b.edit(object, func() {
		object.Data[valuesmap.DataKey], object.Data["note"] = "b: 2\n", "theirs"
		object.Labels["team"], object.Labels[valuesmap.VersionLabel] = "shop", "other"
	})
	b.valuesUntil(want)
	object = b.configMap("web-1-0-0")
	assert.Equal(t, "1.0.0", object.Labels[valuesmap.VersionLabel])
	assert.Equal(t, "shop", object.Labels["team"], "what does not concern us stays")
	assert.Equal(t, "theirs", object.Data["note"])
}

func TestConfigMapsOfTheOriginalProjectAndOfAFormerRepositoryAreTakenOver(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapOnDemand)
	old := func(name, version string, owner types.UID) *corev1.ConfigMap {
		yes := true
		object := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: b.namespace, Name: name,
				Labels: map[string]string{
					valuesmap.OwnedLabel: "true", valuesmap.RepositoryLabel: "charts", valuesmap.ChartLabel: "web", valuesmap.VersionLabel: version,
				},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: v1alpha1.GroupVersion.String(), Kind: "HelmRepository", Name: "charts", UID: owner, Controller: &yes,
				}},
			},
			Data: map[string]string{valuesmap.DataKey: "old: true\n"},
		}
		require.NoError(t, b.Create(b.ctx, object))
		return object
	}
	old("helm-values-charts-web-1-0-0", "1.0.0", b.repository.UID)
	stranger := old("helm-values-charts-web-2-0-0", "2.0.0", "00000000-0000-0000-0000-000000000000")
	old("helm-values-charts-web-0-9-0", "0.9.0", b.repository.UID) // no longer in the repository
	for _, version := range []string{"1.0.0", "2.0.0"} {
		b.publish(b.repository, version)
	}
	b.release("one", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.0.0" })
	b.release("two", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "2.0.0" })

	const values = "message: hello\nworkload: false\n"
	b.valuesUntil(map[string]string{"web-1-0-0": values, "web-2-0-0": values})
	assert.NotEqual(t, stranger.UID, b.configMap("web-2-0-0").UID)
	assert.Equal(t, "web", b.configMap("web-1-0-0").Annotations[valuesmap.ChartAnnotation])
}

func TestALargeRepositoryIsReadOnceAndWhatDidNotChangeIsNotReadAgain(t *testing.T) {
	t.Parallel()
	const charts = 150
	b := newValuesBench(t, v1alpha1.ValuesConfigMapDisabled)
	for i := range charts {
		b.publishChart(fmt.Sprintf("chart-%03d", i), "1.0.0", "a: 1\n")
	}
	b.policy(v1alpha1.ValuesConfigMapLazy)
	b.publishChart("chart-000", "1.0.1", "a: 2\n")

	require.Eventually(t, func() bool { return len(b.values()) == charts }, patience, tick)
	assert.Equal(t, charts, b.cache.detailsOf(b.source))
	events := &corev1.EventList{}
	require.NoError(t, b.List(b.ctx, events, kube.InNamespace(b.namespace),
		kube.MatchingFields{"involvedObject.name": "charts", "reason": v1alpha1.ReasonValuesConfigMapsUpdated}))
	assert.LessOrEqual(t, len(events.Items), 2*(1+charts/writesPerPass), "one event for each pass")

	require.NoError(t, b.Delete(b.ctx, b.repository))
	require.Eventually(t, func() bool {
		_, series := b.counter("helm_chart_configmaps_generated_total")
		return series == 0
	}, patience, tick, "series go with their object")
}

func TestARepositoryWhoseNameIsTheBeginningOfAnotherGetsTheNamesThatBothCouldHave(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	longer := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "charts-extra"},
		Spec:       v1alpha1.HelmRepositorySpec{URL: "https://charts.example.com", ValuesConfigMapPolicy: v1alpha1.ValuesConfigMapLazy},
	}
	require.NoError(t, b.Create(b.ctx, longer))
	b.cache.publish(client.Named(b.namespace, "charts-extra"), 1, client.ChartVersion{Chart: "web", Version: "1.0.0"},
		tarball(t, map[string]string{"web/values.yaml": "of: charts-extra\n"}))
	b.publishChart("extra-web", "1.0.0", "of: charts\n")

	b.valuesUntil(map[string]string{"extra-web-1-0-0": "of: charts\n"})
	hashed := &corev1.ConfigMapList{}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, b.List(b.ctx, hashed, kube.InNamespace(b.namespace), kube.MatchingLabels{valuesmap.RepositoryLabel: "charts-extra"}))
		require.Len(c, hashed.Items, 1)
		require.Equal(c, "of: charts-extra\n", hashed.Items[0].Data[valuesmap.DataKey])
	}, patience, tick)

	// When the other one goes, so does the reason for the odd name.
	require.NoError(t, b.Delete(b.ctx, b.repository))
	b.gone(b.repository)
	require.NoError(t, b.Delete(b.ctx, b.configMap("extra-web-1-0-0"))) // as the garbage collector does
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		object := &corev1.ConfigMap{}
		require.NoError(c, b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: "helm-values-charts-extra-web-1-0-0"}, object))
		require.Equal(c, "of: charts-extra\n", object.Data[valuesmap.DataKey])
		require.NoError(c, b.Get(b.ctx, kube.ObjectKeyFromObject(&hashed.Items[0]), object))
		require.Contains(c, object.Annotations, valuesmap.UnusedAnnotation, "who uses the old name has time to notice")
	}, patience, tick)
}

func TestAChartcacheThatLostItsMemoryIsNotTakenForARegistryThatLostItsCharts(t *testing.T) {
	t.Parallel()
	b := newValuesBench(t, v1alpha1.ValuesConfigMapLazy)
	b.publishChart("web", "1.0.0", "a: 1\n")
	b.publishChart("gone", "1.0.0", "b: 1\n")
	b.valuesUntil(map[string]string{"web-1-0-0": "a: 1\n", "gone-1-0-0": "b: 1\n"})
	key := types.NamespacedName{Namespace: b.namespace, Name: "charts"}
	forgetful := b.reconciler(time.Now, false)
	forgetful.charts = forgetfulRegistry{b.cache}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := forgetful.Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
		require.NoError(c, err)
	}, patience, tick)
	assert.Len(t, b.values(), 2)
	assert.NotContains(t, b.configMap("web-1-0-0").Annotations, valuesmap.UnusedAnnotation)

	// What the registry itself does not know is gone.
	b.cache.withdraw(b.source, "gone", "")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := forgetful.Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
		require.NoError(c, err)
		require.Equal(c, []string{"helm-values-charts-web-1-0-0"}, slices.Sorted(maps.Keys(b.values())))
	}, patience, tick)

	// A tag that moved while nobody remembered its digest.
	b.cache.replace(b.source, "web", tarball(t, map[string]string{"web/values.yaml": "a: moved\n"}))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := forgetful.Reconcile(b.ctx, ctrl.Request{NamespacedName: key})
		require.NoError(c, err)
		require.Equal(c, "a: moved\n", b.values()["helm-values-charts-web-1-0-0"])
	}, patience, tick)
}

// A copy goes neither with ours nor because its chart is gone.
func TestCopiesThatSomebodyMadeStayWhateverBecomesOfOurs(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.ValuesConfigMapPolicy{
		v1alpha1.ValuesConfigMapDisabled, v1alpha1.ValuesConfigMapOnDemand, v1alpha1.ValuesConfigMapLazy,
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			a := newAloneBench(t, v1alpha1.ValuesConfigMapLazy)
			a.publishChart("web", "1.0.0", "a: 1\n")
			a.publishChart("db", "1.0.0", "b: 1\n")
			a.pass()
			var copies []*corev1.ConfigMap
			for _, name := range []string{"helm-values-anything", "helm-values-charts-db", "helm-values-charts-db-2-0-0"} {
				made := a.configMap("db-1-0-0")
				made.ObjectMeta = metav1.ObjectMeta{
					Namespace: made.Namespace, Name: name, Labels: made.Labels, Annotations: made.Annotations, OwnerReferences: made.OwnerReferences,
				}
				require.NoError(t, a.Create(a.ctx, made))
				copies = append(copies, made)
			}
			a.cache.withdraw(a.source, "db", "")
			a.repository.Spec.ValuesConfigMapPolicy = policy
			for range 2 {
				a.pass()
				a.clock = a.clock.Add(2 * time.Hour)
			}
			assert.NotContains(t, a.values(), "helm-values-charts-db-1-0-0")
			for _, made := range copies {
				now := &corev1.ConfigMap{}
				require.NoError(t, a.Get(a.ctx, kube.ObjectKeyFromObject(made), now))
				assert.Equal(t, made.ResourceVersion, now.ResourceVersion)
			}

			// A version whose name somebody took for a copy is told of.
			a.publishChart("db", "2.0.0", "b: 2\n")
			a.uses = []valuesmap.Chart{{Name: "db", Version: "2.0.0"}}
			a.pass()
			if policy != v1alpha1.ValuesConfigMapDisabled {
				require.Len(t, a.warnings.texts, 1)
				assert.Contains(t, a.warnings.texts[0], "ConfigMap helm-values-charts-db-2-0-0 exists and is not of this repository")
			}
		})
	}
}
