package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// patience bounds every wait of a story; it is far above what any step takes.
const patience = 90 * time.Second

// removal bounds the removal of what a story made, which may be hundreds of releases.
const removal = 5 * time.Minute

// story is a test with a namespace of its own.
type story struct {
	*testing.T
	client.Client
	ctx       context.Context
	namespace string
}

// newStory makes the namespace and removes it, with all that is in it, when the test ends.
func newStory(t *testing.T) *story {
	t.Helper()
	s := &story{T: t, Client: suite.client, ctx: t.Context()}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "story-"}}
	require.NoError(t, s.Create(s.ctx, namespace))
	s.namespace = namespace.Name
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), removal)
		defer cancel()
		if t.Failed() {
			s.explain(ctx)
		}
		s.remove(ctx)
	})
	return s
}

// remove deletes the releases first, so that nothing of the story stays behind in other namespaces.
func (s *story) remove(ctx context.Context) {
	releases := &v1alpha1.HelmReleaseList{}
	deleted := false
	assert.Eventually(s, func() bool {
		// To delete hundreds in one request may take longer than the API server lets it: what is left is for the next one.
		deleted = deleted || s.DeleteAllOf(ctx, &v1alpha1.HelmRelease{}, client.InNamespace(s.namespace)) == nil
		return deleted && s.List(ctx, releases, client.InNamespace(s.namespace)) == nil && len(releases.Items) == 0
	}, removal, 100*time.Millisecond, "releases of %s are still there", s.namespace)
	assert.NoError(s, s.DeleteAllOf(ctx, &v1alpha1.HelmRepository{}, client.InNamespace(s.namespace)))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	assert.NoError(s, client.IgnoreNotFound(s.Delete(ctx, namespace)))
}

// explain logs the state of the story's objects.
func (s *story) explain(ctx context.Context) {
	releases := &v1alpha1.HelmReleaseList{}
	if s.List(ctx, releases, client.InNamespace(s.namespace)) == nil {
		for i := range releases.Items {
			s.Logf("release %s: %+v", releases.Items[i].Name, releases.Items[i].Status)
		}
	}
	repositories := &v1alpha1.HelmRepositoryList{}
	if s.List(ctx, repositories, client.InNamespace(s.namespace)) == nil {
		for i := range repositories.Items {
			s.Logf("repository %s: %+v", repositories.Items[i].Name, repositories.Items[i].Status.Conditions)
		}
	}
	events := &corev1.EventList{}
	if s.List(ctx, events, client.InNamespace(s.namespace)) == nil {
		for i := range events.Items {
			e := &events.Items[i]
			s.Logf("event %s %s %s: %s", e.InvolvedObject.Name, e.Type, e.Reason, e.Message)
		}
	}
}

// repository applies a HelmRepository that syncs often.
func (s *story) repository(name, url string) *v1alpha1.HelmRepository {
	s.Helper()
	repository := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url, Interval: "10s", Timeout: "10s"},
	}
	if strings.HasPrefix(url, "oci://") {
		repository.Spec.Type, repository.Spec.Insecure = v1alpha1.RepositoryTypeOCI, true
	}
	require.NoError(s, s.Create(s.ctx, repository))
	return repository
}

// release returns a HelmRelease of the chart web from the repository "charts", changed by the edits. It is not created.
func (s *story) release(name string, edits ...func(*v1alpha1.HelmRelease)) *v1alpha1.HelmRelease {
	release := &v1alpha1.HelmRelease{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace},
		Spec: v1alpha1.HelmReleaseSpec{
			Chart: v1alpha1.ChartSpec{Name: "web", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
		},
	}
	for _, edit := range edits {
		edit(release)
	}
	return release
}

// apply creates a HelmRelease.
func (s *story) apply(release *v1alpha1.HelmRelease) *v1alpha1.HelmRelease {
	s.Helper()
	require.NoError(s, s.Create(s.ctx, release))
	return release
}

// edit changes the spec of a HelmRelease as kubectl edit does.
func (s *story) edit(name string, change func(*v1alpha1.HelmRelease)) {
	s.Helper()
	require.Eventually(s, func() bool {
		release := &v1alpha1.HelmRelease{}
		require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, release))
		change(release)
		err := s.Update(s.ctx, release)
		if !apierrors.IsConflict(err) {
			require.NoError(s, err)
		}
		return err == nil
	}, patience, 10*time.Millisecond)
}

// until waits until the HelmRelease is as check wants it and returns it. The last reason why it is not is reported.
func (s *story) until(name string, check func(*v1alpha1.HelmRelease) error) *v1alpha1.HelmRelease {
	s.Helper()
	release := &v1alpha1.HelmRelease{}
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		require.NoError(c, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, release))
		require.NoError(c, check(release))
	}, patience, 50*time.Millisecond)
	return release
}

// ready wants Ready=True at the current generation.
func ready(release *v1alpha1.HelmRelease) error {
	return readyIs(release.Status.Conditions, release.Generation, metav1.ConditionTrue, "")
}

// notReady wants Ready=False with a reason at the current generation.
func notReady(reason string) func(*v1alpha1.HelmRelease) error {
	return func(release *v1alpha1.HelmRelease) error {
		return readyIs(release.Status.Conditions, release.Generation, metav1.ConditionFalse, reason)
	}
}

// readyAt wants Ready=True with a chart version deployed.
func readyAt(chartAndVersion string) func(*v1alpha1.HelmRelease) error {
	return func(release *v1alpha1.HelmRelease) error {
		if err := ready(release); err != nil {
			return err
		}
		if deployed := release.Status.HelmRelease; deployed == nil || deployed.Chart != chartAndVersion {
			return fmt.Errorf("deployed is %+v, want %s", deployed, chartAndVersion)
		}
		return nil
	}
}

func readyIs(conditions []metav1.Condition, generation int64, status metav1.ConditionStatus, reason string) error {
	condition := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case condition == nil:
		return fmt.Errorf("no Ready condition yet")
	case condition.ObservedGeneration != generation:
		return fmt.Errorf("Ready is of generation %d, want %d", condition.ObservedGeneration, generation)
	case condition.Status != status || (reason != "" && condition.Reason != reason):
		return fmt.Errorf("Ready is %s, %s: %s; want %s %s", condition.Status, condition.Reason, condition.Message, status, reason)
	}
	return nil
}

// repositoryUntil waits until the Ready condition of a HelmRepository has a status and, unless it is empty, a reason.
func (s *story) repositoryUntil(name string, status metav1.ConditionStatus, reason string) *v1alpha1.HelmRepository {
	s.Helper()
	repository := &v1alpha1.HelmRepository{}
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		require.NoError(c, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, repository))
		require.NoError(c, readyIs(repository.Status.Conditions, repository.Generation, status, reason))
	}, patience, 50*time.Millisecond)
	return repository
}

// event waits for an event on an object, of a type and a reason, and returns its message.
func (s *story) event(object, eventType, reason string) string {
	s.Helper()
	var message string
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		events := &corev1.EventList{}
		require.NoError(c, s.List(s.ctx, events, client.InNamespace(s.namespace),
			client.MatchingFields{"involvedObject.name": object, "reason": reason, "type": eventType}))
		require.NotEmpty(c, events.Items, "no %s event %s on %s", eventType, reason, object)
		message = events.Items[0].Message
	}, patience, 50*time.Millisecond)
	return message
}

// deployment waits until a Deployment is available and returns it.
func (s *story) deployment(namespace, name string) *appsv1.Deployment {
	s.Helper()
	deployment := &appsv1.Deployment{}
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		require.NoError(c, s.Get(s.ctx, client.ObjectKey{Namespace: namespace, Name: name}, deployment))
		require.Equal(c, *deployment.Spec.Replicas, deployment.Status.AvailableReplicas)
	}, patience, 50*time.Millisecond)
	return deployment
}

// message returns what the ConfigMap of the chart web says.
func (s *story) message(name string) string {
	s.Helper()
	configMap := &corev1.ConfigMap{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, configMap))
	return configMap.Data["message"]
}

// gone waits until an object no longer exists.
func (s *story) gone(object client.Object) {
	s.Helper()
	require.Eventually(s, func() bool {
		return apierrors.IsNotFound(s.Get(s.ctx, client.ObjectKeyFromObject(object), object))
	}, patience, 50*time.Millisecond, "%T %s is still there", object, object.GetName())
}

// get returns a HelmRelease as it is.
func (s *story) get(name string) *v1alpha1.HelmRelease {
	s.Helper()
	release := &v1alpha1.HelmRelease{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, release))
	return release
}
