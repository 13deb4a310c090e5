package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Bounds of the list of charts in a status: an object of the API server must stay small, and it is sent to every watcher at
// each change. The whole list is on gRPC.
const (
	maxCharts           = 100
	maxChartVersions    = 5
	maxDescriptionBytes = 256
)

// writeState writes what chartcache says into a status. It returns false, and leaves the status alone, when the state is
// older than the one that the status holds: instances of chartcache differ for moments.
func writeState(repository *v1alpha1.HelmRepository, state *client.Repository) bool {
	if isOlder(repository, state) {
		return false
	}
	if state.ObservedGeneration < repository.Generation {
		writeSyncing(repository, "Waiting for chartcache to see the changed repository")
		return true
	}
	status, known := &repository.Status, isKnown(repository)
	status.ObservedGeneration = repository.Generation
	status.StaleSince = timeOf(state.StaleSince)
	// Each instance has times of its own; the status keeps the newest that it was told.
	if last := timeOf(state.LastSyncTime); !known || status.LastSyncTime == nil || (last != nil && !last.Before(status.LastSyncTime)) {
		status.LastSyncTime = last
	}
	switch {
	case !state.Revision.IsZero():
		observed := metav1.NewMicroTime(state.Revision.ObservedAt.Truncate(time.Microsecond))
		if !known || !observed.Before(status.RevisionObservedAt) {
			status.RevisionObservedAt = &observed
		}
		status.Revision = state.Revision.Name
		status.Stats = &v1alpha1.RepositoryStats{
			TotalCharts: int(state.ChartCount), TotalVersions: int(state.VersionCount), LastIndexSize: state.IndexSizeBytes,
		}
	case !known: // else an instance that has nothing yet, while another one serves what the status says
		status.Revision, status.RevisionObservedAt, status.Stats, status.Charts = "", nil, nil, nil
	}
	writeOutcome(repository, state)
	return true
}

// isKnown reports whether the status holds what was served of the spec as it is now.
func isKnown(repository *v1alpha1.HelmRepository) bool {
	return repository.Status.ObservedGeneration == repository.Generation && repository.Status.RevisionObservedAt != nil
}

// isOlder reports whether a state, of an instance that lags or is new, would take the status back.
func isOlder(repository *v1alpha1.HelmRepository, state *client.Repository) bool {
	if !isKnown(repository) {
		return false
	}
	before := func(t time.Time) bool { return t.Before(repository.Status.RevisionObservedAt.Time) }
	switch {
	case state.ObservedGeneration < repository.Generation, state.State == chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING:
		return true
	case state.State == chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED && state.LastError != nil && before(state.LastError.Time):
		return true
	default:
		return !state.Revision.IsZero() && state.Revision.Name != repository.Status.Revision && before(state.Revision.ObservedAt)
	}
}

// writeOutcome writes the conditions of a state that is about the spec as it is now.
func writeOutcome(repository *v1alpha1.HelmRepository, state *client.Repository) {
	switch state.State {
	case chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED:
		message := fmt.Sprintf("Repository synced successfully, found %d charts", state.ChartCount)
		if state.Type == chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI {
			message = "OCI repository registered successfully"
		}
		if state.RejectedEntryCount > 0 {
			message += fmt.Sprintf(" (%d invalid entries of the index were left out)", state.RejectedEntryCount)
		}
		writeConditions(repository, metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted, message, outcome{})
	case chartcachev1.RepositoryState_REPOSITORY_STATE_SUSPENDED:
		writeConditions(repository, metav1.ConditionFalse, v1alpha1.ReasonSuspended, "Repository sync is suspended", outcome{})
	case chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED:
		reason, message, stalled := failureOf(state.LastError)
		writeConditions(repository, metav1.ConditionFalse, reason, message, outcome{failed: true, stalled: stalled})
	default:
		writeSyncing(repository, "Repository is being synced")
	}
}

// failureOf says why the last sync failed.
func failureOf(failure *client.RepositoryError) (reason, message string, stalled bool) {
	if failure == nil {
		return v1alpha1.ReasonSyncFailed, "Failed to sync the repository", false
	}
	switch failure.Reason {
	case chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE:
		return v1alpha1.ReasonAuthenticationFailed, "Failed to authenticate: " + failure.Message, false
	case chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID:
		return v1alpha1.ReasonConfigurationError, "Failed to configure the repository: " + failure.Message, true
	case chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT:
		return v1alpha1.ReasonInvalidURL, "Failed to configure the repository: " + failure.Message, true
	}
	return v1alpha1.ReasonSyncFailed, "Failed to sync the repository: " + failure.Message, false
}

// writeSyncing writes that the outcome of the first sync, or of the first one after an edit, is not known yet.
func writeSyncing(repository *v1alpha1.HelmRepository, message string) {
	writeConditions(repository, metav1.ConditionUnknown, v1alpha1.ReasonSyncStarted, message, outcome{syncing: true})
}

// outcome is what the conditions beside Ready say.
type outcome struct{ syncing, failed, stalled bool }

func writeConditions(repository *v1alpha1.HelmRepository, ready metav1.ConditionStatus, reason, message string, o outcome) {
	set := func(kind string, status metav1.ConditionStatus) {
		meta.SetStatusCondition(&repository.Status.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: clip(message), ObservedGeneration: repository.Generation,
		})
	}
	set(v1alpha1.ConditionReady, ready)
	set(v1alpha1.ConditionSyncing, truth(o.syncing))
	set(v1alpha1.ConditionFailed, truth(o.failed))
	if o.stalled {
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue)
	} else {
		meta.RemoveStatusCondition(&repository.Status.Conditions, v1alpha1.ConditionStalled)
	}
}

func truth(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// stampTransitions gives the conditions that changed their status the time of our clock.
func stampTransitions(before, after []metav1.Condition, now time.Time) {
	for i := range after {
		old := meta.FindStatusCondition(before, after[i].Type)
		if old == nil || old.Status != after[i].Status {
			after[i].LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		}
	}
}

// chartsChanged reports whether the list of charts has to be read again.
func chartsChanged(saved, now *v1alpha1.HelmRepository, state *client.Repository) bool {
	if now.Status.Revision == "" || state.ObservedGeneration < now.Generation {
		return false
	}
	return saved.Status.Revision != now.Status.Revision || (len(saved.Status.Charts) == 0 && state.ChartCount > 0)
}

// charts reads the newest versions of the first charts.
func (r *repositoryReconciler) charts(ctx context.Context, source client.Source, revision client.Revision) ([]v1alpha1.ChartInfo, error) {
	list, err := r.cache.ListCharts(ctx, source, client.ListChartsOptions{Limit: maxCharts, MinRevision: revision})
	if err != nil {
		return nil, fmt.Errorf("list the charts of %s: %w", source, err)
	}
	charts := make([]v1alpha1.ChartInfo, 0, len(list.Charts))
	for _, summary := range list.Charts {
		chart := v1alpha1.ChartInfo{Name: summary.Name, Description: cutText(summary.Latest.Description, maxDescriptionBytes)}
		versions := []client.ChartVersion{summary.Latest}
		if summary.VersionCount > 1 {
			found, err := r.cache.ListVersions(ctx, source, summary.Name, client.ListVersionsOptions{
				IncludePrereleases: true, Limit: maxChartVersions,
			})
			if err != nil {
				return nil, fmt.Errorf("list the versions of chart %s of %s: %w", summary.Name, source, err)
			}
			versions = found.Versions
		}
		for _, version := range versions {
			chart.Versions = append(chart.Versions, v1alpha1.ChartVersionInfo{
				Version: version.Version, AppVersion: version.AppVersion, Created: timeOf(version.Created), Digest: version.Digest,
			})
		}
		charts = append(charts, chart)
	}
	return charts, nil
}

// timeOf returns a time as statuses hold it, in whole seconds; nil for the zero time, which the schema refuses.
func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	whole := metav1.NewTime(t.Truncate(time.Second))
	return &whole
}
