package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// The stories of this file are about namespaces that are deleted: nothing can be made in them any more, hooks included, and what is
// in them goes in an order that nobody chooses.

func TestANamespaceThatIsDeletedTakesItsReleasesAlong(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0"), stageChart()).URL)
	s.apply(s.release("plain"))
	s.apply(s.stageRelease("with-hooks", first)) // one before the deletion, too
	s.apply(s.release("waits", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}")
	}))
	s.until("plain", ready)
	s.until("with-hooks", ready)
	require.Eventually(t, func() bool { return recordStatus(s, "waits") == "pending-install" }, patience, 50*time.Millisecond)

	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	require.NoError(t, s.Delete(s.ctx, namespace))
	s.gone(namespace)
}

func TestAHelmReleaseWhoseReleaseIsInADeletedNamespaceIsNotStuck(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, stageChart()).URL)
	target := func(name string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-" + name}}
	}
	for _, name := range []string{"held", "back"} {
		t.Cleanup(func() { _ = s.Delete(t.Context(), target(name)) }) // it is gone, unless the test failed
		release := s.stageRelease(name, first)
		release.Spec.Release = &v1alpha1.ReleaseTarget{Namespace: target(name).Name, CreateNamespace: true}
		s.apply(release)
	}
	s.until("held", ready)
	s.until("back", ready)
	// Something that is not of the release keeps the first namespace for as long as the story wants.
	holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: target("held").Name, Name: "holder", Finalizers: []string{"example.com/held"},
	}}
	require.NoError(t, s.Create(s.ctx, holder))

	held := s.get("held")
	require.NoError(t, s.Delete(s.ctx, target("held")))
	require.NoError(t, s.Delete(s.ctx, target("back")))
	require.NoError(t, s.Delete(s.ctx, held))
	s.gone(held)
	s.patch(holder, `{"metadata":{"finalizers":null}}`)
	s.gone(target("held"))

	// Where the HelmRelease stays, its release comes back as soon as it may.
	release := s.until("back", func(r *v1alpha1.HelmRelease) error {
		namespace := &corev1.Namespace{}
		if err := s.Get(s.ctx, client.ObjectKey{Name: target("back").Name}, namespace); err != nil || namespace.DeletionTimestamp != nil {
			return fmt.Errorf("namespace %s is not there again: %w", target("back").Name, err)
		}
		return ready(r)
	})
	assert.Equal(t, 1, release.Status.HelmRelease.Revision)
	require.NoError(t, s.Delete(s.ctx, release))
	s.gone(release)
	require.NoError(t, s.Delete(s.ctx, target("back")))
	s.gone(target("back"))
}
