package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// This test takes the chartcache away that all tests share. It does not call t.Parallel, so it runs before those that do.
func TestReleasesStayReadyWhileChartcacheIsAway(t *testing.T) {
	b := newBench(t)
	b.charts("1.0.0")
	b.release("app")
	b.until("app", ready)
	b.repositoryUntil("charts", metav1.ConditionTrue, "")

	b.cache.setAway(true)
	defer b.cache.setAway(false)
	b.release("waits")
	release := b.until("waits", notReady(v1alpha1.ReasonDependencyNotReady))
	assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message, "unreachable")
	b.event("waits", corev1.EventTypeWarning, v1alpha1.ReasonDependencyNotReady)
	b.until("app", ready)
	b.repositoryUntil("charts", metav1.ConditionTrue, "")

	b.cache.setAway(false)
	b.until("waits", ready)
}

// eventLog keeps events.
type eventLog struct{ reasons []string }

func (l *eventLog) Event(_ runtime.Object, kind, reason, _ string) {
	l.reasons = append(l.reasons, kind+" "+reason)
}

func TestARepositoryIsNotReadyWhenChartcacheStaysAway(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	repository := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "charts", Generation: 1}}
	writeConditions(repository, metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted, "synced", outcome{})
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(repository).WithStatusSubresource(repository).Build()
	cache, log := newFakeCache(), &eventLog{}
	cache.setAway(true)
	down := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now := down.Add(40 * time.Second)
	r := &repositoryReconciler{
		client: api, cache: cache, events: log, now: func() time.Time { return now },
		downSince: func() time.Time { return down }, newest: (&watch{}).revision, requests: map[types.NamespacedName]string{},
	}
	request := ctrl.Request{NamespacedName: kube.ObjectKeyFromObject(repository)}

	result, err := r.Reconcile(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, 20*time.Second, result.RequeueAfter, "it is looked at again when the grace ends")
	require.NoError(t, api.Get(t.Context(), request.NamespacedName, repository))
	assert.True(t, meta.IsStatusConditionTrue(repository.Status.Conditions, v1alpha1.ConditionReady), "a restart takes seconds")

	now = down.Add(time.Minute)
	_, err = r.Reconcile(t.Context(), request)
	require.NoError(t, err)
	require.NoError(t, api.Get(t.Context(), request.NamespacedName, repository))
	condition := meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady)
	assert.Equal(t, metav1.ConditionUnknown, condition.Status)
	assert.Contains(t, condition.Message, "unreachable")
	assert.Equal(t, []string{"Warning SyncFailed"}, log.reasons)
}

func TestTheWatchRemembersTheNewestRevision(t *testing.T) {
	t.Parallel()
	w := &watch{revisions: map[client.Source]client.Revision{}}
	source, now := client.Named("shop", "charts"), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	newer := client.Revision{Name: "b", ObservedAt: now}
	w.saw(source, newer)
	w.saw(source, client.Revision{Name: "a", ObservedAt: now.Add(-time.Minute)})
	w.saw(source, client.Revision{})
	assert.Equal(t, newer, w.revision(source))
	w.forget(source)
	assert.True(t, w.revision(source).IsZero())
}

func TestATriggerKeepsWhatCameBeforeTheStart(t *testing.T) {
	t.Parallel()
	early := &trigger{}
	key := types.NamespacedName{Namespace: "shop", Name: "app"}
	early.enqueue(key)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	defer queue.ShutDown()
	require.NoError(t, early.Start(t.Context(), queue))
	early.enqueue(key)
	assert.Equal(t, 1, queue.Len(), "equal requests are one")
}

func TestTheWatchRemembersWhenItHeardOfARepository(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := &watch{now: func() time.Time { now = now.Add(time.Second); return now }}
	charts, others := client.Named("shop", "charts"), client.Named("shop", "others")
	assert.Zero(t, w.newsOf(charts))
	w.setUp()
	assert.Equal(t, now, w.newsOf(charts), "any may have news when chartcache comes back")
	up := now
	w.noteNews(charts)
	assert.Equal(t, now, w.newsOf(charts))
	assert.Equal(t, up, w.newsOf(others))
	w.forget(charts)
	assert.Equal(t, up, w.newsOf(charts), "nothing is kept of what is gone")
}
