package catalog

import (
	"context"
	"strings"
	"time"

	"github.com/ketches/helm-operator/chartcache/index"
)

// ChartQuery selects charts of a repository.
type ChartQuery struct {
	// Text that name or description must contain, ignoring case; empty means all.
	Text string
	// Offset is the number of matching charts to leave out, Limit the largest number to return; 0 means all.
	Offset, Limit int
	// Min is the oldest state that may answer; zero means any.
	Min Revision
}

// ChartList is a part of the charts of a repository.
type ChartList struct {
	// Charts ordered by name. Digests that were learned are filled in.
	Charts []index.Summary
	// More reports whether there are charts behind the last one.
	More bool
	// Revision that answered.
	Revision Revision
	// Stale reports whether the last sync failed, so that upstream may hold more.
	Stale bool
}

// VersionQuery selects versions of a chart.
type VersionQuery struct {
	// Chart is the name; for OCI the path below the repository's URL.
	Chart string
	// Constraint that versions must satisfy, such as "^1.2.0"; empty means all.
	Constraint string
	// Prereleases lists prereleases too. A constraint that names a prerelease lists those it matches in any case.
	Prereleases bool
	// Offset is the number of matching versions to leave out, Limit the largest number to return; 0 means all.
	Offset, Limit int
	// Min is the oldest state that may answer; zero means any.
	Min Revision
}

// VersionList is a part of the versions of a chart.
type VersionList struct {
	// Versions, newest first. Digests that were learned are filled in.
	Versions []index.Entry
	// More reports whether there are versions behind the last one.
	More bool
	// Revision that answered.
	Revision Revision
	// Stale reports whether the last sync failed, so that upstream may hold more.
	Stale bool
}

// ResolveQuery names a chart version.
type ResolveQuery struct {
	// Chart is the name; for OCI the path below the repository's URL.
	Chart string
	// Version is an exact version, a constraint, "latest" or empty; the last two mean the newest stable version.
	Version string
	// Digest pins the tarball, or for OCI the manifest ("sha256:..."), and wins over Version; empty means none.
	Digest string
	// Min is the oldest state that may answer; zero means any.
	Min Revision
}

// Resolved is the chart version that a query means.
type Resolved struct {
	// Entry of the version. Its Digest is always set; for OCI its ManifestDigest too.
	Entry index.Entry
	// Newest is the newest stable version of the chart, whatever the query says; empty when it has none.
	Newest string
	// Revision that answered.
	Revision Revision
	// Stale reports whether the last sync failed, so that upstream may hold a newer version.
	Stale bool
}

// ChartInfo describes a tarball that Fetch gives out.
type ChartInfo struct {
	// SizeBytes of the tarball.
	SizeBytes int64
	// MediaType of the tarball.
	MediaType string
	// Provenance is the .prov file; nil when there is none.
	Provenance []byte
	// CachedAt is when the tarball was downloaded for this repository.
	CachedAt time.Time
}

// Charts lists the charts of a repository. Errors: REPOSITORY_NOT_FOUND, REPOSITORY_NOT_SYNCED, INVALID_ARGUMENT,
// TOO_LARGE, the cause of ctx, those of a sync where query.Min needs one; for a URL, why its last sync failed.
func (c *Catalog) Charts(ctx context.Context, source Source, query ChartQuery) (ChartList, error) {
	v, err := c.view(ctx, source, query.Min)
	if err != nil {
		return ChartList{}, err
	}
	defer v.close()
	list := ChartList{Revision: v.revision, Stale: v.stale}
	page, text := page{offset: query.Offset, limit: query.Limit}, strings.ToLower(query.Text)
	if text == "" {
		page.skipped = page.offset // pages before are not read
	}
	for summary, err := range v.reader.Summaries(page.skipped) {
		if err != nil {
			return ChartList{}, v.readFailed(err)
		}
		summary.Latest = v.knowledge.complete(summary.Latest)
		if !contains(summary, text) || page.before() {
			continue
		}
		if page.full() {
			list.More = true
			break
		}
		list.Charts = append(list.Charts, summary)
	}
	return list, nil
}

// Versions lists the versions of a chart. A registry is asked for a chart that is not known yet. Errors: those of Charts,
// CONSTRAINT_INVALID, CHART_NOT_FOUND.
func (c *Catalog) Versions(ctx context.Context, source Source, query VersionQuery) (VersionList, error) {
	shown, err := c.constraints.filter(query)
	if err != nil {
		return VersionList{}, err
	}
	var list VersionList
	err = c.look(ctx, source, query.Chart, query.Min, func(v *view) error {
		versions, err := v.versions(query.Chart)
		if err != nil {
			return err
		}
		positions := versions.find(shown.look(), func() []int32 {
			var positions []int32
			for i := range versions.Len() {
				if shown.shows(versions.Version(i)) {
					positions = append(positions, int32(i))
				}
			}
			return positions
		})
		list = VersionList{Revision: v.revision, Stale: v.stale}
		positions = positions[min(query.Offset, len(positions)):]
		if query.Limit > 0 && len(positions) > query.Limit {
			positions, list.More = positions[:query.Limit], true
		}
		if len(positions) > 0 {
			list.Versions = make([]index.Entry, 0, len(positions))
		}
		for _, i := range positions {
			list.Versions = append(list.Versions, v.knowledge.complete(versions.Entry(int(i))))
		}
		return nil
	})
	if err != nil {
		return VersionList{}, err
	}
	return list, nil
}

// contains says whether name or description of a chart hold a text in lower case.
func contains(s index.Summary, text string) bool {
	return text == "" || strings.Contains(strings.ToLower(s.Name), text) || strings.Contains(strings.ToLower(s.Latest.Description), text)
}

// page counts the items of a listing.
type page struct {
	offset, limit int
	skipped, kept int
}

// before says whether the next item is on a page before.
func (p *page) before() bool {
	if p.skipped < p.offset {
		p.skipped++
		return true
	}
	return false
}

// full says whether the next item is on a page behind; else it is on this one.
func (p *page) full() bool {
	if p.limit > 0 && p.kept == p.limit {
		return true
	}
	p.kept++
	return false
}
