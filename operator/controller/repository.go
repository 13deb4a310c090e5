package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	// unknownPause is when chartcache is asked again about a repository that it has not seen yet. Its watch mostly tells
	// sooner.
	unknownPause = 30 * time.Second
	// downGrace is how long chartcache may be away before repositories stop to be Ready: it restarts in seconds.
	downGrace = time.Minute
	// conflictPause is how long a worker waits for its cache after a conflict. Mostly the event comes first.
	conflictPause = 200 * time.Millisecond
	// syncTimeout bounds the wait for a sync that an annotation asks for. The sync itself goes on.
	syncTimeout = time.Minute
)

// repositoryReconciler writes what chartcache knows about a repository into the status of its HelmRepository. Chartcache
// watches the objects itself, so nothing has to be told to it.
type repositoryReconciler struct {
	client    kube.Client
	cache     ChartCache
	events    release.Events
	now       func() time.Time
	downSince func() time.Time
	// newest is the newest revision of a repository that any instance of chartcache told the watch of.
	newest func(client.Source) client.Revision

	mu sync.Mutex // guards requests
	// requests are the last values of the reconcile annotation. The first that is seen of an object asks for nothing: it may
	// be old, and chartcache syncs new repositories anyway.
	requests map[types.NamespacedName]string
}

// Reconcile brings one status up to date.
func (r *repositoryReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	repository := &v1alpha1.HelmRepository{}
	if err := r.client.Get(ctx, request.NamespacedName, repository); err != nil {
		if apierrors.IsNotFound(err) {
			r.mu.Lock()
			delete(r.requests, request.NamespacedName)
			r.mu.Unlock()
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if !repository.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.letGo(ctx, repository)
	}
	source := client.Named(repository.Namespace, repository.Name)
	if r.syncRequested(repository) {
		r.sync(ctx, source)
	}
	state, err := r.cache.GetRepository(ctx, source)
	if err == nil && r.behind(source, &state) {
		r.sync(ctx, source)
		state, err = r.cache.GetRepository(ctx, source)
	}
	if err != nil {
		return r.unanswered(ctx, repository, err)
	}
	saved := repository.DeepCopy()
	if !writeState(repository, &state) {
		log.FromContext(ctx).V(1).Info("Ignoring a state that is older than the one in the status")
		return ctrl.Result{RequeueAfter: unknownPause}, nil
	}
	if chartsChanged(saved, repository, &state) {
		if repository.Status.Charts, err = r.charts(ctx, source, state.Revision); err != nil {
			log.FromContext(ctx).Info("The charts of the repository could not be listed", "error", err.Error())
			repository.Status.Charts = saved.Status.Charts
			repository.Status.Revision = saved.Status.Revision // so that the next look reads them again
			return r.saveAnd(ctx, saved, repository, ctrl.Result{RequeueAfter: unknownPause})
		}
	}
	result := ctrl.Result{}
	if state.ObservedGeneration < repository.Generation || state.State == chartcachev1.RepositoryState_REPOSITORY_STATE_PENDING {
		result.RequeueAfter = unknownPause
	}
	return r.saveAnd(ctx, saved, repository, result)
}

// letGo removes the finalizer that the original project has put on objects. Nothing has to be cleaned up: chartcache drops
// what belongs to a repository when the object is gone.
func (r *repositoryReconciler) letGo(ctx context.Context, repository *v1alpha1.HelmRepository) error {
	saved := repository.DeepCopy()
	if !controllerutil.RemoveFinalizer(repository, v1alpha1.RepositoryFinalizer) {
		return nil
	}
	return kube.IgnoreNotFound(r.client.Patch(ctx, repository, lockedPatch(saved)))
}

// syncRequested reports whether the reconcile annotation has a new value.
func (r *repositoryReconciler) syncRequested(repository *v1alpha1.HelmRepository) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, value := keyOf(repository), repository.Annotations[v1alpha1.ReconcileAnnotation]
	last, seen := r.requests[key]
	r.requests[key] = value
	return seen && value != "" && value != last
}

// behind reports whether the instance that answered lacks what another one told the watch of. Nobody would tell when it
// catches up: the watch is with the other one.
func (r *repositoryReconciler) behind(source client.Source, state *client.Repository) bool {
	newest := r.newest(source)
	return state.State == chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED &&
		state.Revision.Name != newest.Name && state.Revision.ObservedAt.Before(newest.ObservedAt)
}

// sync asks chartcache to sync now. What comes of it stands in the state that is read next.
func (r *repositoryReconciler) sync(ctx context.Context, source client.Source) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if _, err := r.cache.Sync(ctx, source); err != nil {
		log.FromContext(ctx).Info("The sync that was asked for did not succeed", "error", err.Error())
	}
}

// unanswered deals with a repository whose state is not known.
func (r *repositoryReconciler) unanswered(ctx context.Context, repository *v1alpha1.HelmRepository, err error) (ctrl.Result, error) {
	saved := repository.DeepCopy()
	ready := meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady)
	known := ready != nil && ready.ObservedGeneration == repository.Generation
	result := ctrl.Result{RequeueAfter: unknownPause}
	switch {
	case client.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND && isKnown(repository):
		return result, nil // an instance that has not seen it yet; another one has
	case client.ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND:
		writeSyncing(repository, "Waiting for chartcache to see the repository")
	case client.IsUnreachable(err):
		down := r.downSince()
		if left := downGrace - r.now().Sub(down); known && (down.IsZero() || left > 0) {
			if !down.IsZero() {
				result.RequeueAfter = min(unknownPause, left)
			}
			return result, nil
		}
		writeConditions(repository, metav1.ConditionUnknown, v1alpha1.ReasonSyncFailed,
			"Chartcache is unreachable, so the state of the repository is not known", outcome{failed: true})
	default:
		writeConditions(repository, metav1.ConditionFalse, v1alpha1.ReasonSyncFailed,
			"Failed to read the state of the repository: "+err.Error(), outcome{failed: true})
	}
	return r.saveAnd(ctx, saved, repository, result)
}

// saveAnd writes the status if it changed, and then makes the events of the change.
func (r *repositoryReconciler) saveAnd(
	ctx context.Context, saved, repository *v1alpha1.HelmRepository, result ctrl.Result,
) (ctrl.Result, error) {
	stampTransitions(saved.Status.Conditions, repository.Status.Conditions, r.now())
	if sameStatus(&saved.Status, &repository.Status) {
		return result, nil
	}
	after := repository.Status.DeepCopy()
	if err := conflictOf(r.client.Status().Patch(ctx, repository, lockedPatch(saved))); err != nil {
		if errors.Is(err, release.ErrConflict) {
			return ctrl.Result{RequeueAfter: conflictPause}, nil
		}
		return ctrl.Result{}, fmt.Errorf("write the status: %w", err)
	}
	r.tell(repository, &saved.Status, after)
	return result, nil
}

// sameStatus reports whether two statuses say the same. When upstream was last seen to be unchanged is not worth a write.
func sameStatus(saved, now *v1alpha1.HelmRepositoryStatus) bool {
	a, b := *saved, *now
	a.RevisionObservedAt, b.RevisionObservedAt = nil, nil
	return equality.Semantic.DeepEqual(a, b)
}

// tell makes the events of a change.
func (r *repositoryReconciler) tell(repository *v1alpha1.HelmRepository, before, after *v1alpha1.HelmRepositoryStatus) {
	was := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady)
	if is == nil {
		return
	}
	changed := was == nil || was.Status != is.Status || was.Reason != is.Reason
	switch {
	case is.Status == metav1.ConditionTrue && (changed || before.Revision != after.Revision),
		is.Reason == v1alpha1.ReasonSuspended && changed,
		is.Reason == v1alpha1.ReasonSyncStarted && changed:
		r.events.Event(repository, corev1.EventTypeNormal, is.Reason, clip(is.Message))
	case is.Status != metav1.ConditionTrue && is.Reason != v1alpha1.ReasonSuspended && is.Reason != v1alpha1.ReasonSyncStarted &&
		(changed || was.Message != is.Message):
		r.events.Event(repository, corev1.EventTypeWarning, is.Reason, clip(is.Message))
	}
}

// maxTextBytes is what the API server takes in the text of an event; conditions keep to it, too.
const maxTextBytes = 1024

func clip(text string) string { return cutText(text, maxTextBytes) }

// cutText cuts a text to a number of bytes, between characters.
func cutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const mark = "..."
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
