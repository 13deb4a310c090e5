package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// More wait than there are workers, and none of them for less than ten minutes.
func TestReleasesThatWaitHoldUpNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	var waiting []*v1alpha1.HelmRelease
	for i := range 12 {
		waiting = append(waiting, b.release(fmt.Sprintf("waits-%d", i), values("workload: true")))
	}
	for _, release := range waiting {
		b.until(release.Name, func(r *v1alpha1.HelmRelease) error {
			if r.Status.Operation == nil || r.Status.Operation.Phase != v1alpha1.OperationRunning {
				return fmt.Errorf("its operation is %+v", r.Status.Operation)
			}
			return nil
		})
	}

	b.release("quick")
	b.until("quick", atRevision(1))

	for _, release := range waiting {
		require.NoError(t, b.Delete(b.ctx, release))
	}
	for _, release := range waiting {
		b.gone(release)
	}
}

// The API server refuses events whose text is too long.
func TestAnEventAboutALongErrorArrives(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	b.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Name = "web" + strings.Repeat("-and-more", 300) })
	release := b.until("app", notReady(v1alpha1.ReasonChartNotFound))

	text := b.event("app", corev1.EventTypeWarning, v1alpha1.ReasonChartNotFound).Message
	assert.Contains(t, text, "web-and-more-and-more")
	assert.LessOrEqual(t, len(text), 1024, "what events.k8s.io allows")
	for _, condition := range release.Status.Conditions {
		assert.LessOrEqual(t, len(condition.Message), 1024, condition.Type)
	}
}
