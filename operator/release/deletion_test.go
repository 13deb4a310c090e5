package release

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

func TestADeletedReleaseIsUninstalledByTheNamesOfItsStatus(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "one", Namespace: "other"}
		r.Spec.Uninstall = &v1alpha1.UninstallSpec{Timeout: "7m", DisableHooks: true}
	})
	b.settle()
	b.helm.done()
	b.events.take()
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = nil
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})

	release := b.settle()

	assert.Equal(t, []string{"uninstall other/one"}, b.helm.done())
	assert.Equal(t, 7*time.Minute, b.helm.removed.Timeout)
	assert.True(t, b.helm.removed.DisableHooks)
	assert.Empty(t, release.Finalizers)
	events := strings.Join(b.events.take(), "\n")
	assert.Contains(t, events, "Normal UninstallStarted")
	assert.Contains(t, events, "Normal UninstallCompleted")
}

func TestAFailedUninstallKeepsTheObjectAndSaysHowToLeave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.results = []result{{err: errors.New("a finalizer holds Pod x")}}
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})

	release := b.settle()

	assert.NotEmpty(t, release.Finalizers)
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUninstallFailed)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "Pod x")
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "Orphan")

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	release = b.settle()
	assert.Empty(t, release.Finalizers)
}

func TestADeletedObjectWithoutOurFinalizerIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(testTime)
		r.DeletionTimestamp = &now
		r.Finalizers = []string{"somebody.else/finalizer"}
	})
	assert.Zero(t, b.once())
	assert.Zero(t, b.objects.writes)
}

func TestMetricsFollowAReleaseToItsEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	require.NoError(t, testutil.GatherAndCompare(b.metrics, strings.NewReader(`
# HELP helm_release_rollbacks_total Rollbacks after failed upgrades, by outcome.
# TYPE helm_release_rollbacks_total counter
helm_release_rollbacks_total{namespace="shop",release="app",status="failure"} 0
helm_release_rollbacks_total{namespace="shop",release="app",status="success"} 0
`), "helm_release_rollbacks_total"), "so that the first one is an increase")
	b.helm.results = []result{{err: helm.ErrTimeout}}
	b.values("bad: true")
	b.settle()

	require.NoError(t, testutil.GatherAndCompare(b.metrics, strings.NewReader(`
# HELP helm_release_operation_errors_total Helm operations that failed, by kind of error.
# TYPE helm_release_operation_errors_total counter
helm_release_operation_errors_total{error_type="Timeout",namespace="shop",operation="upgrade",release="app"} 1
# HELP helm_release_operation_total Helm operations that ended, by outcome.
# TYPE helm_release_operation_total counter
helm_release_operation_total{namespace="shop",operation="install",release="app",status="success"} 1
helm_release_operation_total{namespace="shop",operation="rollback",release="app",status="success"} 1
helm_release_operation_total{namespace="shop",operation="upgrade",release="app",status="failure"} 1
# HELP helm_release_rollbacks_total Rollbacks after failed upgrades, by outcome.
# TYPE helm_release_rollbacks_total counter
helm_release_rollbacks_total{namespace="shop",release="app",status="failure"} 0
helm_release_rollbacks_total{namespace="shop",release="app",status="success"} 1
`), "helm_release_operation_total", "helm_release_operation_errors_total", "helm_release_rollbacks_total"))
	count, err := testutil.GatherAndCount(b.metrics, "helm_release_info")
	require.NoError(t, err)
	assert.Equal(t, 1, count)

	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})
	b.settle()
	count, err = testutil.GatherAndCount(b.metrics)
	require.NoError(t, err)
	assert.Zero(t, count, "the series go with the object")
}

func TestOrphanFreesAnObjectWhoseStorageCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.lastError = errors.New("the record is damaged")
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		now := metav1.NewTime(b.now)
		r.DeletionTimestamp = &now
	})
	_, err := b.engine.Reconcile(t.Context(), b.objects.get())
	require.Error(t, err)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "damaged")
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "Orphan")

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	assert.Empty(t, b.settle().Finalizers)
}
