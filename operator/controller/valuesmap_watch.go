package controller

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

// valuesWorkers is how many repositories have their ConfigMaps looked after at once; see valuesAtOnce.
const valuesWorkers = 2

const kindRepository = "HelmRepository"

// indexValuesOwner finds the ConfigMaps with default values by their HelmRepository: repositoryKey.
const indexValuesOwner = "valuesOwner"

// configMapMetadata is what the caches hold of ConfigMaps.
func configMapMetadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kindConfigMap))
	return object
}

// KeepsMetadata reports whether a cache must keep labels, annotations and owners of an object: those of ConfigMaps with default values.
func KeepsMetadata(object *metav1.PartialObjectMetadata) bool { return valuesmap.IsOurs(object.Labels) }

func addValuesIndex(ctx context.Context, indexer kube.FieldIndexer) error {
	return indexer.IndexField(ctx, configMapMetadata(), indexValuesOwner, func(object kube.Object) []string {
		if key, ok := ownerOfValues(object); ok {
			return []string{repositoryKey(key.Namespace, key.Name)}
		}
		return nil
	})
}

// ownerOfValues returns the HelmRepository whose values a ConfigMap seems to hold; false for other ConfigMaps. Of those, there may be
// copies that somebody made: see valuesmap.Facts.
func ownerOfValues(object kube.Object) (types.NamespacedName, bool) {
	owner := metav1.GetControllerOf(object)
	if owner == nil || owner.Kind != kindRepository || !strings.HasPrefix(owner.APIVersion, v1alpha1.GroupName+"/") ||
		!valuesmap.IsOurs(object.GetLabels()) || !strings.HasPrefix(object.GetName(), valuesmap.NamePrefix) {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: owner.Name}, true
}

func setupValues(mgr ctrl.Manager, options *Options, events *events, reconciles *reconcileMetrics, watch *watch) error {
	metrics, err := newValuesMetrics(options.Registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	log := mgr.GetLogger().WithName(valuesController)
	reconciler := &valuesReconciler{
		client: mgr.GetClient(), known: mgr.GetCache(), charts: options.ChartCache,
		events: events.recorder(valuesController), metrics: metrics, now: options.Now, newest: watch.revision, users: watch.users,
		ownNamespaceOnly: options.DenyCrossNamespaceRepositories, partial: options.PartialReleases,
		everywhere: newEveryRelease(mgr.GetAPIReader(), options.Now),
		memory:     map[types.NamespacedName]*valuesMemory{},
	}
	uses := valuesUses{reader: mgr.GetClient(), log: log}
	limits := controllerOptions(options, log)
	limits.MaxConcurrentReconciles = valuesWorkers
	err = ctrl.NewControllerManagedBy(mgr).
		Named(valuesController).
		For(&v1alpha1.HelmRepository{}, builder.WithPredicates(specOrRequestChanged())).
		Watches(&v1alpha1.HelmRepository{}, later(uses.siblings), builder.WithPredicates(appearedOrGone())).
		Watches(&v1alpha1.HelmRelease{}, later(uses.repositories), builder.WithPredicates(useChanged())).
		WatchesMetadata(&corev1.ConfigMap{}, uses.configMaps(), builder.WithPredicates(contentChanged())).
		WatchesRawSource(watch.values).
		WithOptions(limits).
		Complete(reconciles.measure(valuesController, reconciler))
	if err != nil {
		return fmt.Errorf("set up %s: %w", valuesController, err)
	}
	return nil
}

// valuesUses finds the repositories that have to look at their ConfigMaps when something else changes.
type valuesUses struct {
	reader kube.Reader
	log    logr.Logger
}

// later handles events as a map function says, except those of what was there before: every repository is looked at then.
func later(find handler.MapFunc) handler.Funcs {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	add := func(ctx context.Context, q queue, objects ...kube.Object) {
		for _, object := range objects {
			for _, request := range find(ctx, object) {
				q.Add(request)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				add(ctx, q, e.Object)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { add(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, q, e.Object) },
	}
}

// siblings finds the repositories whose ConfigMaps may have other names now that one comes or goes: see valuesmap.Namer.
func (u valuesUses) siblings(ctx context.Context, object kube.Object) []reconcile.Request {
	return u.enabled(ctx, object.GetNamespace(), func(name string) bool { return strings.HasPrefix(name, object.GetName()+"-") })
}

// configMaps looks at the repository of a ConfigMap that changes, and at all that may need its name when it is gone.
func (u valuesUses) configMaps() handler.EventHandler {
	handle := later(func(_ context.Context, object kube.Object) []reconcile.Request {
		if key, ok := ownerOfValues(object); ok {
			return []reconcile.Request{{NamespacedName: key}}
		}
		return nil
	})
	handle.DeleteFunc = later(func(ctx context.Context, object kube.Object) []reconcile.Request {
		if !strings.HasPrefix(object.GetName(), valuesmap.NamePrefix) {
			return nil
		}
		return u.enabled(ctx, object.GetNamespace(), func(string) bool { return true })
	}).DeleteFunc
	return handle
}

// repositories finds the repository that the chart of a release is from.
func (u valuesUses) repositories(ctx context.Context, object kube.Object) []reconcile.Request {
	r, ok := object.(*v1alpha1.HelmRelease)
	if !ok {
		return nil
	}
	if namespace, name, ok := release.RepositoryOf(r); ok {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
	}
	if len(release.SourceFields(&r.Spec.Chart)) == 0 {
		return nil
	}
	list := &v1alpha1.HelmRepositoryList{}
	if err := u.reader.List(ctx, list, kube.InNamespace(r.Namespace)); err != nil {
		u.failed(ctx, err)
		return nil
	}
	ref, err := release.ResolveURL(&r.Spec.Chart, list.Items)
	if err != nil || ref.Source.URL != "" {
		return nil // the release itself says what is wrong with its URL
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: ref.Source.Namespace, Name: ref.Source.Name}}}
}

// enabled finds the repositories of a namespace that keep ConfigMaps.
func (u valuesUses) enabled(ctx context.Context, namespace string, concerns func(name string) bool) []reconcile.Request {
	list := &v1alpha1.HelmRepositoryList{}
	if err := u.reader.List(ctx, list, kube.InNamespace(namespace), kube.UnsafeDisableDeepCopy); err != nil {
		u.failed(ctx, err)
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		policy := list.Items[i].Spec.ValuesConfigMapPolicy
		if policy != "" && policy != v1alpha1.ValuesConfigMapDisabled && concerns(list.Items[i].Name) {
			requests = append(requests, reconcile.Request{NamespacedName: keyOf(&list.Items[i])})
		}
	}
	return requests
}

func (u valuesUses) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		u.log.Error(err, "Find the repositories whose ConfigMaps a change concerns")
	}
}

// useChanged lets through releases that are new or gone, or use another chart or version than before.
func useChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(*v1alpha1.HelmRelease)
		after, okAfter := e.ObjectNew.(*v1alpha1.HelmRelease)
		if !okBefore || !okAfter {
			return false
		}
		return before.Status.ChartVersion != after.Status.ChartVersion || deployedChart(before) != deployedChart(after) ||
			!equality.Semantic.DeepEqual(before.Spec.Chart, after.Spec.Chart)
	}}
}

func deployedChart(r *v1alpha1.HelmRelease) string {
	if deployed := r.Status.HelmRelease; deployed != nil {
		return deployed.Chart + " " + deployed.Status
	}
	return ""
}

// valuesMetrics counts ConfigMaps with default values, under the names of the original project. The series of a repository go when
// it goes.
type valuesMetrics struct {
	generated *prometheus.CounterVec
	cleaned   *prometheus.CounterVec
}

func newValuesMetrics(registry prometheus.Registerer) (*valuesMetrics, error) {
	m := &valuesMetrics{
		generated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_chart_configmaps_generated_total", Help: "ConfigMaps with default values of charts that were made or updated.",
		}, []string{"repository", "namespace", "chart"}),
		cleaned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "helm_chart_configmaps_cleaned_total", Help: "ConfigMaps with default values of charts that were removed.",
		}, []string{"repository", "namespace"}),
	}
	for _, collector := range []prometheus.Collector{m.generated, m.cleaned} {
		if err := registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *valuesMetrics) written(repository *v1alpha1.HelmRepository, chart string) {
	m.generated.WithLabelValues(repository.Name, repository.Namespace, chart).Inc()
}

func (m *valuesMetrics) removed(repository *v1alpha1.HelmRepository) {
	m.cleaned.WithLabelValues(repository.Name, repository.Namespace).Inc()
}

// forget drops the series of a repository.
func (m *valuesMetrics) forget(key types.NamespacedName) {
	labels := prometheus.Labels{"repository": key.Name, "namespace": key.Namespace}
	m.generated.DeletePartialMatch(labels)
	m.cleaned.DeletePartialMatch(labels)
}
