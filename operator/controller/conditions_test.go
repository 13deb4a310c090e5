package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// The steps follow each other, so that each finds what the one before has left.
func TestConditionsOfARepositorySayWhatIsSoNow(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	repository := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "charts", Generation: 1}}
	state := &client.Repository{Source: client.Named("shop", "charts")}
	// reports makes chartcache say something of the spec as it is, some minutes later than before.
	reports := func(is chartcachev1.RepositoryState, reason client.Reason) {
		began = began.Add(time.Minute)
		state.ObservedGeneration, state.State, state.LastError = repository.Generation, is, nil
		if is == chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED {
			state.Revision = client.Revision{Name: began.String(), ObservedAt: began}
		}
		if reason != 0 {
			state.LastError = &client.RepositoryError{Reason: reason, Message: "upstream said no", Time: began}
		}
	}
	const (
		synced    = chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED
		failed    = chartcachev1.RepositoryState_REPOSITORY_STATE_FAILED
		suspended = chartcachev1.RepositoryState_REPOSITORY_STATE_SUSPENDED
		down      = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE
		invalid   = chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID
	)
	type want struct {
		ready, syncing, failed metav1.ConditionStatus
		stalled                bool
		reason                 string
	}
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	for _, step := range []struct {
		name string
		does func()
		want want
	}{
		{"it is new", func() {}, want{unknown, yes, no, false, v1alpha1.ReasonSyncStarted}},
		{"its first sync succeeds", func() { reports(synced, 0) }, want{yes, no, no, false, v1alpha1.ReasonSyncCompleted}},
		{"upstream goes away", func() { reports(failed, down) }, want{no, no, yes, false, v1alpha1.ReasonSyncFailed}},
		{"and is back", func() { reports(synced, 0) }, want{yes, no, no, false, v1alpha1.ReasonSyncCompleted}},
		{"it is edited", func() { repository.Generation++ }, want{unknown, yes, no, false, v1alpha1.ReasonSyncStarted}},
		{"what is wrong now", func() { reports(failed, invalid) }, want{no, no, yes, true, v1alpha1.ReasonConfigurationError}},
		{"it is mended", func() { repository.Generation++; reports(synced, 0) }, want{yes, no, no, false, v1alpha1.ReasonSyncCompleted}},
		{"it is suspended", func() { repository.Generation++; reports(suspended, 0) }, want{no, no, no, false, v1alpha1.ReasonSuspended}},
		{"it is resumed", func() { repository.Generation++; reports(synced, 0) }, want{yes, no, no, false, v1alpha1.ReasonSyncCompleted}},
	} {
		step.does()
		if repository.Generation == 1 && state.ObservedGeneration == 0 {
			state.State = chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING
		}
		assert.True(t, writeState(repository, state), step.name)
		conditions := repository.Status.Conditions
		is := func(kind string) metav1.ConditionStatus {
			condition := meta.FindStatusCondition(conditions, kind)
			if !assert.NotNil(t, condition, "%s: %s", step.name, kind) {
				return ""
			}
			assert.Equal(t, repository.Generation, condition.ObservedGeneration, "%s: %s", step.name, kind)
			return condition.Status
		}
		assert.Equal(t, step.want, want{
			ready: is(v1alpha1.ConditionReady), syncing: is(v1alpha1.ConditionSyncing), failed: is(v1alpha1.ConditionFailed),
			stalled: meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled) != nil,
			reason:  meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).Reason,
		}, step.name)
	}
}

func TestOurOwnWritesAreNoReasonToLookAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*v1alpha1.HelmRelease)
		want   bool
	}{
		"a status": {func(r *v1alpha1.HelmRelease) {
			r.Status.ObservedGeneration, r.Status.HandledReconcile = 1, "now"
			meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue})
		}, false},
		"a finalizer":                   {func(r *v1alpha1.HelmRelease) { r.Finalizers = []string{v1alpha1.ReleaseFinalizer} }, false},
		"what others note":              {func(r *v1alpha1.HelmRelease) { r.Annotations["team"] = "a" }, false},
		"a resync":                      {func(*v1alpha1.HelmRelease) {}, false},
		"the spec":                      {func(r *v1alpha1.HelmRelease) { r.Generation++ }, true},
		"a deletion":                    {func(r *v1alpha1.HelmRelease) { now := metav1.Now(); r.DeletionTimestamp = &now }, true},
		"a request to look":             {func(r *v1alpha1.HelmRelease) { r.Annotations[v1alpha1.ReconcileAnnotation] = "now" }, true},
		"a request to try again":        {func(r *v1alpha1.HelmRelease) { r.Annotations[v1alpha1.RetryAnnotation] = "now" }, true},
		"a request to upgrade for once": {func(r *v1alpha1.HelmRelease) { r.Annotations[v1alpha1.ForceAnnotation] = "now" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := &v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Generation: 1, ResourceVersion: "1", Annotations: map[string]string{}}}
			after := before.DeepCopy()
			after.ResourceVersion = "2"
			c.change(after)
			assert.Equal(t, c.want, specOrRequestChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}))
		})
	}
}
