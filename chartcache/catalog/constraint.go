package catalog

import (
	"cmp"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxConstraint bounds what is parsed as a constraint; real ones are a tenth of it.
const maxConstraint = 512

// wanted is what a request says about the version, as Helm understands it.
type wanted struct {
	// text as it was asked for, without spaces around it; empty for the newest stable version.
	text string
	// newest says that the newest stable version is wanted.
	newest bool
	// exact is set when text is a whole version; constraint when it is not.
	exact      *semver.Version
	constraint *semver.Constraints
}

// parseWanted fails with CONSTRAINT_INVALID.
func parseWanted(text string) (wanted, error) {
	w := wanted{text: strings.TrimSpace(text)}
	if w.text == "" || w.text == "latest" {
		return wanted{newest: true}, nil
	}
	if len(w.text) > maxConstraint {
		return w, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID,
			"the version is longer than %d characters", maxConstraint)
	}
	// Only with all three numbers: "1.2" means any patch of it.
	if exact, err := semver.StrictNewVersion(strings.TrimPrefix(w.text, "v")); err == nil {
		w.exact = exact
		return w, nil
	}
	var err error
	if w.constraint, err = semver.NewConstraint(w.text); err != nil {
		return w, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID, err,
			"%q is neither a version nor a constraint", w.text)
	}
	return w, nil
}

// pick returns the position of the first of n versions, which are sorted newest first, that is wanted; ok is false when there
// is none. It takes what Helm takes. Two kinds of versions count only when no other does: tags of a registry that are no
// strict versions, such as v1.2.3, which Helm does not see unless they are named; and other builds than the one that is named.
func (w wanted) pick(n int, version func(int) string, registry bool) (position int, ok bool) {
	for i := range n {
		if version(i) == w.text {
			return i, true
		}
	}
	for _, second := range []bool{false, true} {
		for i := range n {
			v, err := semver.NewVersion(version(i))
			switch {
			case err != nil:
			case second && (w.matches(v) || w.exact != nil && v.Equal(w.exact)):
				return i, true
			case !second && w.matches(v) && (!registry || isStrict(version(i))):
				return i, true
			}
		}
	}
	return 0, false
}

func isStrict(version string) bool {
	_, err := semver.StrictNewVersion(version)
	return err == nil
}

func (w wanted) matches(v *semver.Version) bool {
	switch {
	case w.newest:
		return v.Prerelease() == ""
	case w.exact != nil:
		// Build metadata has no precedence, but who names it means it, as long as it is there.
		return v.Equal(w.exact) && (w.exact.Metadata() == "" || v.Metadata() == w.exact.Metadata())
	default:
		return w.constraint.Check(v)
	}
}

// constraints remembers what was parsed, since the same few texts come again and again.
type constraints struct {
	mu     sync.Mutex // guards parsed
	parsed map[string]wanted
}

// keptConstraints bounds how many constraints are remembered. Those that are short enough take at most some 3 KiB each.
const keptConstraints = 512

// parse is parseWanted, once for each text.
func (c *constraints) parse(text string) (wanted, error) {
	c.mu.Lock()
	w, ok := c.parsed[text]
	c.mu.Unlock()
	if ok {
		return w, nil
	}
	w, err := parseWanted(text)
	if err != nil || len(text) > maxLookText {
		return w, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parsed == nil || len(c.parsed) >= keptConstraints {
		c.parsed = map[string]wanted{}
	}
	c.parsed[strings.Clone(text)] = w
	return w, nil
}

// filter says which versions a listing shows, in the words of the query.
type filter struct {
	// wanted is nil when all are listed.
	wanted      *wanted
	prereleases bool
}

// filter fails with CONSTRAINT_INVALID.
func (c *constraints) filter(q VersionQuery) (filter, error) {
	f := filter{prereleases: q.Prereleases}
	if strings.TrimSpace(q.Constraint) == "" {
		return f, nil
	}
	w, err := c.parse(q.Constraint)
	if err != nil {
		return f, err
	}
	if w.constraint != nil {
		own := *w.constraint // others use what was parsed
		own.IncludePrerelease = q.Prereleases
		w.constraint = &own
	}
	f.wanted = &w
	return f, nil
}

// look is what a list remembers its outcome by.
func (f filter) look() look {
	l := look{all: true, prereleases: f.prereleases}
	if f.wanted != nil {
		// A text that means the newest stable version is not the one that means all.
		l.text = cmp.Or(f.wanted.text, "latest")
	}
	return l
}

// shows says whether a version is listed.
func (f filter) shows(version string) bool {
	v, err := semver.NewVersion(version)
	switch {
	case err != nil:
		return false
	case f.wanted == nil:
		return f.prereleases || v.Prerelease() == ""
	default:
		return version == f.wanted.text || f.wanted.matches(v)
	}
}
