package server

import (
	"context"
	"errors"
	"io"
	"net/url"
	"sort"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// service implements the contract. Requests were validated before (see calls), and errors become statuses after.
type service struct {
	// What a later contract has is UNIMPLEMENTED until it is here.
	chartcachev1.UnimplementedChartCacheServiceServer
	catalog Catalog
	// chunks holds buffers for downloads.
	chunks mem.BufferPool
}

// ListRepositories pages behind the last name instead of by revision: that holds when repositories come and go between
// two pages, so these pages never expire.
func (s *service) ListRepositories(_ context.Context, r *chartcachev1.ListRepositoriesRequest) (*chartcachev1.ListRepositoriesResponse, error) {
	t, err := decodePage(r)
	if err != nil {
		return nil, err
	}
	states := s.catalog.Repositories(r.GetNamespace())
	from := 0
	if t.Name != "" {
		from = sort.Search(len(states), func(i int) bool { return behind(states[i].Source.Ref, t) })
	}
	to := min(from+sizeOf(r), len(states))
	response := &chartcachev1.ListRepositoriesResponse{}
	for _, state := range states[from:to] {
		response.Repositories = append(response.Repositories, repositoryProto(state))
	}
	if to < len(states) {
		last := states[to-1].Source.Ref
		response.NextPageToken = encodePage(r, pageToken{Namespace: last.Namespace, Name: last.Name})
	}
	return response, nil
}

// behind reports whether a repository is behind the one that a token names.
func behind(ref *catalog.Ref, t pageToken) bool {
	if ref.Namespace != t.Namespace {
		return ref.Namespace > t.Namespace
	}
	return ref.Name > t.Name
}

func (s *service) GetRepository(ctx context.Context, r *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
	state, err := s.catalog.Repository(ctx, sourceOf(r))
	if err != nil {
		return nil, err
	}
	return &chartcachev1.GetRepositoryResponse{Repository: repositoryProto(state)}, nil
}

func (s *service) SyncRepository(ctx context.Context, r *chartcachev1.SyncRepositoryRequest) (*chartcachev1.SyncRepositoryResponse, error) {
	state, changed, err := s.catalog.Sync(ctx, sourceOf(r))
	if err != nil {
		return nil, err
	}
	return &chartcachev1.SyncRepositoryResponse{Repository: repositoryProto(state), Changed: changed}, nil
}

func (s *service) ListCharts(ctx context.Context, r *chartcachev1.ListChartsRequest) (*chartcachev1.ListChartsResponse, error) {
	t, err := decodePage(r)
	if err != nil {
		return nil, err
	}
	list, err := s.catalog.Charts(ctx, sourceOf(r), catalog.ChartQuery{
		Text: r.GetQuery(), Offset: t.Offset, Limit: sizeOf(r), Min: minRevision(r.GetMinRevision()),
	})
	if err != nil {
		return nil, err
	}
	next, err := t.next(r, list.Revision.Name, len(list.Charts), list.More)
	if err != nil {
		return nil, err
	}
	response := &chartcachev1.ListChartsResponse{NextPageToken: next, Revision: revisionProto(list.Revision), Stale: list.Stale}
	for _, summary := range list.Charts {
		response.Charts = append(response.Charts, summaryProto(summary))
	}
	return response, nil
}

func (s *service) ListVersions(ctx context.Context, r *chartcachev1.ListVersionsRequest) (*chartcachev1.ListVersionsResponse, error) {
	t, err := decodePage(r)
	if err != nil {
		return nil, err
	}
	list, err := s.catalog.Versions(ctx, sourceOf(r), catalog.VersionQuery{
		Chart: r.GetChart(), Constraint: r.GetConstraint(), Prereleases: r.GetIncludePrereleases(),
		Offset: t.Offset, Limit: sizeOf(r), Min: minRevision(r.GetMinRevision()),
	})
	if err != nil {
		return nil, err
	}
	next, err := t.next(r, list.Revision.Name, len(list.Versions), list.More)
	if err != nil {
		return nil, err
	}
	response := versionsOf(list.Versions)
	response.NextPageToken, response.Revision, response.Stale = next, revisionProto(list.Revision), list.Stale
	return response, nil
}

func (s *service) ResolveVersion(ctx context.Context, r *chartcachev1.ResolveVersionRequest) (*chartcachev1.ResolveVersionResponse, error) {
	resolved, err := s.catalog.Resolve(ctx, sourceOf(r), catalog.ResolveQuery{
		Chart: r.GetChart(), Version: r.GetVersion(), Digest: r.GetDigest(), Min: minRevision(r.GetMinRevision()),
	})
	if err != nil {
		return nil, err
	}
	return &chartcachev1.ResolveVersionResponse{
		Version:       versionProto(resolved.Entry),
		NewestVersion: resolved.Newest,
		Revision:      revisionProto(resolved.Revision),
		Stale:         resolved.Stale,
	}, nil
}

func (s *service) DownloadChart(r *chartcachev1.DownloadChartRequest, stream grpc.ServerStreamingServer[chartcachev1.DownloadChartResponse]) (err error) {
	ctx := stream.Context()
	source := sourceOf(r)
	resolved, err := s.catalog.Resolve(ctx, source, catalog.ResolveQuery{
		Chart: r.GetChart(), Version: r.GetVersion(), Digest: r.GetDigest(), Min: minRevision(r.GetMinRevision()),
	})
	if err != nil {
		return err
	}
	tarball, info, err := s.catalog.Fetch(ctx, source, resolved)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tarball.Close()) }()
	if r.GetOffsetBytes() > info.SizeBytes {
		return invalid("offset_bytes is behind the end of the tarball, which has %d bytes", info.SizeBytes)
	}
	header := &chartcachev1.DownloadChartHeader{
		Version:    versionProto(resolved.Entry),
		SizeBytes:  info.SizeBytes,
		MediaType:  info.MediaType,
		Provenance: info.Provenance,
		CachedAt:   timestamp(info.CachedAt),
	}
	if err := stream.Send(&chartcachev1.DownloadChartResponse{Content: &chartcachev1.DownloadChartResponse_Header{Header: header}}); err != nil {
		return err
	}
	return sendChunks(stream, s.chunks, io.NewSectionReader(tarball, r.GetOffsetBytes(), info.SizeBytes-r.GetOffsetBytes()))
}

// withoutUserInfo is a URL that upstream named, without a user name and password; empty when it is not a URL.
func withoutUserInfo(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if u.User == nil {
		return raw
	}
	u.User = nil
	return u.String()
}
