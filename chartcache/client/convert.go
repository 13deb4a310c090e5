package client

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func refOf(s Source) *chartcachev1.RepositoryRef {
	return &chartcachev1.RepositoryRef{Namespace: s.Namespace, Name: s.Name}
}

func sourceOf(ref *chartcachev1.RepositoryRef, url string) Source {
	if ref != nil {
		return Source{Namespace: ref.GetNamespace(), Name: ref.GetName()}
	}
	return Source{URL: url}
}

// timeOf maps an absent timestamp to the zero time.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func revisionOf(r *chartcachev1.RepositoryRevision) Revision {
	return Revision{Name: r.GetRevision(), ObservedAt: timeOf(r.GetObservedAt())}
}

func revisionProto(r Revision) *chartcachev1.RepositoryRevision {
	if r.IsZero() {
		return nil
	}
	p := &chartcachev1.RepositoryRevision{Revision: r.Name}
	if !r.ObservedAt.IsZero() {
		p.ObservedAt = timestamppb.New(r.ObservedAt)
	}
	return p
}

func repositoryOf(r *chartcachev1.Repository) Repository {
	repository := Repository{
		Source:             sourceOf(r.GetRef(), r.GetUrl()),
		URL:                r.GetUrl(),
		Type:               r.GetType(),
		ObservedGeneration: r.GetObservedGeneration(),
		State:              r.GetState(),
		Syncing:            r.GetSyncing(),
		Revision:           revisionOf(r.GetRevision()),
		LastSyncTime:       timeOf(r.GetLastSyncTime()),
		LastCheckTime:      timeOf(r.GetLastCheckTime()),
		NextSyncTime:       timeOf(r.GetNextSyncTime()),
		StaleSince:         timeOf(r.GetStaleSince()),
		ChartCount:         r.GetChartCount(),
		VersionCount:       r.GetVersionCount(),
		IndexSizeBytes:     r.GetIndexSizeBytes(),
		RejectedEntryCount: r.GetRejectedEntryCount(),
	}
	if e := r.GetLastError(); e != nil {
		repository.LastError = &RepositoryError{Reason: e.GetReason(), Message: e.GetMessage(), Time: timeOf(e.GetTime())}
	}
	return repository
}

func versionOf(v *chartcachev1.ChartVersion) ChartVersion {
	return ChartVersion{
		Chart:          v.GetChart(),
		Version:        v.GetVersion(),
		AppVersion:     v.GetAppVersion(),
		Digest:         v.GetDigest(),
		ManifestDigest: v.GetManifestDigest(),
		Created:        timeOf(v.GetCreated()),
		Description:    v.GetDescription(),
		Deprecated:     v.GetDeprecated(),
		Icon:           v.GetIcon(),
		Type:           v.GetType(),
	}
}

func summaryOf(s *chartcachev1.ChartSummary) ChartSummary {
	return ChartSummary{
		Name:         s.GetName(),
		Latest:       versionOf(s.GetLatest()),
		VersionCount: int(s.GetVersionCount()),
		Revision:     s.GetRevision(),
	}
}
