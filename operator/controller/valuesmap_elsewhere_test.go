package controller

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

// countedReleases answers which HelmReleases there are, one a page, and counts how often it is asked for the first page.
type countedReleases struct {
	kube.Reader
	items []v1alpha1.HelmRelease
	err   error
	asked int
}

func (r *countedReleases) List(_ context.Context, list kube.ObjectList, options ...kube.ListOption) error {
	asked := (&kube.ListOptions{}).ApplyOptions(options)
	page, _ := strconv.Atoi(asked.Continue)
	if page == 0 {
		r.asked++
	}
	if r.err != nil || page >= len(r.items) {
		return r.err
	}
	answer, ok := list.(*v1alpha1.HelmReleaseList)
	if !ok {
		return errors.New("only HelmReleases are asked for")
	}
	if answer.Items = r.items[page : page+1]; page+1 < len(r.items) {
		answer.Continue = strconv.Itoa(page + 1)
	}
	return nil
}

func TestAllReleasesAreAskedForOnceAMinuteHoweverManyPassesWouldRemoveSomething(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"they may be listed":     nil,
		"they may not be listed": apierrors.NewForbidden(corev1.Resource("helmreleases"), "", assert.AnError),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAloneBench(t, v1alpha1.ValuesConfigMapOnDemand)
			a.publishChart("db", "1.0.0", "b: 1\n")
			a.uses = []valuesmap.Chart{{Name: "db", Version: "1.0.0"}}
			a.pass()
			a.pass()
			a.uses = nil
			elsewhere := v1alpha1.HelmRelease{
				ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "elsewhere"},
				Spec: v1alpha1.HelmReleaseSpec{
					Chart: v1alpha1.ChartSpec{Name: "db", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
				},
				Status: v1alpha1.HelmReleaseStatus{ChartVersion: "1.0.0"},
			}
			releases := &countedReleases{items: []v1alpha1.HelmRelease{{}, elsewhere}, err: err}
			a.partial, a.everywhere = true, newEveryRelease(releases, a.now)

			for range 3 {
				a.pass()
				a.clock = a.clock.Add(releasesKept / 4)
			}
			assert.Equal(t, 1, releases.asked)
			assert.False(t, isUnused(a, "db"))

			releases.items = nil
			a.clock = a.clock.Add(releasesKept / 4)
			a.pass()
			assert.Equal(t, 2, releases.asked)
			assert.Equal(t, err == nil, isUnused(a, "db"))
		})
	}
}

func TestWhatCouldNotBeAskedForIsAskedForAgain(t *testing.T) {
	t.Parallel()
	releases := &countedReleases{err: assert.AnError}
	every := newEveryRelease(releases, time.Now)
	_, _, err := every.list(t.Context())
	require.ErrorIs(t, err, assert.AnError)
	releases.err = nil
	_, hidden, err := every.list(t.Context())
	require.NoError(t, err)
	assert.False(t, hidden)
	assert.Equal(t, 2, releases.asked)
}

// With --watch-namespaces, the cache holds what is in some namespaces, and a repository may be used from others.
func TestAnOperatorOfSomeNamespacesKeepsTheValuesThatReleasesOfOthersUse(t *testing.T) {
	t.Parallel()
	b := newValuesBenchUsedFromElsewhere(t)

	limited, err := cache.New(shared.env.Config, cache.Options{
		Scheme: b.Scheme(), DefaultNamespaces: map[string]cache.Config{b.namespace: {}},
	})
	require.NoError(t, err)
	require.NoError(t, addIndexes(b.ctx, limited))
	ended := make(chan error, 1)
	go func() { ended <- limited.Start(b.ctx) }()
	t.Cleanup(func() { assert.NoError(t, <-ended) }) // the context of a test ends before
	pass := func(c require.TestingT, partial bool) (unused bool) {
		reconciler := b.reconciler(time.Now, partial)
		reconciler.users = (&watch{reader: limited}).users
		_, err := reconciler.Reconcile(b.ctx, ctrl.Request{NamespacedName: keyOf(b.repository)})
		require.NoError(c, err)
		object := &corev1.ConfigMap{}
		require.NoError(c, b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: "helm-values-charts-web-1-0-0"}, object))
		_, unused = object.Annotations[valuesmap.UnusedAnnotation]
		return unused
	}
	b.heard()
	assert.False(t, pass(t, true))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.True(c, pass(c, false), "the cache does not hold the release")
	}, patience, tick)
}
