package controller

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Adding the finalizer and writing the status must not bring the defaults back.
func TestWhatIsOnByDefaultCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	no, none := new(bool), new(int32)
	want := v1alpha1.HelmReleaseSpec{
		Install:  &v1alpha1.InstallSpec{Wait: no, WaitForJobs: no},
		Upgrade:  &v1alpha1.UpgradeSpec{Wait: no, WaitForJobs: no, CleanupOnFail: no, MaxHistory: none},
		Rollback: &v1alpha1.RollbackSpec{Wait: no, CleanupOnFail: no},
	}
	object := b.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Install, r.Spec.Upgrade, r.Spec.Rollback = want.Install, want.Upgrade, want.Rollback
	})
	off := func(r *v1alpha1.HelmRelease) {
		t.Helper()
		for name, value := range map[string]*bool{
			"install.wait": r.Spec.Install.Wait, "install.waitForJobs": r.Spec.Install.WaitForJobs,
			"upgrade.wait": r.Spec.Upgrade.Wait, "upgrade.waitForJobs": r.Spec.Upgrade.WaitForJobs,
			"upgrade.cleanupOnFail": r.Spec.Upgrade.CleanupOnFail,
			"rollback.wait":         r.Spec.Rollback.Wait, "rollback.cleanupOnFail": r.Spec.Rollback.CleanupOnFail,
		} {
			if assert.NotNil(t, value, name) {
				assert.False(t, *value, name)
			}
		}
		if assert.NotNil(t, r.Spec.Upgrade.MaxHistory) {
			assert.Zero(t, *r.Spec.Upgrade.MaxHistory)
		}
	}
	release := b.until("app", atRevision(1))
	require.NotEmpty(t, release.Finalizers)
	assert.EqualValues(t, 1, release.Generation, "nobody writes the spec")
	off(release)

	b.edit(object, func() { object.Spec.Values = v1alpha1.ValuesFromString("message: changed") })
	release = b.until("app", atRevision(2))
	assert.EqualValues(t, 2, release.Generation)
	off(release)
}
