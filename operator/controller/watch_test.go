package controller

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestPinnedChartsAreThoseThatNewsCannotUpgrade(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"1.2.3": true, "v1.2.3": true, "1.2.3-rc.1": true, "1.2.3+build": true,
		"": false, "latest": false, "1.2": false, "1.2.x": false, "^1.2.3": false, "=1.2.3": false, "1.2.3 || 2.0.0": false, ">=1.0.0, <2.0.0": false,
	} {
		assert.Equal(t, want, isPinned(&v1alpha1.ChartSpec{Version: version}), "%q", version)
	}
	assert.True(t, isPinned(&v1alpha1.ChartSpec{Version: "^1.0.0", Digest: "sha256:0"}), "a digest wins over the version")
}

func TestNewsOfAChartReachFirstWhatMayBeUpgraded(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	ready := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	release := func(name, version string, conditions []metav1.Condition) *v1alpha1.HelmRelease {
		return &v1alpha1.HelmRelease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: v1alpha1.HelmReleaseSpec{
				Chart: v1alpha1.ChartSpec{Name: "app", Version: version, Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
			},
			Status: v1alpha1.HelmReleaseStatus{Conditions: conditions},
		}
	}
	reader := fake.NewClientBuilder().WithScheme(scheme).
		WithIndex(&v1alpha1.HelmRelease{}, indexSource, func(object kube.Object) []string {
			release, ok := object.(*v1alpha1.HelmRelease)
			if !ok {
				return nil
			}
			return sourceKeys(release)
		}).
		WithObjects(release("a-pinned", "1.0.0", ready), release("b-blocked", "1.1.0", nil), release("c-follows", "^1.0.0", ready)).
		Build()
	queue := priorityqueue.New[ctrl.Request]("releases")
	defer queue.ShutDown()
	w := &watch{reader: reader, log: logr.Discard(), now: time.Now, repositories: &trigger{}, releases: &trigger{}, values: &trigger{}, revisions: map[client.Source]client.Revision{}}
	require.NoError(t, w.releases.Start(t.Context(), queue))
	for _, name := range []string{"a-pinned", "b-blocked", "c-follows"} { // as after a reconcile: looked at again in an hour
		again := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}}
		queue.AddWithOpts(priorityqueue.AddOpts{After: time.Hour, Priority: ptr.To(laterPriority)}, again)
	}

	source := client.Named("shop", "charts")
	require.NoError(t, w.handle(t.Context(), &client.Changed{Repository: client.Repository{Source: source}, Charts: []string{"app"}}))

	var order []string
	for range 3 {
		request, shutDown := queue.Get()
		require.False(t, shutDown)
		order = append(order, request.Name)
		queue.Done(request)
	}
	assert.ElementsMatch(t, []string{"b-blocked", "c-follows"}, order[:2])
	assert.Equal(t, "a-pinned", order[2], "nothing is lost")
}

func TestWhatComesFirstIsRememberedBeforeTheStart(t *testing.T) {
	t.Parallel()
	key := func(name string) types.NamespacedName { return types.NamespacedName{Namespace: "shop", Name: name} }
	early := &trigger{}
	early.enqueueLater(key("later"))
	early.enqueue(key("now"))
	early.enqueueFirst(key("first"))
	queue := priorityqueue.New[ctrl.Request]("releases")
	defer queue.ShutDown()
	require.NoError(t, early.Start(t.Context(), queue))
	for _, want := range []string{"first", "now", "later"} {
		request, shutDown := queue.Get()
		require.False(t, shutDown)
		assert.Equal(t, want, request.Name)
		queue.Done(request)
	}
}
