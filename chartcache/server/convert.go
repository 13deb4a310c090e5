package server

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// sourceOf names the repository of a request that was validated.
func sourceOf(r sourced) catalog.Source {
	if ref := r.GetRepository(); ref != nil {
		return catalog.ByRef(ref.GetNamespace(), ref.GetName())
	}
	return catalog.ByURL(r.GetUrl())
}

// timestamp leaves out a time that is not known.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func minRevision(r *chartcachev1.RepositoryRevision) catalog.Revision {
	if r == nil {
		return catalog.Revision{}
	}
	revision := catalog.Revision{Name: r.GetRevision()}
	if t := r.GetObservedAt(); t != nil {
		revision.ObservedAt = t.AsTime()
	}
	return revision
}

func revisionProto(r catalog.Revision) *chartcachev1.RepositoryRevision {
	if r.IsZero() {
		return nil
	}
	return &chartcachev1.RepositoryRevision{Revision: r.Name, ObservedAt: timestamp(r.ObservedAt)}
}

func refProto(ref *catalog.Ref) *chartcachev1.RepositoryRef {
	if ref == nil {
		return nil
	}
	return &chartcachev1.RepositoryRef{Namespace: ref.Namespace, Name: ref.Name}
}

func repositoryProto(s catalog.State) *chartcachev1.Repository {
	r := &chartcachev1.Repository{
		Ref:                refProto(s.Source.Ref),
		Url:                s.URL,
		Type:               s.Type,
		ObservedGeneration: s.ObservedGeneration,
		State:              s.State,
		Syncing:            s.Syncing,
		Revision:           revisionProto(s.Revision),
		LastSyncTime:       timestamp(s.LastSync),
		LastCheckTime:      timestamp(s.LastCheck),
		NextSyncTime:       timestamp(s.NextSync),
		StaleSince:         timestamp(s.StaleSince),
		ChartCount:         s.Charts,
		VersionCount:       s.Versions,
		IndexSizeBytes:     s.IndexBytes,
		RejectedEntryCount: s.Rejected,
	}
	if e := s.LastError; e != nil {
		r.LastError = &chartcachev1.RepositoryError{Reason: e.Reason, Message: e.Message, Time: timestamp(e.Time)}
	}
	return r
}

func summaryProto(s index.Summary) *chartcachev1.ChartSummary {
	return &chartcachev1.ChartSummary{
		Name:         s.Name,
		Latest:       versionProto(s.Latest),
		VersionCount: int32(s.VersionCount),
		Revision:     s.Revision,
	}
}

func versionProto(e index.Entry) *chartcachev1.ChartVersion {
	return &chartcachev1.ChartVersion{
		Chart:          e.Chart,
		Version:        e.Version,
		AppVersion:     e.AppVersion,
		Digest:         e.Digest,
		ManifestDigest: e.ManifestDigest,
		Created:        timestamp(e.Created),
		Description:    e.Description,
		Deprecated:     e.Deprecated,
		Icon:           withoutUserInfo(e.Icon),
		Type:           e.Type,
	}
}

func eventProto(e catalog.Event) *chartcachev1.WatchRepositoriesResponse {
	response := &chartcachev1.WatchRepositoriesResponse{ResumeToken: e.Token}
	switch e.Kind {
	case catalog.EventChanged:
		response.Event = &chartcachev1.WatchRepositoriesResponse_Changed{Changed: &chartcachev1.RepositoryChanged{
			Repository:       repositoryProto(e.State),
			ChangedCharts:    e.Charts,
			AllChartsChanged: e.AllCharts,
		}}
	case catalog.EventDeleted:
		deleted := &chartcachev1.RepositoryDeleted{Source: &chartcachev1.RepositoryDeleted_Url{Url: e.Source.URL}}
		if e.Source.Ref != nil {
			deleted.Source = &chartcachev1.RepositoryDeleted_Repository{Repository: refProto(e.Source.Ref)}
		}
		response.Event = &chartcachev1.WatchRepositoriesResponse_Deleted{Deleted: deleted}
	case catalog.EventBookmark:
		response.Event = &chartcachev1.WatchRepositoriesResponse_Bookmark{
			Bookmark: &chartcachev1.Bookmark{InitialStateComplete: e.InitialStateComplete},
		}
	}
	return response
}
