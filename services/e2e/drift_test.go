package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// drifted wants the Drifted condition to have a status and a reason, at the current generation.
func drifted(status metav1.ConditionStatus, reason string) func(*v1alpha1.HelmRelease) error {
	return func(release *v1alpha1.HelmRelease) error {
		condition := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionDrifted)
		if condition == nil || condition.Status != status || condition.Reason != reason || condition.ObservedGeneration != release.Generation {
			return fmt.Errorf("Drifted is %+v, want %s %s", condition, status, reason)
		}
		return ready(release)
	}
}

// look asks for a look at a release now.
func (s *story) look(name, request string) {
	s.edit(name, func(r *v1alpha1.HelmRelease) {
		r.Annotations = map[string]string{v1alpha1.ReconcileAnnotation: request}
	})
}

// patch patches an object as a person does.
func (s *story) patch(object client.Object, patch string) {
	s.Helper()
	require.NoError(s, s.Patch(s.ctx, object, client.RawPatch("application/strategic-merge-patch+json", []byte(patch))))
}

// autoscale puts a Deployment under an autoscaler with a lowest number of Pods and waits until there are as many.
func (s *story) autoscale(name string, lowest int32) {
	s.Helper()
	require.NoError(s, s.Create(s.ctx, &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: s.meta(name), Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
		MinReplicas:    &lowest, MaxReplicas: lowest + 2,
	}}))
	require.Eventually(s, func() bool {
		deployment := &appsv1.Deployment{}
		require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, deployment))
		return *deployment.Spec.Replicas == lowest
	}, patience, 50*time.Millisecond)
}

func TestWhatIsDeletedOrEditedByHandIsReportedAndThenCorrected(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.DriftDetection = &v1alpha1.DriftDetection{
			Mode: v1alpha1.DriftWarn,
			Ignore: []v1alpha1.DriftIgnoreRule{
				{Paths: []string{"/spec/ports"}, Target: &v1alpha1.ObjectSelector{Kind: "Service", Name: "app"}},
			},
		}
	}))
	s.until("app", drifted(metav1.ConditionFalse, v1alpha1.ReasonNoDrift))
	names := metav1.ObjectMeta{Namespace: s.namespace, Name: "app"}
	web := &appsv1.Deployment{ObjectMeta: names}

	// What an autoscaler sets, others add and rules name is no drift; the rest is.
	s.autoscale("app", 3)
	s.patch(&corev1.Service{ObjectMeta: names}, `{"metadata":{"labels":{"team":"a"}},"spec":{"ports":[{"port":80,"targetPort":8080}]}}`)
	s.look("app", "nothing")
	s.until("app", handled("nothing", drifted(metav1.ConditionFalse, v1alpha1.ReasonNoDrift)))
	require.NoError(t, s.Delete(s.ctx, &corev1.ConfigMap{ObjectMeta: names}))
	s.patch(web, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"example.invalid/other:1"}]}}}}`)
	s.look("app", "something")
	release := s.until("app", drifted(metav1.ConditionTrue, v1alpha1.ReasonDriftDetected))
	want := fmt.Sprintf("2 objects differ from the release: ConfigMap %[1]s/app (missing); Deployment %[1]s/app "+
		`(/spec/template/spec/containers/0/image is "example.invalid/other:1" instead of "example.invalid/web:1")`, s.namespace)
	assert.Equal(t, want, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionDrifted).Message)
	assert.Equal(t, want, s.event("app", corev1.EventTypeWarning, v1alpha1.ReasonDriftDetected))
	require.Len(t, release.Status.Drift.Objects, 2)
	assert.Equal(t, v1alpha1.DriftMissing, release.Status.Drift.Objects[0].State)

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.DriftDetection.Mode = v1alpha1.DriftCorrect })
	release = s.until("app", drifted(metav1.ConditionFalse, v1alpha1.ReasonDriftCorrected))
	assert.Nil(t, release.Status.Drift)
	assert.Equal(t, 1, release.Status.HelmRelease.Revision, "a correction is no revision")
	assert.Contains(t, s.event("app", corev1.EventTypeNormal, v1alpha1.ReasonDriftCorrected), "Corrected 2 objects: ConfigMap")
	assert.Equal(t, "hello", s.message("app"))
	web = s.deployment(s.namespace, "app")
	assert.EqualValues(t, 3, *web.Spec.Replicas, "what an autoscaler set stays")
	assert.Equal(t, "example.invalid/web:1", web.Spec.Template.Spec.Containers[0].Image)
	service := &corev1.Service{}
	require.NoError(t, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "app"}, service))
	assert.Equal(t, 8080, service.Spec.Ports[0].TargetPort.IntValue())
	assert.Equal(t, "a", service.Labels["team"])

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.DriftDetection = nil })
	s.until("app", func(r *v1alpha1.HelmRelease) error {
		if condition := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionDrifted); condition != nil {
			return fmt.Errorf("Drifted is still there: %+v", condition)
		}
		return ready(r)
	})
}
