package catalog

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// repository is one repository in memory. Catalog.mu guards everything but what is said to be constant.
type repository struct {
	source Source // constant
	id     uint64 // constant; differs from that of every other repository before, of the same name too

	// disk is held while files of the repository are renamed, removed or written, and while what decides about them is
	// read. It is taken before Catalog.mu.
	disk sync.Mutex

	spec Spec
	// folder of the current URL.
	folder string
	// epoch counts the changes of spec that make work for the old one worthless; place counts those of the URL.
	epoch, place int
	gone         bool

	// observed is what State reflects of the spec.
	observed observed
	record   record
	// served is nil when nothing is.
	served    *generation
	knowledge *knowledge

	// due is when the next sync should start, and wait how long that was away when it was set: should it ever be further
	// away, the clock was set back.
	due  time.Time
	wait time.Duration
	// failures counts failed syncs in a row, for the back-off.
	failures int
	// sync is the one that runs or waits for its turn; nil when none does.
	sync *flight
	// missSync is when a look-up that found nothing last caused a sync.
	missSync time.Time
	// asked is when upstream was last asked for one chart that was not known, or lacked a version.
	asked map[string]time.Time
	// noDownloads is until when upstream asked not to be asked for tarballs.
	noDownloads time.Time
	// used is when a repository that is known by its URL only was last asked for.
	used time.Time
}

// observed is the part of a spec that State reflects.
type observed struct {
	generation int64
	suspended  bool
	invalid    *SyncError
}

// generation is an open index with users. Catalog.mu guards it.
type generation struct {
	reader *index.Reader
	// revision is the reader's, which is asked for by every call.
	revision string
	users    int
	retired  bool
}

func newGeneration(reader *index.Reader) *generation {
	return &generation{reader: reader, revision: reader.Revision()}
}

// readerOrNil is what the generation is read by; nil for no generation.
func (g *generation) readerOrNil() *index.Reader {
	if g == nil {
		return nil
	}
	return g.reader
}

// release gives up a use; the last one closes a retired generation. The caller holds Catalog.mu.
func (g *generation) release() {
	g.users--
	g.closeIfUnused()
}

// retire lets the file be closed when nobody uses it. A nil generation has nothing to close. The caller holds Catalog.mu.
func (g *generation) retire() {
	if g != nil {
		g.retired = true
		g.closeIfUnused()
	}
}

func (g *generation) closeIfUnused() {
	if g.retired && g.users == 0 {
		// It was only read, so closing loses nothing.
		_ = g.reader.Close()
	}
}

// state tells the state. The caller holds Catalog.mu.
func (r *repository) state() State {
	s := State{
		Source: r.source, URL: displayURL(r.spec.URL), Type: typeOf(r.spec.URL),
		ObservedGeneration: r.observed.generation, State: r.record.Outcome, Syncing: r.sync != nil,
		LastSync: r.record.LastSync, LastCheck: r.record.LastCheck, LastError: r.record.LastError, StaleSince: r.staleSince(),
	}
	if s.State == chartcachev1.RepositoryState_REPOSITORY_STATE_UNSPECIFIED {
		s.State = chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING
	}
	if r.observed.suspended {
		s.State = chartcachev1.RepositoryState_REPOSITORY_STATE_SUSPENDED
	}
	if invalid := r.observed.invalid; invalid != nil {
		s.State, s.LastError = chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, invalid
	}
	if r.syncs() {
		s.NextSync = r.due
	}
	if r.served != nil {
		stats := r.served.reader.Stats()
		s.Revision = r.revision()
		s.Charts, s.Versions, s.IndexBytes, s.Rejected = stats.Charts, stats.Versions, stats.SourceBytes, stats.Rejected
	}
	return s
}

// staleSince is since when what is served may be out of date; zero when it is not. The caller holds Catalog.mu.
func (r *repository) staleSince() time.Time {
	if r.record.StaleSince.IsZero() && r.served != nil && r.observed.invalid != nil {
		return r.observed.invalid.Time
	}
	return r.record.StaleSince
}

// revision is what is served. The caller holds Catalog.mu, and something is served.
func (r *repository) revision() Revision {
	return Revision{Name: r.served.revision, ObservedAt: r.record.ObservedAt}
}

// syncs reports whether the repository may sync at all. The caller holds Catalog.mu.
func (r *repository) syncs() bool { return !r.gone && !r.spec.Suspend && r.spec.Invalid == nil }

// dueAt makes the next sync due at a time. The caller holds Catalog.mu.
func (r *repository) dueAt(now, due time.Time) { r.due, r.wait = due, max(0, due.Sub(now)) }

// observe makes State reflect the spec. The caller holds Catalog.mu.
func (r *repository) observe(now time.Time) {
	r.observed = observed{generation: r.spec.Generation, suspended: r.spec.Suspend}
	if r.spec.Invalid != nil {
		r.observed.invalid = syncError(r.spec.Invalid, now)
	}
}

// install makes the repository what a folder holds. The caller holds Catalog.mu.
func (r *repository) install(folder string, found stored) {
	r.folder, r.record, r.knowledge = folder, found.record, found.knowledge
	r.served.retire()
	r.served = nil
	if found.reader != nil {
		r.served = newGeneration(found.reader)
	}
	r.observed.generation = found.record.ObservedGeneration
	r.failures, r.missSync, r.asked, r.noDownloads = 0, time.Time{}, nil, time.Time{}
	r.place++
}

// abandon gives up the running sync. The caller holds Catalog.mu.
func (r *repository) abandon(cause error) {
	r.epoch++
	if r.sync != nil {
		r.sync.cancel(cause)
		r.sync = nil
	}
}

// typeOf tells the protocol by the scheme.
func typeOf(rawURL string) chartcachev1.RepositoryType {
	if strings.HasPrefix(rawURL, "oci:") {
		return chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI
	}
	return chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP
}

// displayURL is a URL as it may be shown: without user information, query and fragment, which may hold secrets. What
// cannot be parsed is not shown at all.
func displayURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// cleanURL checks the URL of a repository that is read anonymously, and gives it one spelling. It becomes part of states
// and file contents, so it must hold nothing secret.
func cleanURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
		return "", invalidArgument("the URL of the repository is malformed")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci":
		return "", invalidArgument("the URL of the repository must start with http://, https:// or oci://")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", invalidArgument("the URL of a repository that is read anonymously must hold no credentials, query or fragment")
	}
	u.Host = strings.ToLower(u.Host)
	return strings.TrimRight(displayURL(u.String()), "/"), nil
}

// syncError is an error as State shows it.
func syncError(err error, now time.Time) *SyncError {
	e := &SyncError{Reason: cacheerr.ReasonOf(err), Message: "chartcache failed; its log says why", Time: now}
	if known, ok := errors.AsType[*cacheerr.Error](err); ok {
		e.Message = known.Message
	}
	return e
}

func invalidArgument(format string, args ...any) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, format, args...)
}
