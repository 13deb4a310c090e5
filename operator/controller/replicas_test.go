package controller

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestNoInstanceTakesAStatusBack(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const (
		synced  = chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED
		failed  = chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED
		pending = chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING
	)
	at := func(name string, observed time.Duration) client.Revision {
		return client.Revision{Name: name, ObservedAt: noon.Add(observed)}
	}
	failure := func(after time.Duration) *client.RepositoryError {
		return &client.RepositoryError{Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, Message: "502", Time: noon.Add(after)}
	}
	// The status holds revision b of noon, and generation 2.
	for name, test := range map[string]struct {
		state    client.Repository
		taken    bool
		revision string
		observed time.Duration // after noon
		ready    metav1.ConditionStatus
	}{
		"newer content":                 {client.Repository{ObservedGeneration: 2, State: synced, Revision: at("c", time.Minute)}, true, "c", time.Minute, metav1.ConditionTrue},
		"the same, seen later":          {client.Repository{ObservedGeneration: 2, State: synced, Revision: at("b", time.Minute)}, true, "b", time.Minute, metav1.ConditionTrue},
		"the same, seen earlier":        {client.Repository{ObservedGeneration: 2, State: synced, Revision: at("b", -time.Minute)}, true, "b", 0, metav1.ConditionTrue},
		"older content":                 {client.Repository{ObservedGeneration: 2, State: synced, Revision: at("a", -time.Minute)}, false, "b", 0, metav1.ConditionTrue},
		"an older spec":                 {client.Repository{ObservedGeneration: 1, State: synced, Revision: at("a", time.Minute)}, false, "b", 0, metav1.ConditionTrue},
		"nothing yet":                   {client.Repository{ObservedGeneration: 2, State: pending}, false, "b", 0, metav1.ConditionTrue},
		"a failure from before":         {client.Repository{ObservedGeneration: 2, State: failed, Revision: at("b", -time.Hour), LastError: failure(-time.Minute)}, false, "b", 0, metav1.ConditionTrue},
		"a failure since":               {client.Repository{ObservedGeneration: 2, State: failed, Revision: at("b", -time.Hour), LastError: failure(time.Minute)}, true, "b", 0, metav1.ConditionFalse},
		"a failure with nothing so far": {client.Repository{ObservedGeneration: 2, State: failed, LastError: failure(time.Minute)}, true, "b", 0, metav1.ConditionFalse},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repository := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
			require.True(t, writeState(repository, &client.Repository{
				ObservedGeneration: 2, State: synced, Revision: at("b", 0), LastSyncTime: noon, ChartCount: 1, VersionCount: 2,
			}))
			test.state.LastSyncTime = noon.Add(-time.Hour)
			assert.Equal(t, test.taken, writeState(repository, &test.state))
			assert.Equal(t, test.revision, repository.Status.Revision)
			assert.Equal(t, noon.Add(test.observed), repository.Status.RevisionObservedAt.Time)
			assert.Equal(t, noon, repository.Status.LastSyncTime.Time)
			assert.NotNil(t, repository.Status.Stats)
			assert.NoError(t, conditionIs(repository, test.ready))
		})
	}
}

func conditionIs(repository *v1alpha1.HelmRepository, want metav1.ConditionStatus) error {
	for _, c := range repository.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Status == want {
			return nil
		}
	}
	return assert.AnError
}

// laggingCache is a chartcache of which the instance that answers lacks the last revision until it syncs.
type laggingCache struct {
	*fakeCache
	lags bool
}

func (c *laggingCache) GetRepository(ctx context.Context, source client.Source) (client.Repository, error) {
	state, err := c.fakeCache.GetRepository(ctx, source)
	if c.lags {
		state.Revision = client.Revision{Name: "r0", ObservedAt: state.Revision.ObservedAt.Add(-time.Minute)}
	}
	return state, err
}

func (c *laggingCache) Sync(ctx context.Context, source client.Source) (client.SyncResult, error) {
	c.lags = false
	return c.fakeCache.Sync(ctx, source)
}

func TestAnInstanceThatIsBehindWhatTheWatchToldSyncsFirst(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	repository := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "charts", Generation: 1}}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(repository).WithStatusSubresource(repository).Build()
	cache := &laggingCache{fakeCache: newFakeCache(), lags: true}
	source := client.Named("shop", "charts")
	cache.publish(source, 1, client.ChartVersion{Chart: "web", Version: "1.0.0"}, nil)
	told, err := cache.fakeCache.GetRepository(t.Context(), source)
	require.NoError(t, err)
	r := &repositoryReconciler{
		client: api, cache: cache, events: &eventLog{}, now: time.Now, downSince: func() time.Time { return time.Time{} },
		newest: func(client.Source) client.Revision { return told.Revision }, requests: map[types.NamespacedName]string{},
	}
	_, err = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: kube.ObjectKeyFromObject(repository)})
	require.NoError(t, err)
	require.NoError(t, api.Get(t.Context(), kube.ObjectKeyFromObject(repository), repository))
	assert.Equal(t, told.Revision.Name, repository.Status.Revision)
	assert.False(t, cache.lags)
}
