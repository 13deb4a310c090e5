package e2e

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Both services end at once, in the middle of all acts, and start together, as on a machine that lost its power: neither waits for
// the other.
func TestSurvivesARestartOfBothServicesTogether(t *testing.T) {
	c := newChaos(t, 1)
	s := newStory(t)
	t.Cleanup(func() { assert.NoError(t, suite.restart(context.Background())) }) // if the story broke off
	s.repository("charts", newChartRepository(t, stageChart()).URL)
	rounds := pointsInTime(c, max(1, c.points/5))
	usual := s.prepare(rounds)
	for _, r := range rounds {
		s.at(t, r.subjects, r.fractions, usual)
		require.NoError(t, suite.operator.Kill())
		require.NoError(t, suite.chartcache.Kill())
		s.endLease()
		atWork := s.atWork(r.subjects)
		require.NoError(t, suite.operator.Launch())
		require.NoError(t, suite.chartcache.Launch())
		require.NoError(t, suite.chartcache.AwaitReady(s.ctx))
		require.NoError(t, suite.operator.AwaitReady(s.ctx))
		for k, u := range r.subjects {
			s.settle(u)
			suite.survived.count("both killed", u.act.name, atWork[k], !t.Failed())
		}
	}
}
