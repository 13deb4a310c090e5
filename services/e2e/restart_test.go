package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// The tests of this file stop and start the services that all stories share. They do not call t.Parallel, so they run
// before every test that does.

func TestARestartOfBothServicesChangesNothing(t *testing.T) {
	s := newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"))
	s.repository("charts", repo.URL)
	s.apply(s.release("app"))
	before := s.until("app", ready)

	repo.misbehave(status(http.StatusBadGateway))
	require.NoError(t, suite.operator.Terminate(30*time.Second))
	require.NoError(t, suite.chartcache.Terminate(30*time.Second))
	require.NoError(t, suite.chartcache.Start(t.Context()))
	require.NoError(t, suite.operator.Start(t.Context()))

	s.apply(s.release("served-from-disk"))
	s.until("served-from-disk", ready)
	after := s.until("app", ready)
	assert.Equal(t, before.Status.HelmRelease, after.Status.HelmRelease)
}

func TestAnOperatorKilledDuringAnInstallGoesOnAfterItsRestart(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}\n")
	}))
	s.until("app", func(r *v1alpha1.HelmRelease) error {
		if r.Status.Operation == nil || r.Status.Operation.Phase != v1alpha1.OperationRunning {
			return fmt.Errorf("no operation runs: %+v", r.Status.Operation)
		}
		return nil
	})
	require.Eventually(t, func() bool {
		return assert.ObjectsAreEqual("pending-install", recordStatus(s, "app"))
	}, patience, 50*time.Millisecond)

	require.NoError(t, suite.operator.Kill())
	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = nil })
	require.NoError(t, suite.operator.Start(t.Context()))

	release := s.until("app", ready)
	assert.Zero(t, release.Status.FailureCount, "an interruption is no failure")
	s.deployment(s.namespace, "app")
}

func TestAnOperatorStoppedDuringAnInstallStopsInTimeAndGoesOn(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("nodeSelector: {disk: none-has-this}\n")
	}))
	require.Eventually(t, func() bool {
		return assert.ObjectsAreEqual("pending-install", recordStatus(s, "app"))
	}, patience, 50*time.Millisecond)

	require.NoError(t, suite.operator.Terminate(30*time.Second))
	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = nil })
	require.NoError(t, suite.operator.Start(t.Context()))

	release := s.until("app", ready)
	assert.Zero(t, release.Status.FailureCount, "an interruption is no failure")
}

func TestReleasesStayReadyWhileChartcacheIsAway(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app"))
	s.until("app", ready)

	require.NoError(t, suite.chartcache.Kill())
	defer func() {
		if !suite.chartcache.Running() {
			assert.NoError(t, suite.chartcache.Start(context.Background()))
		}
	}()
	s.apply(s.release("waits"))
	s.until("waits", notReady(""))
	s.until("app", ready)

	require.NoError(t, suite.chartcache.Start(t.Context()))
	s.until("waits", ready)
}

// recordStatus returns the status of the Helm record of a release that has one revision, by its label.
func recordStatus(s *story, release string) string {
	return kubectl(s.T, "get", "secrets", "--namespace", s.namespace, "--selector", "owner=helm,name="+release,
		"--output", `jsonpath={range .items[*]}{.metadata.labels.status}{end}`)
}
