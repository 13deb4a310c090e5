package catalog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
)

// pickOf returns the version that is wanted of some.
func pickOf(w wanted, versions ...string) (version string, ok bool) {
	i, ok := w.pick(len(versions), func(i int) string { return versions[i] }, false)
	if !ok {
		return "", false
	}
	return versions[i], true
}

func TestVersionsMeanWhatTheyMeanToHelm(t *testing.T) {
	all := []string{"3.0.0-rc.1", "2.1.0", "2.0.0", "v1.10.0", "1.9.3", "1.9.2+build.2", "1.2.4", "1.2.3", "1.2.0", "0.9.0-beta.2", "0.9.0-beta.1", "0.1.0"}
	for _, c := range []struct{ name, wanted, picked string }{
		{"empty is the newest stable version", "", "2.1.0"},
		{"latest is the newest stable version", "latest", "2.1.0"},
		{"spaces do not matter", "  1.2.3 ", "1.2.3"},
		{"an exact version", "1.2.3", "1.2.3"},
		{"an exact version with a v that the repository lacks", "v1.2.3", "1.2.3"},
		{"an exact version without the v that the repository has", "1.10.0", "v1.10.0"},
		{"an exact prerelease", "3.0.0-rc.1", "3.0.0-rc.1"},
		{"an exact version whose build is not named", "1.9.2", "1.9.2+build.2"},
		{"an exact version with its build", "1.9.2+build.2", "1.9.2+build.2"},
		{"an exact version with another build", "1.9.2+build.9", "1.9.2+build.2"},
		{"an exact version that is not there", "1.2.5", ""},
		{"a caret", "^1.2.0", "v1.10.0"},
		{"a tilde", "~1.2.0", "1.2.4"},
		{"a range", ">=1.0.0, <2.0.0", "v1.10.0"},
		{"a range with a space", ">=1.0.0 <1.9.3", "1.9.2+build.2"},
		{"an x range", "1.2.x", "1.2.4"},
		{"a star", "*", "2.1.0"},
		{"a part of a version is an x range", "1.2", "1.2.4"},
		{"a major version", "1", "v1.10.0"},
		{"a hyphen range", "1.2.0 - 1.3.0", "1.2.4"},
		{"alternatives", "~0.1.0 || ~1.2.0", "1.2.4"},
		{"prereleases do not match a constraint that names none", ">2.1.0", ""},
		{"prereleases match a constraint that names one", ">2.1.0-0", "3.0.0-rc.1"},
		{"prereleases match by precedence", "~0.9.0-beta.1", "0.9.0-beta.2"},
		{"not equal", "!=2.1.0, <3", "2.0.0"},
		{"nothing matches", ">9", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := parseWanted(c.wanted)
			require.NoError(t, err)
			picked, ok := pickOf(w, all...)
			assert.Equal(t, c.picked != "", ok)
			assert.Equal(t, c.picked, picked)
		})
	}
}

func TestTagsThatAreNoStrictVersionsCountWhenNoOthersDo(t *testing.T) {
	for _, c := range []struct {
		name, wanted string
		tags         []string
		picked       string
	}{
		{"none is named", "", []string{"v1.3.0", "1.2.0"}, "1.2.0"},
		{"a constraint", "^1.0.0", []string{"v1.3.0", "1.2.0"}, "1.2.0"},
		{"as it is spelled", "v1.3.0", []string{"v1.3.0", "1.3.0"}, "v1.3.0"},
		{"spelled otherwise", "1.3.0", []string{"v1.3.0", "1.2.0"}, "v1.3.0"},
		{"a constraint that no other matches", "^1.3.0", []string{"v1.3.0", "1.2.0"}, "v1.3.0"},
		{"there is no other", "", []string{"v1.3.0", "v1.2.0"}, "v1.3.0"},
		{"the build that is named", "v1.3.0+b", []string{"1.3.0+c", "1.3.0+b"}, "1.3.0+b"},
		{"part of a version", "1.2", []string{"1.3.0", "1.2.9", "1.2.0"}, "1.2.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := parseWanted(c.wanted)
			require.NoError(t, err)
			i, ok := w.pick(len(c.tags), func(i int) string { return c.tags[i] }, true)
			require.True(t, ok)
			assert.Equal(t, c.picked, c.tags[i])
		})
	}
}

func TestWhatIsNoConstraintIsRefused(t *testing.T) {
	for _, text := range []string{"one", ">", "1.2.3.4", "^^1", "1 ||", ">=1.0.0 <", "newest", strings.Repeat("1", maxConstraint+1)} {
		_, err := parseWanted(text)
		assertReason(t, constraintInvalid, err)
	}
}

func TestAChartWithPrereleasesOnlyHasNoNewestVersion(t *testing.T) {
	for newest, versions := range map[string][]string{"": {"1.0.0-b", "1.0.0-a"}, "1.0.0": {"2.0.0-a", "1.0.0", "0.1.0"}} {
		picked, ok := pickOf(wanted{newest: true}, versions...)
		assert.Equal(t, newest, picked)
		assert.Equal(t, newest != "", ok)
	}
}

func TestListingsAreFiltered(t *testing.T) {
	all := []string{"2.0.0-rc.1", "1.5.0", "1.4.0-rc.1", "1.3.0"}
	var parsed constraints
	for _, c := range []struct {
		name  string
		query VersionQuery
		want  []string
	}{
		{"stable versions", VersionQuery{}, []string{"1.5.0", "1.3.0"}},
		{"prereleases too", VersionQuery{Prereleases: true}, []string{"2.0.0-rc.1", "1.5.0", "1.4.0-rc.1", "1.3.0"}},
		{"a constraint", VersionQuery{Constraint: "<1.5.0"}, []string{"1.3.0"}},
		{"a constraint and prereleases", VersionQuery{Constraint: "<1.5.0", Prereleases: true}, []string{"1.4.0-rc.1", "1.3.0"}},
		{"a constraint that names a prerelease", VersionQuery{Constraint: ">=1.4.0-0"}, []string{"2.0.0-rc.1", "1.5.0", "1.4.0-rc.1"}},
		{"an exact prerelease", VersionQuery{Constraint: "1.4.0-rc.1"}, []string{"1.4.0-rc.1"}},
		{"latest", VersionQuery{Constraint: "latest"}, []string{"1.5.0", "1.3.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown, err := parsed.filter(c.query)
			require.NoError(t, err)
			var got []string
			for _, version := range all {
				if shown.shows(version) {
					got = append(got, version)
				}
			}
			assert.Equal(t, c.want, got)
		})
	}
}

func TestConstraintsAreRememberedUpToABound(t *testing.T) {
	var c constraints
	for i := range keptConstraints + 1 {
		_, err := c.parse(fmt.Sprintf("^%d", i))
		require.NoError(t, err)
	}
	assert.Len(t, c.parsed, 1, "the others went together")
	before := c.parsed["^512"].constraint
	again, err := c.parse("^512")
	require.NoError(t, err)
	assert.Same(t, before, again.constraint)
	_, err = c.parse("^^")
	assertReason(t, constraintInvalid, err)
	_, err = c.parse(strings.Repeat(" ", maxLookText) + "^1")
	require.NoError(t, err)
	assert.Len(t, c.parsed, 1, "neither what is wrong nor what is long is kept")
}

func FuzzParseWanted(f *testing.F) {
	for _, seed := range []string{"", "latest", "1.2.3", "v1", "^1.2", ">=1, <2 || 3.x", "1 - 2", "~>1.0", "=>1"} {
		f.Add(seed, "1.2.3")
	}
	f.Fuzz(func(t *testing.T, text, version string) {
		w, err := parseWanted(text)
		if err != nil {
			assert.Equal(t, constraintInvalid, cacheerr.ReasonOf(err))
			return
		}
		picked, ok := pickOf(w, version)
		if ok {
			assert.Equal(t, version, picked)
		}
		if v, err := semver.NewVersion(version); ok && err == nil && w.newest {
			assert.Empty(t, v.Prerelease())
		}
	})
}
