package client

import (
	"time"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Enumerations of the contract.
type (
	// Reason classifies an error.
	Reason = chartcachev1.ErrorReason
	// RepositoryState is the outcome of the last sync.
	RepositoryState = chartcachev1.RepositoryState
	// RepositoryType is the protocol of a repository.
	RepositoryType = chartcachev1.RepositoryType
)

// Source names a repository: a configured one by Namespace and Name, or one that is read anonymously by URL. It is
// comparable and can be a map key.
type Source struct {
	// Namespace of the HelmRepository.
	Namespace string
	// Name of the HelmRepository.
	Name string
	// URL (http, https or oci); Namespace and Name are empty then.
	URL string
}

// Named returns the Source of a configured repository.
func Named(namespace, name string) Source { return Source{Namespace: namespace, Name: name} }

// ByURL returns the Source of a repository that is read anonymously.
func ByURL(url string) Source { return Source{URL: url} }

// String returns "namespace/name", or the URL.
func (s Source) String() string {
	if s.URL != "" {
		return s.URL
	}
	return s.Namespace + "/" + s.Name
}

// Revision is the content of a repository at a time. The zero value means none.
type Revision struct {
	// Name is opaque; equal content has equal names on every instance of chartcache.
	Name string
	// ObservedAt is when an instance last saw upstream hold this content.
	ObservedAt time.Time
}

// IsZero reports whether there is no revision.
func (r Revision) IsZero() bool { return r.Name == "" && r.ObservedAt.IsZero() }

// Repository is the sync state of a repository on the instance that answered. A zero time means that the thing has not
// happened.
type Repository struct {
	// Source names the repository.
	Source Source
	// URL without credentials.
	URL string
	// Type is the protocol.
	Type RepositoryType
	// ObservedGeneration is the metadata.generation of the HelmRepository that this state reflects.
	ObservedGeneration int64
	// State is the outcome of the last sync.
	State RepositoryState
	// Syncing reports whether a sync runs.
	Syncing bool
	// Revision is what is served; zero before the first successful sync.
	Revision Revision
	// LastSyncTime is the end of the last sync that changed revision or outcome.
	LastSyncTime time.Time
	// LastCheckTime is the end of the last sync, whatever came of it.
	LastCheckTime time.Time
	// NextSyncTime is when the next sync is due; zero while suspended.
	NextSyncTime time.Time
	// LastError says why the last sync failed; nil when it did not.
	LastError *RepositoryError
	// StaleSince is since when what is served may be out of date.
	StaleSince time.Time
	// ChartCount, VersionCount are the numbers of charts and chart versions that are served.
	ChartCount, VersionCount int64
	// IndexSizeBytes is the size of the upstream index, uncompressed; 0 for OCI.
	IndexSizeBytes int64
	// RejectedEntryCount is the number of index entries that were left out because they are invalid.
	RejectedEntryCount int64
}

// RepositoryError says why a sync failed.
type RepositoryError struct {
	// Reason classifies the error.
	Reason Reason
	// Message is for people; it holds no credentials.
	Message string
	// Time is when it failed.
	Time time.Time
}

// SyncResult is the outcome of a sync.
type SyncResult struct {
	// Repository is the state after the sync.
	Repository Repository
	// Changed reports whether the sync changed the revision.
	Changed bool
}

// ChartVersion is one version of a chart.
type ChartVersion struct {
	// Chart is the name of the chart; for OCI the path below the repository's URL.
	Chart string
	// Version as the repository spells it.
	Version string
	// AppVersion may be empty.
	AppVersion string
	// Digest of the tarball ("sha256:..."); empty in a listing when it is not known yet.
	Digest string
	// ManifestDigest of OCI; empty for HTTP, and in a listing when it is not known yet.
	ManifestDigest string
	// Created is when the version was published; zero when the repository does not say.
	Created time.Time
	// Description is one line.
	Description string
	// Deprecated marks a chart that should not be used any more.
	Deprecated bool
	// Icon is a URL; may be empty.
	Icon string
	// Type is "application", "library" or empty, which means application.
	Type string
}

// ChartSummary describes a chart by its newest version.
type ChartSummary struct {
	// Name of the chart.
	Name string
	// Latest is the newest stable version, or the newest one when there is no stable one.
	Latest ChartVersion
	// VersionCount is the number of versions.
	VersionCount int
	// Revision is opaque; it changes only when one of the chart's versions does.
	Revision string
}

// ChartList is the answer of ListCharts.
type ChartList struct {
	// Charts ordered by name.
	Charts []ChartSummary
	// Revision that answered.
	Revision Revision
	// Stale reports whether the last sync failed, so that upstream may hold more.
	Stale bool
}

// VersionList is the answer of ListVersions.
type VersionList struct {
	// Versions, newest first.
	Versions []ChartVersion
	// Revision that answered.
	Revision Revision
	// Stale reports whether the last sync failed, so that upstream may hold more.
	Stale bool
}

// ListChartsOptions narrow ListCharts. The zero value lists all.
type ListChartsOptions struct {
	// Query is text that name or description must contain, ignoring case.
	Query string
	// MinRevision is the oldest state that may answer.
	MinRevision Revision
	// Limit is the largest number of charts; 0 means all.
	Limit int
}

// ListVersionsOptions narrow ListVersions. The zero value lists all stable versions.
type ListVersionsOptions struct {
	// Constraint that versions must satisfy, such as "^1.2.0".
	Constraint string
	// IncludePrereleases lists prereleases too.
	IncludePrereleases bool
	// MinRevision is the oldest state that may answer.
	MinRevision Revision
	// Limit is the largest number of versions; 0 means all.
	Limit int
}

// ChartRequest names a chart version for Resolve and Download.
type ChartRequest struct {
	// Source is the repository.
	Source Source
	// Chart is the name; for OCI the path below the repository's URL.
	Chart string
	// Version is an exact version, a constraint, "latest" or empty; the last two mean the newest stable version.
	Version string
	// Digest pins the chart and wins over Version; empty means none.
	Digest string
	// MinRevision is the oldest state that may answer; zero means any.
	MinRevision Revision
}

// Resolved is the chart version that a request means.
type Resolved struct {
	// Version with its digest.
	Version ChartVersion
	// NewestVersion is the newest stable version of the chart, whatever the constraint says; empty when it has none.
	NewestVersion string
	// Revision that answered.
	Revision Revision
	// Stale reports whether the last sync failed, so that upstream may hold a newer version.
	Stale bool
}

// Downloaded describes a tarball: one that Download has written and verified, or is about to.
type Downloaded struct {
	// Version with its digest.
	Version ChartVersion
	// SizeBytes is the size of the tarball.
	SizeBytes int64
	// MediaType of the tarball.
	MediaType string
	// Provenance is the .prov file; empty when there is none.
	Provenance []byte
	// CachedAt is when the tarball was cached.
	CachedAt time.Time
}
