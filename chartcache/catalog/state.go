package catalog

import (
	"time"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Ref names a configured repository. It is comparable.
type Ref struct {
	// Namespace of the repository.
	Namespace string
	// Name of the repository in its namespace.
	Name string
}

// String returns "namespace/name".
func (r Ref) String() string { return r.Namespace + "/" + r.Name }

// Source names a repository: exactly one field is set.
type Source struct {
	// Ref names a configured repository.
	Ref *Ref
	// URL (http, https or oci) names one that is read anonymously. It is there from its first use until it has not been
	// used for a while.
	URL string
}

// ByRef returns the Source of a configured repository.
func ByRef(namespace, name string) Source { return Source{Ref: &Ref{Namespace: namespace, Name: name}} }

// ByURL returns the Source of a repository that is read anonymously.
func ByURL(url string) Source { return Source{URL: url} }

// String returns "namespace/name" or the URL, for logs and messages.
func (s Source) String() string {
	if s.Ref != nil {
		return s.Ref.String()
	}
	return displayURL(s.URL)
}

// Revision is the content of a repository at a time. The zero value means none.
type Revision struct {
	// Name is opaque; equal content has equal names on every instance.
	Name string
	// ObservedAt is when this instance last began to read upstream and found this content. While Name stays, it never goes
	// back, not even when the clock does.
	ObservedAt time.Time
}

// IsZero reports whether there is no revision.
func (r Revision) IsZero() bool { return r.Name == "" && r.ObservedAt.IsZero() }

// State is the sync state of one repository. A zero time means that the thing has not happened.
type State struct {
	// Source names the repository.
	Source Source
	// URL without credentials, query and fragment.
	URL string
	// Type is the protocol, by the scheme of the URL.
	Type chartcachev1.RepositoryType
	// ObservedGeneration is the generation of the Spec whose outcome State tells. It follows Put when the first sync with
	// the new spec ends; at once for a spec that is suspended or invalid, or whose URL changed (State is PENDING then).
	ObservedGeneration int64
	// State is the outcome of the last sync.
	State chartcachev1.RepositoryState
	// Syncing reports whether a sync runs or waits for its turn.
	Syncing bool
	// Revision is what is served; zero before the first successful sync.
	Revision Revision
	// LastSync is the end of the last sync that changed revision or outcome.
	LastSync time.Time
	// LastCheck is the end of the last sync, whatever came of it.
	LastCheck time.Time
	// NextSync is when the next sync is due; zero while suspended or invalid.
	NextSync time.Time
	// LastError says why the last sync failed; nil when it did not.
	LastError *SyncError
	// StaleSince is since when what is served may be out of date because syncs fail; zero when it is not.
	StaleSince time.Time
	// Charts is the number of charts that are served.
	Charts int64
	// Versions is the number of chart versions that are served.
	Versions int64
	// IndexBytes is the size of the upstream index, uncompressed; 0 for OCI.
	IndexBytes int64
	// Rejected is the number of index entries that were left out because they are invalid.
	Rejected int64
}

// SyncError says why a sync failed. It holds no credentials and no text of upstream.
type SyncError struct {
	// Reason classifies the error.
	Reason chartcachev1.ErrorReason `json:"reason"`
	// Message is for people.
	Message string `json:"message"`
	// Time is when it failed.
	Time time.Time `json:"time"`
}
