package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
	"github.com/ketches/helm-operator/operator/valuesmap"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	// defaultRetention is that of a repository which does not say one.
	defaultRetention = 168 * time.Hour
	// leastRetention keeps a mistyped retention from making ConfigMaps come and go all the time.
	leastRetention = 10 * time.Second
)

// valuesReconciler keeps the ConfigMaps with the default values of charts that a HelmRepository asks for. What there is, it knows
// by metadata; the values come from chartcache, without tarballs.
type valuesReconciler struct {
	client  kube.Client // reads objects of our kinds from the cache, and writes
	known   kube.Reader // reads metadata of ConfigMaps from the cache
	charts  ChartCache
	events  release.Events
	metrics *valuesMetrics
	now     func() time.Time
	// newest is the newest revision of a repository that any instance of chartcache told the watch of.
	newest func(client.Source) client.Revision
	// users visits the HelmReleases in the cache whose charts come from a repository.
	users func(ctx context.Context, source client.Source, visit func(r *v1alpha1.HelmRelease, chart string)) error
	// ownNamespaceOnly leaves out releases of other namespaces, which may not use the repository.
	ownNamespaceOnly bool
	// everywhere knows all HelmReleases.
	everywhere *everyRelease
	// partial says that the cache holds some of the HelmReleases only.
	partial bool

	mu     sync.Mutex // guards memory; what is in it belongs to the one reconcile of its repository
	memory map[types.NamespacedName]*valuesMemory
}

// valuesMemory is what is worth knowing of a repository's ConfigMaps until this process ends.
type valuesMemory struct {
	// seen are the resource versions that were last seen or written, by name.
	seen map[string]string
	// made are those that the cache may not hold yet, by name.
	made map[string]madeConfigMap
	// repaired is when what somebody else wrote was last looked at, by name.
	repaired map[string]time.Time
	// contests are those with somebody else about ConfigMaps, by name.
	contests map[string]contest
	// problems are those of ConfigMaps that could not be made or changed, by name, and those of charts that could not be looked up.
	problems map[string]*valuesProblem
	// told is the last warning.
	told string
}

// Reconcile makes one pass over the ConfigMaps of a repository.
func (v *valuesReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	repository := &v1alpha1.HelmRepository{}
	if err := v.client.Get(ctx, request.NamespacedName, repository); err != nil {
		if apierrors.IsNotFound(err) {
			v.forget(request.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if !repository.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the garbage collector removes them with their owner
	}
	pass := &valuesPass{
		valuesReconciler: v, repository: repository, source: client.Named(repository.Namespace, repository.Name),
		valuesMemory: v.memoryOf(request.NamespacedName), now: v.now(),
		spared: map[string]bool{},
	}
	result, err := pass.run(ctx)
	pass.tell()
	switch {
	case err == nil:
		return result, nil
	case isEnding(err):
		return ctrl.Result{}, nil
	case errors.As(err, new(*client.Error)):
		// The watch mostly tells sooner when it pays to try again.
		log.FromContext(ctx).V(1).Info("Chartcache does not say what the repository holds", "error", err.Error())
		return ctrl.Result{RequeueAfter: unknownPause}, nil
	default:
		return ctrl.Result{}, err
	}
}

func (v *valuesReconciler) memoryOf(key types.NamespacedName) *valuesMemory {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := v.memory[key]
	if m == nil {
		m = &valuesMemory{
			seen: map[string]string{}, made: map[string]madeConfigMap{}, repaired: map[string]time.Time{}, contests: map[string]contest{},
			problems: map[string]*valuesProblem{},
		}
		v.memory[key] = m
	}
	return m
}

func (v *valuesReconciler) forget(key types.NamespacedName) {
	v.mu.Lock()
	delete(v.memory, key)
	v.mu.Unlock()
	v.metrics.forget(key)
}

// valuesPass is one look at the ConfigMaps of one repository.
type valuesPass struct {
	*valuesReconciler
	*valuesMemory
	repository *v1alpha1.HelmRepository
	source     client.Source
	now        time.Time
	existing   map[string]*configMap // by name

	done    sync.Mutex // guards all below, and valuesMemory while ConfigMaps are written
	changes changes
	next    time.Time // when to look again; zero for not by itself
	// spared are the problems of this pass that are about something else than a ConfigMap to write.
	spared map[string]bool
}

func (p *valuesPass) run(ctx context.Context) (ctrl.Result, error) {
	namer, err := p.namer(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := p.observe(ctx, namer); err != nil {
		return ctrl.Result{}, err
	}
	policy := p.repository.Spec.ValuesConfigMapPolicy
	if policy != v1alpha1.ValuesConfigMapOnDemand && policy != v1alpha1.ValuesConfigMapLazy {
		return p.finish(ctx, &valuesmap.Facts{Now: p.now, Namer: namer, Existing: p.seenNow(), Disabled: true})
	}
	state, err := p.charts.GetRepository(ctx, p.source)
	switch {
	case err != nil:
		return ctrl.Result{}, err
	case state.ObservedGeneration < p.repository.Generation:
		return ctrl.Result{RequeueAfter: unknownPause}, nil // what is served may be of another URL
	case state.Revision.IsZero():
		return ctrl.Result{}, nil // the watch tells when there is something
	}
	facts := &valuesmap.Facts{
		Now: p.now, Retention: p.retention(), Namer: namer, Existing: p.seenNow(), Gone: map[valuesmap.Chart]bool{},
		// While syncs fail or are suspended, nobody knows whether what is missing is gone.
		Frozen: !state.StaleSince.IsZero() || state.State != chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED,
	}
	if err := p.gather(ctx, facts, state.Type == chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI); err != nil {
		return ctrl.Result{}, err
	}
	if plan := valuesmap.Decide(facts); p.partial && len(plan.Age)+len(plan.Remove) > 0 {
		if err := p.gatherElsewhere(ctx, facts); err != nil {
			return ctrl.Result{}, err
		}
	}
	return p.finish(ctx, facts)
}

// finish decides, acts and says when to look again.
func (p *valuesPass) finish(ctx context.Context, facts *valuesmap.Facts) (ctrl.Result, error) {
	plan := valuesmap.Decide(facts)
	more, err := p.act(ctx, &plan)
	if err != nil {
		return ctrl.Result{}, err
	}
	if more {
		return ctrl.Result{RequeueAfter: conflictPause}, nil // other repositories have a turn first
	}
	p.until(plan.Next)
	if p.next.IsZero() {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: max(p.next.Sub(p.now), conflictPause)}, nil
}

// until makes the next look be at a time or before.
func (p *valuesPass) until(t time.Time) {
	if !t.IsZero() && (p.next.IsZero() || t.Before(p.next)) {
		p.next = t
	}
}

func (p *valuesPass) retention() time.Duration {
	retention, err := p.repository.Spec.ValuesConfigMapRetention.Or(defaultRetention, leastRetention)
	if err != nil {
		return defaultRetention // Ready says what is wrong with it
	}
	return retention
}

// namer names the ConfigMaps, among those of the other repositories of the namespace.
func (p *valuesPass) namer(ctx context.Context) (*valuesmap.Namer, error) {
	list := &v1alpha1.HelmRepositoryList{}
	if err := p.client.List(ctx, list, kube.InNamespace(p.repository.Namespace), kube.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list.Items))
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return valuesmap.NewNamer(p.repository.Name, names), nil
}
