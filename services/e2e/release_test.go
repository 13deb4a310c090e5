package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestAReleaseFromAnHTTPRepositoryLandsInItsNamespace(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"), webChart("1.2.0"), webChart("2.0.0"))
	s.repository("charts", repo.URL)
	target := s.namespace + "-target"
	t.Cleanup(func() {
		_ = s.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: target}})
	})
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Version = "^1.0.0"
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "shop", Namespace: target, CreateNamespace: true}
		r.Spec.Values = v1alpha1.ValuesFromString("replicas: 2\nmessage: welcome\n")
	}))

	release := s.until("app", readyAt("web-1.2.0"))

	assert.Equal(t, "Release is ready", meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message)
	assert.Equal(t, 1, release.Status.HelmRelease.Revision)
	assert.Equal(t, "deployed", release.Status.HelmRelease.Status)
	assert.EqualValues(t, 2, *s.deployment(target, "shop").Spec.Replicas)
	assert.Contains(t, helm(t, "list", "--namespace", target), "web-1.2.0")
	assert.NotEmpty(t, s.event("app", corev1.EventTypeNormal, v1alpha1.ReasonInstallCompleted))
	repository := s.repositoryUntil("charts", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
	assert.Equal(t, 3, repository.Status.Stats.TotalVersions)
	assert.Equal(t, "Repository synced successfully, found 1 charts",
		meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message)
}

func TestReleasesFromARegistryWorkByReferenceAndByURL(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	url := push(t, s.namespace+"/charts", webChart("1.0.0"), webChart("1.1.0"))
	s.repository("charts", url)
	s.apply(s.release("by-reference", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "~1.0.0" }))
	s.apply(s.release("by-url", func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Repository = nil
		r.Spec.Chart.OCIRepository = url + "/web"
	}))

	s.until("by-reference", readyAt("web-1.0.0"))
	s.until("by-url", readyAt("web-1.1.0"))
	s.repositoryUntil("charts", metav1.ConditionTrue, "")
	s.deployment(s.namespace, "by-reference")
	s.deployment(s.namespace, "by-url")
}

func TestANewerMatchingVersionArrivesByItself(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"))
	s.repository("charts", repo.URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.x" }))
	s.until("app", readyAt("web-1.0.0"))

	repo.publish(t, webChart("2.0.0"))
	repo.publish(t, webChart("1.3.0"))

	release := s.until("app", readyAt("web-1.3.0"))
	assert.Equal(t, 2, release.Status.HelmRelease.Revision)
	assert.Equal(t, "2.0.0", release.Status.LatestVersion)
}

func TestChangedValuesUpgradeAndUnchangedOnesDoNot(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app"))
	s.until("app", ready)

	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("message: changed # with a comment\n")
	})
	s.until("app", atRevision(2))
	assert.Equal(t, "changed", s.message("app"))

	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("# the same, spelled otherwise\n\"message\": 'changed'\n")
	})
	release := s.until("app", ready)
	assert.Equal(t, 2, release.Status.HelmRelease.Revision, "the same values must not upgrade")
}

func TestABadUpgradeIsRolledBackAndHeldUntilTheSpecIsMended(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
		r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: "3s"}
	}))
	s.until("app", ready)

	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}\n")
	})
	release := s.until("app", notReady(v1alpha1.ReasonRolledBack))

	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Contains(t, message, "Rolled back to revision 1 after upgrade failure")
	assert.Greater(t, len(message), len("Rolled back to revision 1 after upgrade failure"), "the message must say why")
	assert.Equal(t, 3, release.Status.HelmRelease.Revision)
	assert.NotEmpty(t, release.Status.Failures)
	s.event("app", corev1.EventTypeWarning, v1alpha1.ReasonUpgradeFailed)
	s.event("app", corev1.EventTypeNormal, v1alpha1.ReasonRollbackSucceeded)
	assert.Empty(t, s.deployment(s.namespace, "app").Spec.Template.Spec.NodeSelector)

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: mended\n") })
	release = s.until("app", ready)
	assert.Equal(t, 4, release.Status.HelmRelease.Revision, "what failed must not have been tried again")
	assert.Equal(t, "mended", s.message("app"))
}

func TestAFailedInstallIsNeverReadyAndIsMendedByAnEdit(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Install = &v1alpha1.InstallSpec{Timeout: "2s"}
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}\n")
	}))
	release := s.until("app", notReady(v1alpha1.ReasonInstallFailed))
	assert.Equal(t, "failed", release.Status.HelmRelease.Status)
	assert.True(t, meta.IsStatusConditionTrue(release.Status.Conditions, v1alpha1.ConditionFailed))

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = nil })
	release = s.until("app", ready)
	assert.True(t, meta.IsStatusConditionFalse(release.Status.Conditions, v1alpha1.ConditionFailed))
	s.deployment(s.namespace, "app")
}

func TestWaitFalseStaysFalse(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	no := false
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Install = &v1alpha1.InstallSpec{Wait: &no}
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}\n")
	}))

	release := s.until("app", ready)
	require.NotNil(t, release.Spec.Install.Wait)
	assert.False(t, *release.Spec.Install.Wait)
}

func TestDeletingAReleaseRemovesItsObjects(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	release := s.apply(s.release("app"))
	s.until("app", ready)
	deployment := s.deployment(s.namespace, "app")

	require.NoError(t, s.Delete(s.ctx, release))

	s.gone(release)
	s.gone(deployment)
	assert.NoError(t, s.noRecords())
}

func TestHooksAndCRDsOfAChartWork(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	group := s.namespace + ".example.com"
	rich := webChart("1.0.0").with("templates/hook.yaml", `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-before
  annotations: {"helm.sh/hook": "pre-install,pre-upgrade"}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: hook, image: "example.invalid/hook:1"}]
`).with("crds/widgets.yaml", definition(group, "Widget", "of a chart with hooks")).with("templates/widget.yaml", `apiVersion: `+group+`/v1
kind: Widget
metadata:
  name: {{ .Release.Name }}
spec: {size: 1}
`)
	s.repository("charts", newChartRepository(t, rich).URL)
	s.apply(s.release("app"))

	s.until("app", ready)

	assert.Contains(t, kubectl(t, "get", "widgets."+group, "--namespace", s.namespace), "app")
	assert.Contains(t, kubectl(t, "get", "job", "--namespace", s.namespace), "app-before")
}

func TestASuspendedReleaseIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app"))
	s.until("app", ready)

	s.edit("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Suspend = true
		r.Spec.Values = v1alpha1.ValuesFromString("message: later\n")
	})
	release := s.until("app", notReady(v1alpha1.ReasonReleaseSuspended))
	assert.Equal(t, 1, release.Status.HelmRelease.Revision)

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Suspend = false })
	s.until("app", ready)
	assert.Equal(t, "later", s.message("app"))
}
