package client

import (
	"context"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// ListCharts returns summaries of the charts of a repository, ordered by name. Errors: *Error, such as
// REPOSITORY_NOT_FOUND and REPOSITORY_NOT_SYNCED.
func (c *Client) ListCharts(ctx context.Context, source Source, options ListChartsOptions) (ChartList, error) {
	return restartExpired(func() (ChartList, error) {
		var list ChartList
		request := &chartcachev1.ListChartsRequest{
			Source:      &chartcachev1.ListChartsRequest_Url{Url: source.URL},
			Query:       options.Query,
			MinRevision: revisionProto(options.MinRevision),
		}
		if source.URL == "" {
			request.Source = &chartcachev1.ListChartsRequest_Repository{Repository: refOf(source)}
		}
		for {
			request.PageSize = nextPageSize(options.Limit, len(list.Charts))
			page, err := call(ctx, c, source, c.timeouts.List, c.rpc.ListCharts, request)
			if err != nil {
				return ChartList{}, err
			}
			for _, s := range page.GetCharts() {
				list.Charts = append(list.Charts, summaryOf(s))
			}
			list.Revision, list.Stale = revisionOf(page.GetRevision()), page.GetStale()
			request.PageToken = page.GetNextPageToken()
			if request.PageToken == "" || full(options.Limit, len(list.Charts)) {
				return list, nil
			}
		}
	})
}

// ListVersions returns the versions of a chart, newest first. Errors: *Error, such as CHART_NOT_FOUND and
// CONSTRAINT_INVALID.
func (c *Client) ListVersions(ctx context.Context, source Source, chart string, options ListVersionsOptions) (VersionList, error) {
	return restartExpired(func() (VersionList, error) {
		var list VersionList
		request := &chartcachev1.ListVersionsRequest{
			Source:             &chartcachev1.ListVersionsRequest_Url{Url: source.URL},
			Chart:              chart,
			MinRevision:        revisionProto(options.MinRevision),
			Constraint:         options.Constraint,
			IncludePrereleases: options.IncludePrereleases,
		}
		if source.URL == "" {
			request.Source = &chartcachev1.ListVersionsRequest_Repository{Repository: refOf(source)}
		}
		for {
			request.PageSize = nextPageSize(options.Limit, len(list.Versions))
			page, err := call(ctx, c, source, c.timeouts.List, c.listVersions, request)
			if err != nil {
				return VersionList{}, err
			}
			if list.Versions == nil {
				list.Versions = page.versions
			} else {
				list.Versions = append(list.Versions, page.versions...)
			}
			list.Revision, list.Stale = page.revision, page.stale
			request.PageToken = page.nextToken
			if request.PageToken == "" || full(options.Limit, len(list.Versions)) {
				return list, nil
			}
		}
	})
}

// Resolve says which version and digest a request means now. Errors: *Error, such as CHART_NOT_FOUND,
// VERSION_NOT_FOUND, CONSTRAINT_INVALID, and the reasons of a fetch where the digest has to be learned.
func (c *Client) Resolve(ctx context.Context, request ChartRequest) (Resolved, error) {
	p := &chartcachev1.ResolveVersionRequest{
		Source:      &chartcachev1.ResolveVersionRequest_Url{Url: request.Source.URL},
		Chart:       request.Chart,
		Version:     request.Version,
		Digest:      request.Digest,
		MinRevision: revisionProto(request.MinRevision),
	}
	if request.Source.URL == "" {
		p.Source = &chartcachev1.ResolveVersionRequest_Repository{Repository: refOf(request.Source)}
	}
	response, err := call(ctx, c, request.Source, c.timeouts.Resolve, c.rpc.ResolveVersion, p)
	if err != nil {
		return Resolved{}, err
	}
	return Resolved{
		Version:       versionOf(response.GetVersion()),
		NewestVersion: response.GetNewestVersion(),
		Revision:      revisionOf(response.GetRevision()),
		Stale:         response.GetStale(),
	}, nil
}

// nextPageSize asks for no more than what is missing to a limit; zero means no limit.
func nextPageSize(limit, have int) int32 {
	if limit <= 0 {
		return pageSize
	}
	return int32(min(pageSize, max(limit-have, 1)))
}

func full(limit, have int) bool { return limit > 0 && have >= limit }
