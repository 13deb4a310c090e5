package controller

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// watch turns what happens in chartcache into reconciles: of the HelmRepository, and of the HelmReleases that use a chart
// that changed. It is a runnable of the manager.
type watch struct {
	cache  ChartCache
	reader kube.Reader
	log    logr.Logger
	now    func() time.Time

	repositories, releases *trigger
	values                 *trigger // of the repositories whose ConfigMaps are to be looked at

	mu        sync.Mutex // guards all below
	revisions map[client.Source]client.Revision
	news      map[client.Source]time.Time // when something was told of a repository
	up        time.Time                   // since when chartcache can be reached; zero when it never could
	down      time.Time                   // since when chartcache cannot be reached; zero when it can
}

// Start watches until ctx ends.
func (w *watch) Start(ctx context.Context) error {
	err := w.cache.Watch(ctx, func(event client.Event) {
		if err := w.handle(ctx, event); err != nil && ctx.Err() == nil {
			w.log.Error(err, "Not all objects that a change in chartcache concerns could be found")
		}
	})
	if ctx.Err() == nil {
		return err
	}
	return nil // the manager stops
}

func (w *watch) handle(ctx context.Context, event client.Event) error {
	switch e := event.(type) {
	case *client.Changed:
		w.saw(e.Repository.Source, e.Repository.Revision)
		w.noteNews(e.Repository.Source)
		w.wakeRepository(e.Repository.Source)
		return w.wakeUsers(ctx, e.Repository.Source, func(chart string) bool {
			return e.AllCharts || slices.Contains(e.Charts, chart)
		}, len(e.Charts) == 0 && !e.AllCharts)
	case *client.Deleted:
		w.forget(e.Source)
		w.wakeRepository(e.Source)
		return w.wakeUsers(ctx, e.Source, func(string) bool { return true }, false)
	case *client.Up:
		w.log.Info("Chartcache is reachable")
		w.setUp()
		if err := w.wakeRepositories(ctx, w.repositories, w.values); err != nil {
			return err
		}
		return w.wakeBlocked(ctx, nil)
	case *client.Down:
		w.log.Info("Chartcache is not reachable", "error", e.Err.Error())
		w.setDown(w.now())
		return w.wakeRepositories(ctx, w.repositories)
	}
	return nil
}

// revision returns the newest revision of a repository that was seen.
func (w *watch) revision(source client.Source) client.Revision {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revisions[source]
}

// downSince returns since when chartcache cannot be reached; zero when it can.
func (w *watch) downSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *watch) setDown(since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = since
}

func (w *watch) setUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.up = time.Time{}, w.now()
}

// noteNews remembers that something was told of a repository. It has to be known before the releases that use it look.
func (w *watch) noteNews(source client.Source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news == nil {
		w.news = map[client.Source]time.Time{}
	}
	w.news[source] = w.now()
}

// newsOf returns when something was told of a repository last, or chartcache came back; zero when neither was.
func (w *watch) newsOf(source client.Source) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if news := w.news[source]; news.After(w.up) {
		return news
	}
	return w.up
}

// saw remembers a revision unless it is older than what is known: instances of chartcache differ for moments.
func (w *watch) saw(source client.Source, revision client.Revision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !revision.IsZero() && !revision.ObservedAt.Before(w.revisions[source].ObservedAt) {
		w.revisions[source] = revision
	}
}

func (w *watch) forget(source client.Source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.revisions, source)
	delete(w.news, source)
}

func (w *watch) wakeRepository(source client.Source) {
	if source.URL == "" {
		w.repositories.enqueue(types.NamespacedName{Namespace: source.Namespace, Name: source.Name})
		w.values.enqueue(types.NamespacedName{Namespace: source.Namespace, Name: source.Name})
	}
}

func (w *watch) wakeRepositories(ctx context.Context, triggers ...*trigger) error {
	list := &v1alpha1.HelmRepositoryList{}
	if err := w.reader.List(ctx, list); err != nil {
		return err
	}
	for i := range list.Items {
		for _, trigger := range triggers {
			trigger.enqueue(keyOf(&list.Items[i]))
		}
	}
	return nil
}

// wakeUsers wakes the releases that use a chart of a repository. When only the state of the repository changed, those
// that are Ready need no look.
func (w *watch) wakeUsers(ctx context.Context, source client.Source, uses func(chart string) bool, blockedOnly bool) error {
	if blockedOnly {
		return w.wakeBlocked(ctx, &source)
	}
	var pinned []types.NamespacedName // once the others have their places: a worker that has begun does not stop
	err := w.users(ctx, source, func(r *v1alpha1.HelmRelease, chart string) {
		switch {
		case isReady(r) && !uses(chart):
		case isReady(r) && isPinned(&r.Spec.Chart):
			pinned = append(pinned, keyOf(r))
		default:
			w.releases.enqueueFirst(keyOf(r))
		}
	})
	for _, key := range pinned {
		w.releases.enqueueLater(key)
	}
	return err
}

// isPinned reports whether a chart is one version, whatever else there is. News of the chart change little for its releases: what
// the newest version is, and whether that one was published again. Those that may be upgraded should not wait for them.
func isPinned(chart *v1alpha1.ChartSpec) bool {
	_, err := semver.StrictNewVersion(strings.TrimPrefix(chart.Version, "v"))
	return err == nil || chart.Digest != ""
}

// wakeBlocked wakes the releases that are not Ready: those of a repository, or all.
func (w *watch) wakeBlocked(ctx context.Context, source *client.Source) error {
	wake := func(r *v1alpha1.HelmRelease, _ string) {
		if !isReady(r) {
			w.releases.enqueue(keyOf(r))
		}
	}
	if source != nil {
		return w.users(ctx, *source, wake)
	}
	list := &v1alpha1.HelmReleaseList{}
	if err := w.reader.List(ctx, list); err != nil {
		return err
	}
	for i := range list.Items {
		wake(&list.Items[i], "")
	}
	return nil
}

// users calls visit for each release whose chart comes from a repository, with the name of the chart there.
func (w *watch) users(ctx context.Context, source client.Source, visit func(r *v1alpha1.HelmRelease, chart string)) error {
	key := byURL
	if source.URL == "" {
		list := &v1alpha1.HelmReleaseList{}
		fields := kube.MatchingFields{indexSource: repositoryKey(source.Namespace, source.Name)}
		if err := w.reader.List(ctx, list, fields); err != nil {
			return err
		}
		for i := range list.Items {
			visit(&list.Items[i], list.Items[i].Spec.Chart.Name)
		}
		key = urlKey(source.Namespace)
	}
	list := &v1alpha1.HelmReleaseList{}
	if err := w.reader.List(ctx, list, kube.MatchingFields{indexSource: key}); err != nil {
		return err
	}
	repositories := map[string][]v1alpha1.HelmRepository{} // by namespace
	for i := range list.Items {
		r := &list.Items[i]
		if _, ok := repositories[r.Namespace]; !ok {
			found := &v1alpha1.HelmRepositoryList{}
			if err := w.reader.List(ctx, found, kube.InNamespace(r.Namespace)); err != nil {
				return err
			}
			repositories[r.Namespace] = found.Items
		}
		ref, err := release.ResolveURL(&r.Spec.Chart, repositories[r.Namespace])
		if err == nil && sameSource(ref.Source, source) {
			visit(r, ref.Chart)
		}
	}
	return nil
}

func sameSource(a, b client.Source) bool {
	if a.URL != "" && b.URL != "" {
		return release.SameURL(a.URL, b.URL)
	}
	return a == b
}

// releasesOf returns the releases that use a HelmRepository, used it, or will now that it is there. Those whose chart is
// named by a URL are all that could.
func (w *watch) releasesOf(ctx context.Context, object kube.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, key := range []string{repositoryKey(object.GetNamespace(), object.GetName()), urlKey(object.GetNamespace())} {
		list := &v1alpha1.HelmReleaseList{}
		if err := w.reader.List(ctx, list, kube.MatchingFields{indexSource: key}); err != nil {
			if ctx.Err() == nil {
				w.log.Error(err, "Find the releases of a repository", "namespace", object.GetNamespace(), "name", object.GetName())
			}
			continue
		}
		for i := range list.Items {
			requests = append(requests, reconcile.Request{NamespacedName: keyOf(&list.Items[i])})
		}
	}
	return requests
}

func isReady(r *v1alpha1.HelmRelease) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady)
}
