package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// at is some time.
func at() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

func equal(t *testing.T, want, got proto.Message) {
	t.Helper()
	assert.True(t, proto.Equal(want, got), "want %s\ngot  %s", prototext.Format(want), prototext.Format(got))
}

func fullState() catalog.State {
	return catalog.State{
		Source: catalog.ByRef("apps", "charts"), URL: "https://charts.example.com",
		Type: chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP, ObservedGeneration: 4,
		State: chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, Syncing: true,
		Revision: catalog.Revision{Name: "r1", ObservedAt: at()},
		LastSync: at(), LastCheck: at().Add(time.Second), NextSync: at().Add(time.Hour),
		LastError:  &catalog.SyncError{Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, Message: "it answered 500", Time: at()},
		StaleSince: at(), Charts: 2, Versions: 5, IndexBytes: 900, Rejected: 1,
	}
}

func fullRepository() *chartcachev1.Repository {
	return &chartcachev1.Repository{
		Ref: named("apps", "charts"), Url: "https://charts.example.com",
		Type: chartcachev1.RepositoryType_REPOSITORY_TYPE_HTTP, ObservedGeneration: 4,
		State: chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED, Syncing: true,
		Revision:     &chartcachev1.RepositoryRevision{Revision: "r1", ObservedAt: timestamppb.New(at())},
		LastSyncTime: timestamppb.New(at()), LastCheckTime: timestamppb.New(at().Add(time.Second)), NextSyncTime: timestamppb.New(at().Add(time.Hour)),
		LastError:  &chartcachev1.RepositoryError{Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, Message: "it answered 500", Time: timestamppb.New(at())},
		StaleSince: timestamppb.New(at()), ChartCount: 2, VersionCount: 5, IndexSizeBytes: 900, RejectedEntryCount: 1,
	}
}

func TestGetAndSyncRepository(t *testing.T) {
	f := start(t, &fakeCatalog{
		repository: func(_ context.Context, s catalog.Source) (catalog.State, error) {
			if s.URL != "" {
				return catalog.State{Source: s, URL: s.URL, State: chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING}, nil
			}
			assert.Equal(t, catalog.ByRef("apps", "charts"), s)
			return fullState(), nil
		},
		sync: func(_ context.Context, s catalog.Source) (catalog.State, bool, error) { return fullState(), true, nil },
	})
	got, err := f.client.GetRepository(testContext(t), getCharts())
	require.NoError(t, err)
	equal(t, fullRepository(), got.GetRepository())

	anonymous, err := f.client.GetRepository(testContext(t), &chartcachev1.GetRepositoryRequest{
		Source: &chartcachev1.GetRepositoryRequest_Url{Url: "oci://registry.example.com/charts"},
	})
	require.NoError(t, err)
	equal(t, &chartcachev1.Repository{Url: "oci://registry.example.com/charts", State: chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING}, anonymous.GetRepository())

	synced, err := f.client.SyncRepository(testContext(t), &chartcachev1.SyncRepositoryRequest{
		Source: &chartcachev1.SyncRepositoryRequest_Repository{Repository: named("apps", "charts")},
	})
	require.NoError(t, err)
	equal(t, &chartcachev1.SyncRepositoryResponse{Repository: fullRepository(), Changed: true}, synced)
}

func TestListRepositoriesPagesWithoutLossWhenRepositoriesComeAndGo(t *testing.T) {
	states := []catalog.State{}
	for _, name := range []string{"a/one", "a/two", "b/one", "b/three", "b/two"} {
		states = append(states, catalog.State{Source: catalog.ByRef(name[:1], name[2:])})
	}
	f := start(t, &fakeCatalog{repositories: func(string) []catalog.State { return states }})
	names, token := []string{}, ""
	for {
		page, err := f.client.ListRepositories(testContext(t), &chartcachev1.ListRepositoriesRequest{PageSize: 2, PageToken: token})
		require.NoError(t, err)
		for _, r := range page.GetRepositories() {
			names = append(names, r.GetRef().GetNamespace()+"/"+r.GetRef().GetName())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
		if len(names) == 2 {
			states = append([]catalog.State{}, states[1:]...) // the first of the page before goes
		}
	}
	assert.Equal(t, []string{"a/one", "a/two", "b/one", "b/three", "b/two"}, names)
}

func TestListChartsPagesThroughOneRevision(t *testing.T) {
	revision := "r1"
	f := start(t, &fakeCatalog{charts: func(s catalog.Source, q catalog.ChartQuery) (catalog.ChartList, error) {
		assert.Equal(t, "web", q.Text)
		assert.Equal(t, 2, q.Limit)
		list := catalog.ChartList{Revision: catalog.Revision{Name: revision, ObservedAt: at()}, Stale: true, More: q.Offset+q.Limit < 3}
		for i := q.Offset; i < min(q.Offset+q.Limit, 3); i++ {
			list.Charts = append(list.Charts, index.Summary{
				Name: fmt.Sprintf("web-%d", i), VersionCount: 3, Revision: "c",
				Latest: index.Entry{Chart: fmt.Sprintf("web-%d", i), Version: "1.0.0", Icon: "https://user:hunter2@charts.example.com/icon.png"},
			})
		}
		return list, nil
	}})
	request := &chartcachev1.ListChartsRequest{
		Source: &chartcachev1.ListChartsRequest_Repository{Repository: named("apps", "charts")}, Query: "web", PageSize: 2,
	}
	first, err := f.client.ListCharts(testContext(t), request)
	require.NoError(t, err)
	require.Len(t, first.GetCharts(), 2)
	equal(t, &chartcachev1.ChartSummary{
		Name: "web-0", VersionCount: 3, Revision: "c",
		Latest: &chartcachev1.ChartVersion{Chart: "web-0", Version: "1.0.0", Icon: "https://charts.example.com/icon.png"},
	}, first.GetCharts()[0])
	assert.True(t, first.GetStale())
	assert.Equal(t, "r1", first.GetRevision().GetRevision())

	request.PageToken = first.GetNextPageToken()
	second, err := f.client.ListCharts(testContext(t), request)
	require.NoError(t, err)
	assert.Len(t, second.GetCharts(), 1)
	assert.Empty(t, second.GetNextPageToken())

	revision = "r2"
	_, err = f.client.ListCharts(testContext(t), request)
	assert.Equal(t, codes.Aborted, status.Code(err))
}

func TestListVersionsAndResolvePassEverythingOn(t *testing.T) {
	entry := index.Entry{
		Chart: "web", Version: "1.2.3", AppVersion: "7", Digest: someDigest, ManifestDigest: "sha256:m", Description: "A web server",
		Icon: "https://charts.example.com/icon.png", Type: "application", Deprecated: true, Created: at(),
	}
	version := &chartcachev1.ChartVersion{
		Chart: "web", Version: "1.2.3", AppVersion: "7", Digest: someDigest, ManifestDigest: "sha256:m", Description: "A web server",
		Icon: "https://charts.example.com/icon.png", Type: "application", Deprecated: true, Created: timestamppb.New(at()),
	}
	least := &chartcachev1.RepositoryRevision{Revision: "r0", ObservedAt: timestamppb.New(at())}
	f := start(t, &fakeCatalog{
		versions: func(s catalog.Source, q catalog.VersionQuery) (catalog.VersionList, error) {
			assert.Equal(t, catalog.ByURL("https://charts.example.com"), s)
			assert.Equal(t, catalog.VersionQuery{
				Chart: "web", Constraint: "^1", Prereleases: true, Limit: 100, Min: catalog.Revision{Name: "r0", ObservedAt: at()},
			}, q)
			return catalog.VersionList{Versions: []index.Entry{entry}, Revision: catalog.Revision{Name: "r1"}}, nil
		},
		resolve: func(s catalog.Source, q catalog.ResolveQuery) (catalog.Resolved, error) {
			assert.Equal(t, catalog.ResolveQuery{Chart: "web", Version: "^1", Digest: someDigest, Min: catalog.Revision{Name: "r0", ObservedAt: at()}}, q)
			return catalog.Resolved{Entry: entry, Newest: "2.0.0", Revision: catalog.Revision{Name: "r1"}, Stale: true}, nil
		},
	})
	versions, err := f.client.ListVersions(testContext(t), &chartcachev1.ListVersionsRequest{
		Source: &chartcachev1.ListVersionsRequest_Url{Url: "https://charts.example.com"}, Chart: "web", Constraint: "^1", IncludePrereleases: true, MinRevision: least,
	})
	require.NoError(t, err)
	equal(t, &chartcachev1.ListVersionsResponse{Versions: []*chartcachev1.ChartVersion{version}, Revision: &chartcachev1.RepositoryRevision{Revision: "r1"}}, versions)

	resolved, err := f.client.ResolveVersion(testContext(t), &chartcachev1.ResolveVersionRequest{
		Source: &chartcachev1.ResolveVersionRequest_Repository{Repository: named("apps", "charts")}, Chart: "web", Version: "^1", Digest: someDigest, MinRevision: least,
	})
	require.NoError(t, err)
	equal(t, &chartcachev1.ResolveVersionResponse{
		Version: version, NewestVersion: "2.0.0", Revision: &chartcachev1.RepositoryRevision{Revision: "r1"}, Stale: true,
	}, resolved)
}

func downloadRequest(offset int64) *chartcachev1.DownloadChartRequest {
	return &chartcachev1.DownloadChartRequest{
		Source: &chartcachev1.DownloadChartRequest_Repository{Repository: named("apps", "charts")}, Chart: "web", Digest: someDigest, OffsetBytes: offset,
	}
}

func TestDownloadSendsAHeaderAndThenChunks(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 60_000) // 2.3 chunks
	for name, offset := range map[string]int64{
		"from the start": 0, "from the middle": 100_001, "from a chunk's end": chunkBytes, "from the end": int64(len(data)),
	} {
		t.Run(name, func(t *testing.T) {
			opened := newTarball(data)
			f := start(t, &fakeCatalog{
				resolve: func(_ catalog.Source, q catalog.ResolveQuery) (catalog.Resolved, error) {
					return catalog.Resolved{Entry: index.Entry{Chart: q.Chart, Version: "1.2.3", Digest: q.Digest}}, nil
				},
				fetch: func(s catalog.Source, r catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
					assert.Equal(t, someDigest, r.Entry.Digest)
					return opened, catalog.ChartInfo{SizeBytes: int64(len(data)), MediaType: "application/gzip", Provenance: []byte("prov"), CachedAt: at()}, nil
				},
			})
			stream, err := f.client.DownloadChart(testContext(t), downloadRequest(offset))
			require.NoError(t, err)
			first, err := stream.Recv()
			require.NoError(t, err)
			equal(t, &chartcachev1.DownloadChartHeader{
				Version:   &chartcachev1.ChartVersion{Chart: "web", Version: "1.2.3", Digest: someDigest},
				SizeBytes: int64(len(data)), MediaType: "application/gzip", Provenance: []byte("prov"), CachedAt: timestamppb.New(at()),
			}, first.GetHeader())
			var got []byte
			for {
				message, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				assert.LessOrEqual(t, len(message.GetChunk()), chunkBytes)
				got = append(got, message.GetChunk()...)
			}
			assert.True(t, bytes.Equal(data[offset:], got))
			<-opened.closed
		})
	}
}

func TestDownloadRefusesAnOffsetBehindTheEnd(t *testing.T) {
	opened := newTarball([]byte("abc"))
	f := start(t, &fakeCatalog{
		resolve: func(catalog.Source, catalog.ResolveQuery) (catalog.Resolved, error) { return catalog.Resolved{}, nil },
		fetch: func(catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
			return opened, catalog.ChartInfo{SizeBytes: 3}, nil
		},
	})
	stream, err := f.client.DownloadChart(testContext(t), downloadRequest(4))
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, codes.InvalidArgument, status.Code(err))
	<-opened.closed
}
