package controller

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestAChartThatCannotBeLookedUpIsToldOfOnceAndLookedUpAgain(t *testing.T) {
	t.Parallel()
	synced := func(*client.Repository) {}
	for name, test := range map[string]struct {
		policy v1alpha1.ValuesConfigMapPolicy
		state  func(*client.Repository)
		asked  time.Duration // by chartcache
		want   time.Duration
	}{
		"on demand":                 {v1alpha1.ValuesConfigMapOnDemand, synced, 0, time.Minute},
		"asked to wait longer":      {v1alpha1.ValuesConfigMapOnDemand, synced, 5 * time.Minute, 5 * time.Minute},
		"while syncs fail":          {v1alpha1.ValuesConfigMapOnDemand, syncsFail, 0, time.Minute},
		"in a registry":             {v1alpha1.ValuesConfigMapLazy, synced, 0, time.Minute},
		"in one that does not sync": {v1alpha1.ValuesConfigMapLazy, syncsFail, 0, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAloneBench(t, test.policy)
			a.publishChart("web", "1.0.0", "a: 1\n")
			a.publishChart("db", "1.0.0", "b: 1\n")
			a.uses = []valuesmap.Chart{{Name: "web", Version: "1.0.0"}, {Name: "db", Version: "1.0.0"}}
			charts := a.charts
			if test.policy == v1alpha1.ValuesConfigMapLazy {
				a.pass()
				require.Len(t, a.values(), 2)
				charts = forgetfulRegistry{a.cache}
			}
			a.cache.change(a.source, test.state)
			a.charts = unsure{charts, "db", &client.Error{
				Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED, Message: "too many requests", RetryAfter: test.asked,
			}}

			for range 2 {
				assert.Equal(t, test.want, a.pass().RequeueAfter)
			}
			require.Len(t, a.warnings.texts, 1)
			assert.Contains(t, a.warnings.texts[0], "chart db")
			assert.Contains(t, a.warnings.texts[0], "could not be looked up in the repository: ")
			assert.Contains(t, a.warnings.texts[0], "too many requests")
			assert.Contains(t, a.values(), "helm-values-charts-web-1-0-0", "others go on")

			a.charts = charts
			a.clock = a.clock.Add(test.want)
			assert.Zero(t, a.pass().RequeueAfter)
			assert.Equal(t, []string{"helm-values-charts-db-1-0-0", "helm-values-charts-web-1-0-0"}, slices.Sorted(maps.Keys(a.values())))
			assert.Len(t, a.warnings.texts, 1)
		})
	}
}

// A version that the repository does not have is an answer, and when it comes, the watch tells.
func TestAVersionThatIsNotInTheRepositoryIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	a := newAloneBench(t, v1alpha1.ValuesConfigMapOnDemand)
	a.publishChart("web", "1.0.0", "a: 1\n")
	a.uses = []valuesmap.Chart{{Name: "web", Version: "2.0.0"}, {Name: "db", Version: "1.0.0"}}
	assert.Zero(t, a.pass().RequeueAfter)
	assert.Empty(t, a.warnings.texts)
}

func syncsFail(state *client.Repository) {
	state.State, state.StaleSince = chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, time.Now()
}
