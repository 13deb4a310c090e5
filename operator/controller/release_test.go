package controller

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// charts makes the HelmRepository "charts" with versions of the chart web.
func (b *bench) charts(versions ...string) *v1alpha1.HelmRepository {
	b.Helper()
	repository := b.repository("charts")
	for _, version := range versions {
		b.publish(repository, version)
	}
	return repository
}

func (b *bench) publish(repository *v1alpha1.HelmRepository, version string) {
	b.Helper()
	b.cache.publish(client.Named(repository.Namespace, repository.Name), repository.Generation,
		client.ChartVersion{Chart: "web", Version: version, Description: "a web server"}, webChart(b.T, version))
}

func values(text string) func(*v1alpha1.HelmRelease) {
	return func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString(text) }
}

func TestAReleaseIsInstalledIntoItsNamespaceUpgradedAndUninstalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.charts("1.0.0", "2.0.0")
	target := b.namespace + "-target"
	object := b.release("app", values("message: welcome"), func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Version = "^1.0.0"
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "shop", Namespace: target, CreateNamespace: true}
	})

	release := b.until("app", atRevision(1))
	assert.Equal(t, "Release is ready", meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message)
	assert.Equal(t, "web-1.0.0", release.Status.HelmRelease.Chart)
	assert.Equal(t, "2.0.0", release.Status.LatestVersion)
	assert.Equal(t, "welcome", b.message(target, "shop"))
	installed := b.event("app", corev1.EventTypeNormal, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, "helmrelease-controller", installed.Source.Component)

	b.publish(repository, "1.4.0") // the watch of chartcache tells
	release = b.until("app", atRevision(2))
	assert.Equal(t, "web-1.4.0", release.Status.HelmRelease.Chart)

	b.edit(object, func() { object.Spec.Values = v1alpha1.ValuesFromString("message: changed") })
	b.until("app", atRevision(3))
	assert.Equal(t, "changed", b.message(target, "shop"))

	require.NoError(t, b.Delete(b.ctx, object))
	b.gone(object)
	b.gone(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: target, Name: "shop"}})
	records := &corev1.SecretList{}
	require.NoError(t, b.List(b.ctx, records, kube.InNamespace(target), kube.MatchingLabels{"owner": "helm"}))
	assert.Empty(t, records.Items)
	b.event("app", corev1.EventTypeNormal, v1alpha1.ReasonUninstallCompleted)
}

func TestAnUnchangedReleaseIsWrittenNoMore(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app")
	before := b.until("app", atRevision(1))

	// A pass that writes something again would have done so by the time that a later object is Ready.
	b.edit(object, func() { object.Labels = map[string]string{"some": "label"} })
	b.cache.change(client.Named(b.namespace, "charts"), func(*client.Repository) {})
	b.release("later")
	b.until("later", atRevision(1))
	after := b.until("app", atRevision(1))
	assert.Equal(t, before.Status, after.Status)
}

func TestAFailedUpgradeIsRolledBackAndHeldUntilItIsMended(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
		r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: "1s"}
	})
	b.until("app", atRevision(1))

	b.edit(object, func() { object.Spec.Values = v1alpha1.ValuesFromString("message: bad\nworkload: true") })
	release := b.until("app", notReady(v1alpha1.ReasonRolledBack))
	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Contains(t, message, "Rolled back to revision 1 after upgrade failure: ")
	assert.Contains(t, message, "app", "the message says what was not ready")
	assert.Equal(t, 3, release.Status.HelmRelease.Revision)
	assert.Equal(t, "hello", b.message(b.namespace, "app"))
	b.event("app", corev1.EventTypeWarning, v1alpha1.ReasonUpgradeFailed)
	b.event("app", corev1.EventTypeNormal, v1alpha1.ReasonRollbackSucceeded)

	b.edit(object, func() { object.Spec.Values = v1alpha1.ValuesFromString("message: mended") })
	b.until("app", atRevision(4))
	assert.Equal(t, "mended", b.message(b.namespace, "app"))
}

func TestAFailedInstallIsNeverReady(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app", values("workload: true"), func(r *v1alpha1.HelmRelease) {
		r.Spec.Install = &v1alpha1.InstallSpec{Timeout: "1s"}
	})
	release := b.until("app", notReady(v1alpha1.ReasonInstallFailed))
	assert.Equal(t, "failed", release.Status.HelmRelease.Status)
	assert.True(t, meta.IsStatusConditionTrue(release.Status.Conditions, v1alpha1.ConditionFailed))
	b.event("app", corev1.EventTypeWarning, v1alpha1.ReasonInstallFailed)

	b.edit(object, func() { object.Spec.Values = nil })
	b.until("app", atRevision(2))
}

func TestWaitFalseStaysFalse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	no := false
	b.release("app", values("workload: true"), func(r *v1alpha1.HelmRelease) { r.Spec.Install = &v1alpha1.InstallSpec{Wait: &no} })

	release := b.until("app", atRevision(1))

	require.NotNil(t, release.Spec.Install.Wait)
	assert.False(t, *release.Spec.Install.Wait)
	assert.EqualValues(t, 1, release.Generation, "our writes leave the spec alone")
}

func TestANewerSpecDoesNotWaitForAnOldTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app", values("workload: true"))
	b.until("app", func(r *v1alpha1.HelmRelease) error {
		records := &corev1.SecretList{}
		if err := b.List(b.ctx, records, kube.InNamespace(b.namespace), kube.MatchingLabels{"status": "pending-install"}); err != nil {
			return err
		}
		if len(records.Items) != 1 {
			return fmt.Errorf("%d pending records", len(records.Items))
		}
		return readyIs(r.Status.Conditions, 1, metav1.ConditionUnknown, v1alpha1.ReasonInstallStarted)
	})

	b.edit(object, func() { object.Spec.Values = nil })

	release := b.until("app", atRevision(2))
	assert.Zero(t, release.Status.FailureCount)
	assert.Empty(t, release.Status.Failures)
}

func TestBadInputIsNamedAndEverythingElseGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.charts("1.0.0")
	source := client.Named(b.namespace, "charts")
	b.cache.publish(source, repository.Generation, client.ChartVersion{Chart: "broken", Version: "1.0.0"}, tarball(t, map[string]string{
		"broken/Chart.yaml":         "apiVersion: v2\nname: broken\nversion: 1.0.0\n",
		"broken/templates/bad.yaml": "{{ .Values.missing.field }}",
	}))
	b.cache.publish(source, repository.Generation, client.ChartVersion{
		Chart: "forged", Version: "1.0.0", Digest: "sha256:" + strings.Repeat("a", 64),
	}, webChart(t, "1.0.0"))
	b.cache.publish(source, repository.Generation, client.ChartVersion{Chart: "alias", Version: "1.0.0"}, webChart(t, "1.0.0"))
	down := b.repository("down")
	b.cache.fails(client.Named(b.namespace, "down"), down.Generation, chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, "connection refused")
	chart := func(name string) func(*v1alpha1.HelmRelease) {
		return func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Name = name }
	}
	version := func(constraint string) func(*v1alpha1.HelmRelease) {
		return func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = constraint }
	}
	cases := map[string]struct {
		edit            func(*v1alpha1.HelmRelease)
		reason, mention string
	}{
		"unknown-repository":   {func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Name = "nowhere" }, v1alpha1.ReasonRepositoryNotFound, "nowhere"},
		"down-repository":      {func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Name = "down" }, v1alpha1.ReasonSyncFailed, "refused"},
		"no-source":            {func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository = nil }, v1alpha1.ReasonConfigurationError, "repository"},
		"unknown-chart":        {chart("nothing"), v1alpha1.ReasonChartNotFound, "nothing"},
		"no-version":           {version("^9.0.0"), v1alpha1.ReasonChartNotFound, "^9.0.0"},
		"malformed-constraint": {version("one.two"), v1alpha1.ReasonConfigurationError, "one.two"},
		"values-not-yaml":      {values("a: b: c"), v1alpha1.ReasonValuesError, "spec.values"},
		"values-a-list":        {func(r *v1alpha1.HelmRelease) { r.Spec.Values = &v1alpha1.Values{Raw: []byte(`["a"]`)} }, v1alpha1.ReasonValuesError, "spec.values"},
		"does-not-render":      {chart("broken"), v1alpha1.ReasonInstallFailed, "bad.yaml"},
		"digest-mismatch":      {chart("forged"), v1alpha1.ReasonSyncFailed, "digest"},
		"another-name":         {chart("alias"), v1alpha1.ReasonConfigurationError, "web"},
		"not-supported":        {func(r *v1alpha1.HelmRelease) { r.Spec.ServiceAccountName = "x" }, v1alpha1.ReasonConfigurationError, "serviceAccountName"},
		"long-name":            {func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Name: strings.Repeat("n", 54)} }, v1alpha1.ReasonConfigurationError, "53"},
	}
	for name, c := range cases {
		b.release(name, c.edit)
	}
	b.release("good")

	b.until("good", ready)
	for name, c := range cases {
		release := b.until(name, notReady(c.reason))
		assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message, c.mention, name)
		assert.Contains(t, b.event(name, corev1.EventTypeWarning, c.reason).Message, c.mention, name)
	}
}

func TestARepositoryThatAppearsWakesItsReleases(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.release("app")
	byURL := b.release("by-url", func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Repository = nil
		r.Spec.Chart.RepositoryURL = "https://charts.example.com/" + b.namespace + "/charts/"
	})
	b.until("app", notReady(v1alpha1.ReasonRepositoryNotFound))
	b.until(byURL.Name, notReady(""))

	b.charts("1.0.0")

	b.until("app", ready)
	b.until(byURL.Name, ready)
}

func TestARepositoryThatRecoversWakesItsReleases(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.repository("charts")
	b.cache.fails(client.Named(b.namespace, "charts"), repository.Generation,
		chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, "the credentials were refused")
	b.release("app")
	b.until("app", notReady(v1alpha1.ReasonAuthenticationFailed))
	b.repositoryUntil("charts", metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed)

	b.publish(repository, "1.0.0")

	b.until("app", ready)
}

// What can be resolved and not be downloaded waits for its back-off, unless something is told of its repository.
func TestARepositoryThatIsMendedWakesWhatCouldNotBeDownloaded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	repository := b.repository("charts")
	source, mended := client.Named(b.namespace, "charts"), webChart(t, "1.0.0")
	b.cache.publish(source, repository.Generation, client.ChartVersion{
		Chart: "web", Version: "1.0.0", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(mended)),
	}, []byte("no chart"))
	b.release("app")
	release := b.until("app", notReady(v1alpha1.ReasonSyncFailed))
	assert.Zero(t, release.Status.FailureCount, "nothing was tried")

	b.cache.mend(source, "web", mended)

	release = b.until("app", atRevision(1))
	require.NotEmpty(t, release.Status.Failures)
	assert.Less(t, release.Status.HelmRelease.LastDeployed.Sub(release.Status.Failures[0].Time.Time), 30*time.Second, "not after the back-off")
}

func TestAnotherHelmReleaseCannotTakeARelease(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	b.release("app")
	b.until("app", ready)
	thief := b.release("thief", func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "app", Adopt: v1alpha1.AdoptAlways}
	})

	release := b.until("thief", notReady(v1alpha1.ReasonConfigurationError))
	assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message, b.namespace+"/app")

	require.NoError(t, b.Delete(b.ctx, thief))
	b.gone(thief)
	assert.Equal(t, "hello", b.message(b.namespace, "app"), "its deletion leaves the release alone")
	b.until("app", atRevision(1))
}

func TestAnOrphanStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	b.until("app", ready)

	require.NoError(t, b.Delete(b.ctx, object))
	b.gone(object)
	assert.Equal(t, "hello", b.message(b.namespace, "app"))

	b.release("app")
	b.until("app", atRevision(1))
}

func TestAnnotationsAskForThingsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app")
	b.until("app", atRevision(1))

	b.edit(object, func() {
		object.Annotations = map[string]string{v1alpha1.ForceAnnotation: "1", v1alpha1.ReconcileAnnotation: "1"}
	})

	release := b.until("app", atRevision(2))
	assert.Equal(t, "1", release.Status.HandledForce)
	assert.Equal(t, "1", release.Status.HandledReconcile)
}

func TestMetricsOfAReleaseGoWithIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app")
	b.until("app", ready)
	require.Eventually(t, func() bool { return b.hasSeries("helm_release_operation_total") && b.hasSeries("helm_release_info") }, patience, tick)
	problems, err := testutil.GatherAndLint(shared.metrics)
	require.NoError(t, err)
	assert.Empty(t, problems)

	require.NoError(t, b.Delete(b.ctx, object))
	b.gone(object)

	require.Eventually(t, func() bool { return !b.hasSeries("helm_release_operation_total") && !b.hasSeries("helm_release_info") }, patience, tick)
}

// hasSeries reports whether a metric has a series of the bench's namespace.
func (b *bench) hasSeries(name string) bool {
	families, err := shared.metrics.Gather()
	require.NoError(b, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "namespace" && label.GetValue() == b.namespace {
					return true
				}
			}
		}
	}
	return false
}

func TestSetupNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, options := range []Options{{}, {ChartCache: newFakeCache()}} {
		require.ErrorContains(t, Setup(context.Background(), nil, options), "is missing")
	}
}
