package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestSurvivesAChartcacheThatIsAway(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, stageChart()).URL)
	r := newRound(0, "")
	install, upgrade, rollback, tested, uninstall := r.subjects[0], r.subjects[1], r.subjects[2], r.subjects[3], r.subjects[4]
	calm := &subject{act: upgrade.act, name: "calm"}
	s.onStage(append(r.subjects, calm)...)
	before := s.get(calm.name)

	begun := s.await(&moment{name: "upgrade pending", list: recordMoment("", "2", "pending-upgrade").list,
		seen: recordMoment("", "2", "pending-upgrade").seen}, rollback.name)
	rollback.begin(s, rollback.name)
	begun() // it has its chart
	require.NoError(t, suite.chartcache.Kill())
	t.Cleanup(func() { assert.NoError(t, suite.restart(context.Background())) })
	for _, u := range []*subject{install, upgrade, tested, uninstall} {
		u.begin(s, u.name)
	}

	for _, u := range []*subject{install, upgrade, tested} {
		release := s.until(u.name, notReady(""))
		condition := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady)
		assert.Contains(t, condition.Message, "chartcache", "%s waits for a chart and says so", u.name)
		assert.Zero(t, release.Status.FailureCount, "what could not be tried has not failed")
	}
	s.settle(uninstall)
	s.until(rollback.name, func(*v1alpha1.HelmRelease) error { return s.deployedAgain(rollback) })
	assert.Equal(t, first, s.message(upgrade.name), "what is deployed stays")

	require.NoError(t, suite.operator.Terminate(gracePeriod))
	require.NoError(t, suite.operator.Start(t.Context()))
	s.until(install.name, notReady(""))
	assert.NoError(t, ready(s.get(calm.name)))
	assert.Equal(t, before.Status, s.get(calm.name).Status, "a release that needs no chart is as it was")

	require.NoError(t, suite.chartcache.Start(t.Context()))
	for _, u := range []*subject{install, upgrade, rollback, tested} {
		s.settle(u)
	}
	suite.survived.count("chartcache away", "all acts", true, !t.Failed())
}
