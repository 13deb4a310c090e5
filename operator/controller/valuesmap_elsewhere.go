package controller

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

const (
	// releasePage is how many HelmReleases the API server sends at a time.
	releasePage = 500
	// releasesKept is how long an answer about the HelmReleases of the whole cluster counts. A ConfigMap whose time is over may be removed
	// although a release of another operator has used it for that long; that operator makes it again.
	releasesKept = time.Minute
)

// everyRelease knows the HelmReleases of the whole cluster, those included that are not in our cache. To read them all costs the API
// server much, so an answer is kept for a while, for all repositories.
type everyRelease struct {
	fresh kube.Reader // reads from the API server
	now   func() time.Time

	turn     chan struct{} // holds one entry while somebody reads or changes what is below, also while the API server is asked
	asked    time.Time
	releases []v1alpha1.HelmRelease // only with what says which charts they use
	hidden   bool
}

func newEveryRelease(fresh kube.Reader, now func() time.Time) *everyRelease {
	return &everyRelease{fresh: fresh, now: now, turn: make(chan struct{}, 1)}
}

// list returns the releases, which must not be changed; hidden says that there may be some that we may not see.
func (e *everyRelease) list(ctx context.Context) (releases []v1alpha1.HelmRelease, hidden bool, err error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	now := e.now()
	if age := now.Sub(e.asked); !e.asked.IsZero() && 0 <= age && age < releasesKept {
		return e.releases, e.hidden, nil
	}
	releases, err = e.read(ctx)
	if hidden = apierrors.IsForbidden(err); err != nil && !hidden {
		return nil, false, fmt.Errorf("look for HelmReleases that use the repository: %w", err)
	}
	e.asked, e.releases, e.hidden = now, releases, hidden
	return releases, hidden, nil
}

func (e *everyRelease) read(ctx context.Context) ([]v1alpha1.HelmRelease, error) {
	var releases []v1alpha1.HelmRelease
	options := &kube.ListOptions{Limit: releasePage}
	for {
		page := &v1alpha1.HelmReleaseList{}
		if err := e.fresh.List(ctx, page, options); err != nil {
			return nil, err
		}
		for i := range page.Items {
			r := &page.Items[i]
			releases = append(releases, v1alpha1.HelmRelease{
				ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name},
				Spec:       v1alpha1.HelmReleaseSpec{Chart: r.Spec.Chart},
				Status:     v1alpha1.HelmReleaseStatus{ChartVersion: r.Status.ChartVersion, HelmRelease: r.Status.HelmRelease},
			})
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return releases, nil
		}
	}
}

// gatherElsewhere keeps the ConfigMaps that releases use which are not in our cache. It is done only when something would be removed.
func (p *valuesPass) gatherElsewhere(ctx context.Context, facts *valuesmap.Facts) error {
	siblings := &v1alpha1.HelmRepositoryList{}
	if err := p.client.List(ctx, siblings, kube.InNamespace(p.repository.Namespace)); err != nil {
		return err
	}
	releases, hidden, err := p.everywhere.list(ctx)
	if err != nil {
		return err
	}
	facts.Frozen = facts.Frozen || hidden
	used := map[valuesmap.Chart]bool{}
	for i := range releases {
		if chart, ok := chartFrom(&releases[i], p.source, siblings.Items); ok {
			p.noteUse(used, &releases[i], chart)
		}
	}
	keepUsed(facts, used)
	return nil
}

// chartFrom returns the chart that a release takes from a repository; false when it takes none. siblings are the repositories of
// the repository's namespace.
func chartFrom(r *v1alpha1.HelmRelease, source client.Source, siblings []v1alpha1.HelmRepository) (chart string, ok bool) {
	if namespace, name, ok := release.RepositoryOf(r); ok {
		return r.Spec.Chart.Name, client.Named(namespace, name) == source
	}
	if r.Namespace != source.Namespace || len(release.SourceFields(&r.Spec.Chart)) == 0 {
		return "", false
	}
	ref, err := release.ResolveURL(&r.Spec.Chart, siblings)
	return ref.Chart, err == nil && ref.Source == source
}
