package controller

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

// aloneBench is a bench with a HelmRepository that nobody knows but a reconciler of its own, which is called by hand: what becomes of
// its ConfigMaps is what that one did, and when.
type aloneBench struct {
	*valuesBench
	*valuesReconciler
	clock    time.Time
	uses     []valuesmap.Chart
	warnings recordedEvents
	refusals refusals
}

func newAloneBench(t *testing.T, policy v1alpha1.ValuesConfigMapPolicy) *aloneBench {
	b := newBench(t)
	b.cache = newFakeCache()
	a := &aloneBench{clock: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), valuesBench: &valuesBench{
		bench: b, source: client.Named(b.namespace, "charts"), repository: &v1alpha1.HelmRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "charts", UID: types.UID(b.namespace), Generation: 1},
			Spec:       v1alpha1.HelmRepositorySpec{ValuesConfigMapPolicy: policy, ValuesConfigMapRetention: "1h"},
		},
	}}
	a.valuesReconciler = a.reconciler(func() time.Time { return a.clock }, false)
	a.client, a.events = &aloneClient{Client: b.Client, repository: a.repository, refusals: &a.refusals}, &a.warnings
	a.users = func(_ context.Context, _ client.Source, visit func(*v1alpha1.HelmRelease, string)) error {
		for _, chart := range a.uses {
			visit(&v1alpha1.HelmRelease{Status: v1alpha1.HelmReleaseStatus{ChartVersion: chart.Version}}, chart.Name)
		}
		return nil
	}
	return a
}

// pass makes one pass, after the cache has heard of all that was written.
func (a *aloneBench) pass() ctrl.Result {
	a.Helper()
	a.heard()
	result, err := a.Reconcile(a.ctx, ctrl.Request{NamespacedName: keyOf(a.repository)})
	require.NoError(a, err)
	a.heard()
	return result
}

// aloneClient is a client for which there is one HelmRepository, and which refuses what it is told to.
type aloneClient struct {
	kube.Client
	repository *v1alpha1.HelmRepository
	refusals   *refusals
}

func (c *aloneClient) Get(ctx context.Context, key kube.ObjectKey, object kube.Object, options ...kube.GetOption) error {
	if repository, ok := object.(*v1alpha1.HelmRepository); ok {
		c.repository.DeepCopyInto(repository)
		return nil
	}
	return c.Client.Get(ctx, key, object, options...)
}

func (c *aloneClient) Patch(ctx context.Context, object kube.Object, patch kube.Patch, options ...kube.PatchOption) error {
	if err := c.refusals.of(object.GetName()); err != nil {
		return err
	}
	return c.Client.Patch(ctx, object, patch, options...)
}

func (c *aloneClient) Delete(ctx context.Context, object kube.Object, options ...kube.DeleteOption) error {
	if err := c.refusals.of(object.GetName()); err != nil {
		return err
	}
	return c.Client.Delete(ctx, object, options...)
}

// refusals are what the API server answers to changes of ConfigMaps, by name.
type refusals struct {
	mu      sync.Mutex // guards all below
	errors  map[string]error
	refused int
}

func (r *refusals) of(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.errors[name]
	if err != nil {
		r.refused++
	}
	return err
}

// set makes changes of a ConfigMap fail, or with nil work again, and forgets how many were refused.
func (r *refusals) set(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors, r.refused = map[string]error{name: err}, 0
}

func (r *refusals) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// recordedEvents are the texts of the warnings that were made.
type recordedEvents struct{ texts []string }

func (r *recordedEvents) Event(_ runtime.Object, kind, _, message string) {
	if kind == corev1.EventTypeWarning {
		r.texts = append(r.texts, message)
	}
}

// unsure is a chartcache that cannot say which version of one chart there is.
type unsure struct {
	ChartCache
	chart string
	err   error
}

func (u unsure) Resolve(ctx context.Context, request client.ChartRequest) (client.Resolved, error) {
	if request.Chart == u.chart {
		return client.Resolved{}, u.err
	}
	return u.ChartCache.Resolve(ctx, request)
}
