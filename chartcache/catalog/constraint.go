package catalog

import (
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxConstraint bounds what is parsed as a constraint; real ones are a tenth of it.
const maxConstraint = 512

// wanted is what a request says about the version, as Helm understands it.
type wanted struct {
	// text as it was asked for, without spaces around it.
	text string
	// newest says that the newest stable version is wanted; text is empty or "latest".
	newest bool
	// exact is set when text is a whole version; constraint when it is not.
	exact      *semver.Version
	constraint *semver.Constraints
}

// parseWanted fails with CONSTRAINT_INVALID.
func parseWanted(text string) (wanted, error) {
	w := wanted{text: strings.TrimSpace(text)}
	if w.text == "" || w.text == "latest" {
		w.newest = true
		return w, nil
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

// pick returns the first of the entries, which are sorted newest first, that is wanted; ok is false when there is none.
func (w wanted) pick(entries []index.Entry) (e index.Entry, ok bool) {
	for _, e := range entries {
		if e.Version == w.text {
			return e, true
		}
	}
	for _, e := range entries {
		if v, err := semver.NewVersion(e.Version); err == nil && w.matches(v) {
			return e, true
		}
	}
	return index.Entry{}, false
}

func (w wanted) matches(v *semver.Version) bool {
	switch {
	case w.newest:
		return v.Prerelease() == ""
	case w.exact != nil:
		// Build metadata has no precedence, but who names it means it.
		return v.Equal(w.exact) && (w.exact.Metadata() == "" || v.Metadata() == w.exact.Metadata())
	default:
		return w.constraint.Check(v)
	}
}

// newestStable returns the newest version that is no prerelease; empty when there is none.
func newestStable(entries []index.Entry) string {
	e, _ := wanted{newest: true}.pick(entries)
	return e.Version
}

// filter says which versions a listing shows.
func (q VersionQuery) filter() (func(index.Entry) bool, error) {
	if strings.TrimSpace(q.Constraint) == "" {
		return func(e index.Entry) bool {
			v, err := semver.NewVersion(e.Version)
			return err == nil && (q.Prereleases || v.Prerelease() == "")
		}, nil
	}
	w, err := parseWanted(q.Constraint)
	if err != nil {
		return nil, err
	}
	if w.constraint != nil {
		w.constraint.IncludePrerelease = q.Prereleases
	}
	return func(e index.Entry) bool {
		v, err := semver.NewVersion(e.Version)
		return err == nil && (e.Version == w.text || w.matches(v))
	}, nil
}
