package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// This story replaces the operator that all others share by two that share the work, so it does not call t.Parallel.
func TestAReleaseThatIsHandedOverDuringAnOperationIsLeftInGoodOrder(t *testing.T) {
	const label = "example.com/shard"
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.withoutSharedOperator()
	for _, shard := range []string{"a", "b"} {
		operator, err := suite.Operator("operator-shard-"+shard, suite.chartcache.GRPC, "--watch-label-selector", label+"="+shard)
		require.NoError(t, err)
		require.NoError(t, operator.Start(s.ctx))
		t.Cleanup(func() { assert.NoError(t, operator.Terminate(gracePeriod)) })
	}
	to := func(shard string) func(*v1alpha1.HelmRelease) {
		return func(r *v1alpha1.HelmRelease) { r.Labels = map[string]string{label: shard} }
	}
	stuck := func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}")
	}
	for _, name := range []string{"taken", "left"} {
		s.apply(s.release(name, to("a"), stuck))
	}
	for _, name := range []string{"taken", "left"} {
		require.Eventually(t, func() bool { return recordStatus(s, name) == "pending-install" }, patience, 50*time.Millisecond)
	}

	s.edit("taken", to("b"))
	s.edit("left", to("nobody"))

	// The other one goes on with it.
	s.until("taken", func(r *v1alpha1.HelmRelease) error {
		if operation := r.Status.Operation; operation == nil || operation.Revision != 2 || operation.Phase != v1alpha1.OperationRunning {
			return fmt.Errorf("the operation is %+v", operation)
		}
		return nil
	})
	s.edit("taken", func(r *v1alpha1.HelmRelease) { r.Spec.Values = nil })
	release := s.until("taken", ready)
	assert.Zero(t, release.Status.FailureCount)
	assert.Empty(t, release.Status.Failures, "an interruption is no failure")

	// With what nobody works on, people can go on by hand.
	release = s.until("left", func(r *v1alpha1.HelmRelease) error {
		if phase := r.Status.Operation.Phase; phase != v1alpha1.OperationInterrupted {
			return fmt.Errorf("the operation is %s", phase)
		}
		return nil
	})
	assert.Empty(t, release.Status.Failures)
	require.Eventually(t, func() bool { return recordStatus(s, "left") == "failed" }, patience, 50*time.Millisecond)
	s.helm("upgrade", "left", s.packaged(webChart("1.0.0")), "--reset-values", "--wait", "--timeout", patience.String())
	assert.Equal(t, "deployed", s.history("left")[1].Status)

	s.edit("left", func(r *v1alpha1.HelmRelease) {
		to("b")(r)
		r.Spec.Values = nil
	})
	s.until("left", atRevision(2))
}
