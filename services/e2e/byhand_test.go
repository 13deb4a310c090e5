package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// The stories of this file are about people who use the helm command on a release of the operator.

func TestAReleaseThatIsUpgradedOrRolledBackByHandIsBroughtBack(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: ours") }))
	s.until("app", atRevision(1))

	s.helm("upgrade", "app", s.packaged(webChart("1.0.0")), "--set", "message=by-hand")
	s.until("app", atRevision(3))
	assert.Equal(t, "ours", s.message("app"))

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: newer") })
	s.until("app", atRevision(4))
	s.helm("rollback", "app", "1")
	release := s.until("app", atRevision(6))
	assert.Equal(t, "newer", s.message("app"))

	assert.Zero(t, release.Status.FailureCount)
	assert.Empty(t, release.Status.Failures, "what others do is no failure")
	var statuses []string
	for _, revision := range s.history("app") {
		statuses = append(statuses, revision.Status)
	}
	assert.Equal(t, []string{"superseded", "superseded", "superseded", "superseded", "superseded", "deployed"}, statuses)
}

func TestAnUpgradeByHandThatRunsIsWaitedForAndNamed(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app"))
	s.until("app", atRevision(1))

	ended := s.helmLater("upgrade", "app", s.packaged(webChart("1.0.0")), "--set", "nodeSelector.disk=none-has-this,message=by-hand",
		"--wait", "--timeout", patience.String())
	release := s.until("app", notReady(v1alpha1.ReasonDependencyNotReady))
	condition := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady)
	assert.Contains(t, condition.Message, fmt.Sprintf("another Helm operation works on %s/app (revision 2 is pending-upgrade)", s.namespace))
	assert.True(t, meta.IsStatusConditionFalse(release.Status.Conditions, v1alpha1.ConditionFailed), "waiting is no failure")

	// What is wanted meanwhile is not lost.
	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: newer") })
	s.until("app", notReady(v1alpha1.ReasonDependencyNotReady))
	assert.Equal(t, "by-hand", s.message("app"), "nothing is written under the hands of others")
	s.patch(&appsv1.Deployment{ObjectMeta: s.meta("app")}, `{"spec":{"template":{"spec":{"nodeSelector":null}}}}`)
	ended()

	release = s.until("app", atRevision(3))
	assert.Equal(t, "newer", s.message("app"))
	assert.Empty(t, release.Status.Failures)
	assert.Equal(t, "superseded", s.history("app")[1].Status, "the upgrade by hand came to its end")
}

func TestAReleaseThatIsUninstalledByHandIsInstalledAgain(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: ours") }))
	s.until("app", atRevision(1))
	before := s.deployment(s.namespace, "app")

	s.helm("uninstall", "app")
	s.untilOther("app", before.UID)
	s.until("app", atRevision(1))
	assert.Equal(t, "ours", s.message("app"))

	// Somebody who takes their time is not hurried: what would be installed meanwhile, they would delete.
	before = s.deployment(s.namespace, "app")
	s.patch(&corev1.ConfigMap{ObjectMeta: s.meta("app")}, `{"metadata":{"finalizers":["example.com/held"]}}`)
	ended := s.helmLater("uninstall", "app", "--wait", "--timeout", patience.String())
	release := s.until("app", notReady(v1alpha1.ReasonDependencyNotReady))
	condition := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady)
	assert.Contains(t, condition.Message, fmt.Sprintf("another Helm operation works on %s/app (revision 1 is uninstalling)", s.namespace))
	s.patch(&corev1.ConfigMap{ObjectMeta: s.meta("app")}, `{"metadata":{"finalizers":null}}`)
	ended()
	s.untilOther("app", before.UID)
	release = s.until("app", atRevision(1))
	assert.Equal(t, "ours", s.message("app"))
	assert.Empty(t, release.Status.Failures)

	// History that was kept goes on.
	before = s.deployment(s.namespace, "app")
	s.helm("uninstall", "app", "--keep-history")
	s.untilOther("app", before.UID)
	s.until("app", atRevision(2))
}

// atRevision wants Ready=True with a revision deployed.
func atRevision(revision int) func(*v1alpha1.HelmRelease) error {
	return func(release *v1alpha1.HelmRelease) error {
		deployed := release.Status.HelmRelease
		if deployed == nil || deployed.Revision != revision || deployed.Status != "deployed" {
			return fmt.Errorf("deployed is %+v, want revision %d", deployed, revision)
		}
		return ready(release)
	}
}

// meta names an object of the story.
func (s *story) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: s.namespace, Name: name}
}

// untilOther waits until a Deployment is there that is not the one of a UID.
func (s *story) untilOther(name string, uid types.UID) {
	s.Helper()
	require.Eventually(s, func() bool {
		deployment := &appsv1.Deployment{}
		err := s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, deployment)
		return err == nil && deployment.UID != uid
	}, patience, 50*time.Millisecond, "Deployment %s was not made again", name)
}

// helm runs the real helm CLI in the namespace of the story.
func (s *story) helm(args ...string) string {
	s.Helper()
	return helm(s.T, append(args, "--namespace", s.namespace)...)
}

// helmLater starts the real helm CLI in the namespace of the story. The function that it returns waits for a good end.
func (s *story) helmLater(args ...string) (wait func()) {
	s.Helper()
	cmd := command(s.T, "helm", append(args, "--namespace", s.namespace)...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(s, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, unless the test failed
		<-ended                //nolint:errcheck // how it ended does not matter
	})
	return func() {
		s.Helper()
		err := <-ended
		ended <- err // for the clean-up
		require.NoError(s, err, "helm %s: %s", strings.Join(args, " "), output.String())
	}
}
