package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const tick = 20 * time.Millisecond

func TestARepositoryShowsWhatChartcacheHas(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.repository("charts")
	b.repositoryUntil("charts", metav1.ConditionUnknown, v1alpha1.ReasonSyncStarted)
	for minor := range 7 {
		b.publish(repository, fmt.Sprintf("1.%d.0", minor))
	}

	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.NoError(c, b.Get(b.ctx, kube.ObjectKeyFromObject(repository), repository))
		require.NotNil(c, repository.Status.Stats)
		require.Equal(c, 7, repository.Status.Stats.TotalVersions)
	}, patience, tick)
	repository = b.repositoryUntil("charts", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
	status := repository.Status
	assert.Equal(t, "Repository synced successfully, found 1 charts", meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady).Message)
	assert.True(t, meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionSyncing))
	assert.True(t, meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionFailed))
	assert.EqualValues(t, 4711, status.Stats.LastIndexSize)
	require.Len(t, status.Charts, 1)
	assert.Equal(t, "a web server", status.Charts[0].Description)
	require.Len(t, status.Charts[0].Versions, maxChartVersions)
	assert.Equal(t, "1.6.0", status.Charts[0].Versions[0].Version)
	assert.Nil(t, status.Charts[0].Versions[0].Created)
	assert.NotNil(t, status.LastSyncTime)
	assert.Empty(t, repository.Finalizers, "a repository needs none")
	completed := b.event("charts", corev1.EventTypeNormal, v1alpha1.ReasonSyncCompleted)
	assert.Equal(t, "helmrepository-controller", completed.Source.Component)
}

func TestARepositoryThatFailsSaysWhyAndRecovers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reason  chartcachev1.ErrorReason
		want    string
		stalled bool
	}{
		"refused credentials": {chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, v1alpha1.ReasonAuthenticationFailed, false},
		"missing secret":      {chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE, v1alpha1.ReasonAuthenticationFailed, false},
		"not found":           {chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND, v1alpha1.ReasonSyncFailed, false},
		"server error":        {chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, v1alpha1.ReasonSyncFailed, false},
		"garbage":             {chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, v1alpha1.ReasonSyncFailed, false},
		"wrong spec":          {chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, v1alpha1.ReasonConfigurationError, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			repository := b.repository("charts")
			b.cache.fails(client.Named(b.namespace, "charts"), repository.Generation, c.reason, "upstream said no")

			repository = b.repositoryUntil("charts", metav1.ConditionFalse, c.want)
			message := meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message
			assert.Contains(t, message, "Failed to")
			assert.Contains(t, message, "upstream said no")
			assert.True(t, meta.IsStatusConditionTrue(repository.Status.Conditions, v1alpha1.ConditionFailed))
			assert.Equal(t, c.stalled, meta.IsStatusConditionTrue(repository.Status.Conditions, v1alpha1.ConditionStalled))
			assert.Contains(t, b.event("charts", corev1.EventTypeWarning, c.want).Message, "upstream said no")

			b.publish(repository, "1.0.0")
			repository = b.repositoryUntil("charts", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
			assert.True(t, meta.IsStatusConditionFalse(repository.Status.Conditions, v1alpha1.ConditionFailed))
			assert.Nil(t, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionStalled))
		})
	}
}

func TestAnEditedRepositoryIsNotReadyBeforeChartcacheHasSeenTheEdit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.charts("1.0.0")
	b.repositoryUntil("charts", metav1.ConditionTrue, "")

	b.edit(repository, func() { repository.Spec.URL += "-moved" })

	got := b.repositoryUntil("charts", metav1.ConditionUnknown, v1alpha1.ReasonSyncStarted)
	assert.EqualValues(t, 1, got.Status.ObservedGeneration)
	b.publish(repository, "1.1.0")
	got = b.repositoryUntil("charts", metav1.ConditionTrue, "")
	assert.EqualValues(t, 2, got.Status.ObservedGeneration)
}

func TestASuspendedRepositorySaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	b.cache.change(client.Named(b.namespace, "charts"), func(state *client.Repository) {
		state.State = chartcachev1.RepositoryState_REPOSITORY_STATE_SUSPENDED
	})
	got := b.repositoryUntil("charts", metav1.ConditionFalse, v1alpha1.ReasonSuspended)
	assert.Equal(t, "Repository sync is suspended", meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady).Message)
	b.release("app")
	b.until("app", ready)
}

func TestTheReconcileAnnotationSyncsARepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.charts("1.0.0")
	source := client.Named(b.namespace, "charts")
	b.repositoryUntil("charts", metav1.ConditionTrue, "")
	assert.Zero(t, b.cache.synced(source))

	b.edit(repository, func() { repository.Annotations = map[string]string{v1alpha1.ReconcileAnnotation: "now"} })

	require.Eventually(t, func() bool { return b.cache.synced(source) == 1 }, patience, tick)
}

func TestAFinalizerOfTheOriginalDoesNotHoldADeletion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "old", Finalizers: []string{v1alpha1.RepositoryFinalizer}},
		Spec:       v1alpha1.HelmRepositorySpec{URL: "https://charts.example.com"},
	}
	require.NoError(t, b.Create(b.ctx, repository))
	require.NoError(t, b.Delete(b.ctx, repository))
	b.gone(repository)
}

func TestAnOlderStateIsIgnored(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	repository := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	state := &client.Repository{
		ObservedGeneration: 1, State: chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED,
		Revision: client.Revision{Name: "new", ObservedAt: now},
	}
	require.True(t, writeState(repository, state))
	saved := repository.DeepCopy()

	assert.False(t, writeState(repository, &client.Repository{
		ObservedGeneration: 1, State: chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED,
		Revision: client.Revision{Name: "old", ObservedAt: now.Add(-time.Second)},
	}))
	assert.Equal(t, saved, repository)

	state.Revision.ObservedAt = now.Add(time.Hour)
	require.True(t, writeState(repository, state))
	assert.True(t, sameStatus(&saved.Status, &repository.Status), "an unchanged sync is not worth a write")

	repository.Generation = 2
	state = &client.Repository{
		ObservedGeneration: 2, State: chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED,
		Revision: client.Revision{Name: "other", ObservedAt: now.Add(-time.Hour)},
	}
	assert.True(t, writeState(repository, state), "another URL is another history")
	assert.Equal(t, "other", repository.Status.Revision)
}

func TestTheListOfChartsIsBounded(t *testing.T) {
	t.Parallel()
	cache := newFakeCache()
	source := client.Named("shop", "big")
	for i := range maxCharts + 20 {
		cache.publish(source, 1, client.ChartVersion{
			Chart: fmt.Sprintf("chart-%03d", i), Version: "1.0.0", Description: strings.Repeat("ö", 500),
		}, nil)
	}
	r := &repositoryReconciler{cache: cache}

	charts, err := r.charts(t.Context(), source, client.Revision{})

	require.NoError(t, err)
	require.Len(t, charts, maxCharts)
	assert.Equal(t, "chart-000", charts[0].Name)
	assert.LessOrEqual(t, len(charts[0].Description), maxDescriptionBytes)
	assert.True(t, strings.HasSuffix(charts[0].Description, "ö..."))
}
