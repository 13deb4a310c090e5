package valuesmap

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	namer := NewNamer("charts", []string{"charts"})
	one, two := Chart{"web", "1.0.0"}, Chart{"web", "2.0.0"}
	const (
		nameOfOne = "helm-values-charts-web-1-0-0"
		nameOfTwo = "helm-values-charts-web-2-0-0"
	)
	_, olderName := namer.forms(one) // as beside a repository whose name is the beginning of this one's
	_, olderNameOfTwo := namer.forms(two)
	have := func(edit func(*Existing)) []Existing {
		e := Existing{Name: nameOfOne, Chart: one, Digest: "sha256:1"}
		edit(&e)
		return []Existing{e}
	}
	as := func(*Existing) {}
	older := func(e *Existing) { e.Name = olderName }
	unused := func(d time.Duration) func(*Existing) {
		return func(e *Existing) { e.UnusedSince = now.Add(-d) }
	}
	wantOne := []Wanted{{one, "sha256:1"}}
	for name, test := range map[string]struct {
		facts Facts
		want  Plan
	}{
		"nothing": {Facts{}, Plan{}},
		"one that is missing is made": {
			Facts{Wanted: wantOne}, Plan{Write: []Write{{nameOfOne, wantOne[0], false}}},
		},
		"one that is there is left alone":    {Facts{Wanted: wantOne, Existing: have(as)}, Plan{}},
		"an unknown digest is no difference": {Facts{Wanted: []Wanted{{one, ""}}, Existing: have(as)}, Plan{}},
		"another digest is one": {
			Facts{Wanted: []Wanted{{one, "sha256:2"}}, Existing: have(as)}, Plan{Write: []Write{{nameOfOne, Wanted{one, "sha256:2"}, true}}},
		},
		"what somebody else wrote is written again": {
			Facts{Wanted: wantOne, Existing: have(func(e *Existing) { e.Touched = true })}, Plan{Write: []Write{{nameOfOne, wantOne[0], true}}},
		},
		"one of the original project is written again": {
			Facts{Wanted: wantOne, Existing: have(func(e *Existing) { e.Digest = "" })}, Plan{Write: []Write{{nameOfOne, wantOne[0], true}}},
		},
		"one that is no longer current ages": {Facts{Existing: have(as)}, Plan{Age: []string{nameOfOne}, Next: now.Add(time.Hour)}},
		"one that ages is kept until its time is over": {
			Facts{Existing: have(unused(time.Minute))}, Plan{Next: now.Add(59 * time.Minute)},
		},
		"and then removed":             {Facts{Existing: have(unused(time.Hour))}, Plan{Remove: []string{nameOfOne}}},
		"the current one never is":     {Facts{Wanted: wantOne, Existing: have(unused(9 * time.Hour))}, Plan{Revive: []string{nameOfOne}}},
		"one that is used is kept":     {Facts{Used: []Chart{one}, Existing: have(as)}, Plan{}},
		"one that is used again, too":  {Facts{Used: []Chart{one}, Existing: have(unused(9 * time.Hour))}, Plan{Revive: []string{nameOfOne}}},
		"one that is used is not made": {Facts{Used: []Chart{one}}, Plan{}},
		"one that is used under an older name is kept, too": {
			Facts{Used: []Chart{one}, Gone: map[Chart]bool{one: true}, Existing: have(older)},
			Plan{},
		},
		"until there is one of the new name": {
			Facts{Used: []Chart{one}, Existing: append(have(as), have(older)...)},
			Plan{Age: []string{olderName}, Next: now.Add(time.Hour)},
		},
		"also of a version that is gone": {
			Facts{Used: []Chart{one}, Gone: map[Chart]bool{one: true}, Existing: append(have(as), have(older)...)},
			Plan{Age: []string{olderName}, Next: now.Add(time.Hour)},
		},
		"which must be ours": {
			Facts{Used: []Chart{one}, Existing: append(have(func(e *Existing) { e.Foreign = true }), have(older)...)},
			Plan{Remove: []string{nameOfOne}},
		},
		"a version that is gone from the repository goes at once": {
			Facts{Existing: have(as), Gone: map[Chart]bool{one: true}}, Plan{Remove: []string{nameOfOne}},
		},
		"unless it is used": {Facts{Used: []Chart{one}, Existing: have(as), Gone: map[Chart]bool{one: true}}, Plan{}},
		"while the repository is not known, nothing ages": {
			Facts{Frozen: true, Existing: have(as), Gone: map[Chart]bool{one: true}}, Plan{},
		},
		"and nothing is removed": {Facts{Frozen: true, Existing: have(unused(9 * time.Hour))}, Plan{}},
		"but made":               {Facts{Frozen: true, Wanted: wantOne}, Plan{Write: []Write{{nameOfOne, wantOne[0], false}}}},
		"one of a repository that is gone makes room first": {
			Facts{Wanted: wantOne, Existing: have(func(e *Existing) { e.Foreign = true })}, Plan{Remove: []string{nameOfOne}},
		},
		"one under an old name ages when the new one is there": {
			Facts{Wanted: []Wanted{{two, "sha256:2"}}, Existing: []Existing{
				{Name: olderNameOfTwo, Chart: two, Digest: "sha256:2"}, {Name: nameOfTwo, Chart: two, Digest: "sha256:2"},
			}},
			Plan{Age: []string{olderNameOfTwo}, Next: now.Add(time.Hour)},
		},
		"and before": {
			Facts{Wanted: []Wanted{{two, "sha256:2"}}, Existing: []Existing{{Name: olderNameOfTwo, Chart: two, Digest: "sha256:2"}}},
			Plan{
				Write: []Write{{nameOfTwo, Wanted{two, "sha256:2"}, false}}, Age: []string{olderNameOfTwo}, Next: now.Add(time.Hour),
			},
		},
		"a copy of ours at the name that is wanted keeps it": {
			Facts{Wanted: []Wanted{{two, "sha256:2"}}, Existing: have(func(e *Existing) { e.Name = nameOfTwo })},
			Plan{Write: []Write{{nameOfTwo, Wanted{two, "sha256:2"}, false}}},
		},
		"and is no successor of one that is used": {
			Facts{Used: []Chart{one}, Existing: []Existing{
				{Name: olderName, Chart: one, Digest: "sha256:1"}, {Name: nameOfOne, Chart: two, Digest: "sha256:2"},
			}},
			Plan{},
		},
		"without ConfigMaps, all go, whatever uses them": {
			Facts{Disabled: true, Used: []Chart{one}, Frozen: true, Existing: []Existing{
				{Name: nameOfOne, Chart: one, Digest: "d"}, {Name: nameOfTwo, Chart: two, Digest: "d", Foreign: true},
			}},
			Plan{Remove: []string{nameOfOne, nameOfTwo}},
		},
		"and goes after its time": {
			Facts{Wanted: wantOne, Existing: append(have(as), have(func(e *Existing) { e.Name, e.UnusedSince = olderName, now.Add(-time.Hour) })...)},
			Plan{Remove: []string{olderName}},
		},
		"the next is the first whose time is over": {
			Facts{Existing: []Existing{
				{Name: nameOfOne, Chart: one, Digest: "d", UnusedSince: now.Add(-10 * time.Minute)},
				{Name: nameOfTwo, Chart: two, Digest: "d", UnusedSince: now.Add(-20 * time.Minute)},
			}},
			Plan{Next: now.Add(40 * time.Minute)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.facts.Now, test.facts.Retention, test.facts.Namer = now, time.Hour, namer
			assert.Equal(t, test.want, Decide(&test.facts))
		})
	}
}

func TestACopyThatSomebodyMadeOfAConfigMapIsNeverTouched(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	chart := Chart{"web", "1.0.0"}
	namer := NewNamer("charts", nil)
	for name, copied := range map[string]Existing{
		"under any name":               {Name: "helm-values-anything", Chart: chart},
		"under one that begins alike":  {Name: "helm-values-charts-web", Chart: chart},
		"under that of a version":      {Name: "helm-values-charts-web-2-0-0", Chart: chart},
		"under that of a chart":        {Name: "helm-values-charts-db-1-0-0", Chart: chart},
		"under that of a repository":   {Name: "helm-values-others-web-1-0-0", Chart: chart},
		"with something behind":        {Name: "helm-values-charts-web-1-0-0-mine", Chart: chart},
		"with what looks like a hash":  {Name: "helm-values-charts-web-1-0-0-0123456789abcdef", Chart: chart},
		"that says it is of no chart":  {Name: "helm-values-charts-web-1-0-0"},
		"that says it is of a version": {Name: "helm-values-charts-1-0-0", Chart: Chart{"", "1.0.0"}},
		"that says it is of a chart":   {Name: "helm-values-charts-web", Chart: Chart{"web", ""}},
	} {
		for state, facts := range map[string]Facts{
			"while nothing is wanted": {},
			"when its time was over":  {Existing: []Existing{{UnusedSince: now.Add(-time.Hour)}}},
			"while its chart is used": {Used: []Chart{chart}, Existing: []Existing{{UnusedSince: now.Add(-time.Hour)}}},
			"of a chart that is gone": {Gone: map[Chart]bool{chart: true, copied.Chart: true}},
			"of a former owner":       {Existing: []Existing{{Foreign: true}}},
			"while the policy is off": {Disabled: true},
			"of one and the other":    {Disabled: true, Existing: []Existing{{Foreign: true}}},
		} {
			t.Run(name+" "+state, func(t *testing.T) {
				facts.Now, facts.Retention, facts.Namer = now, time.Hour, namer
				e := copied
				for _, as := range facts.Existing {
					e.UnusedSince, e.Foreign = as.UnusedSince, as.Foreign
				}
				facts.Existing = []Existing{e}
				assert.Equal(t, Plan{}, Decide(&facts))
			})
		}
	}
}

func TestAReleaseUsesTheVersionThatItShouldDeployAndTheOneThatItHas(t *testing.T) {
	deployed := func(chart, status string) *v1alpha1.HelmReleaseInfo {
		return &v1alpha1.HelmReleaseInfo{Chart: chart, Status: status}
	}
	for name, test := range map[string]struct {
		wanted   string
		deployed *v1alpha1.HelmReleaseInfo
		chart    string
		want     []string
	}{
		"nothing yet":                      {"", nil, "web", nil},
		"before the install":               {"1.0.0", nil, "web", []string{"1.0.0"}},
		"deployed as wanted":               {"1.0.0", deployed("web-1.0.0", "deployed"), "web", []string{"1.0.0"}},
		"a v in front in the repository":   {"v1.0.0", deployed("web-1.0.0", "deployed"), "web", []string{"v1.0.0"}},
		"during an upgrade":                {"2.0.0", deployed("web-1.0.0", "pending-upgrade"), "web", []string{"2.0.0", "1.0.0"}},
		"when the repository is not there": {"", deployed("web-1.0.0+x", "deployed"), "web", []string{"1.0.0+x"}},
		"from a path of a registry":        {"", deployed("web-1.0.0", "deployed"), "team/web", []string{"1.0.0"}},
		"another chart is deployed":        {"2.0.0", deployed("db-1.0.0", "deployed"), "web", []string{"2.0.0"}},
		"only the history is left":         {"", deployed("web-1.0.0", "uninstalled"), "web", nil},
	} {
		t.Run(name, func(t *testing.T) {
			release := &v1alpha1.HelmRelease{}
			release.Status.ChartVersion, release.Status.HelmRelease = test.wanted, test.deployed
			assert.Equal(t, test.want, VersionsOf(release, test.chart))
		})
	}
}
