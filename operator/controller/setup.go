package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// Names of the controllers, in logs, metrics and as the source of events.
const (
	repositoryController = "helmrepository-controller"
	releaseController    = "helmrelease-controller"
	valuesController     = "values-configmaps-controller"
)

// Pauses after a reconcile that failed.
const (
	firstRetry   = 50 * time.Millisecond
	longestRetry = 20 * time.Second
)

// ChartCache is what the controllers ask chartcache for. *client.Client is one.
type ChartCache interface {
	GetRepository(ctx context.Context, source client.Source) (client.Repository, error)
	ListCharts(ctx context.Context, source client.Source, options client.ListChartsOptions) (client.ChartList, error)
	ListVersions(ctx context.Context, source client.Source, chart string, options client.ListVersionsOptions) (client.VersionList, error)
	Sync(ctx context.Context, source client.Source) (client.SyncResult, error)
	Resolve(ctx context.Context, request client.ChartRequest) (client.Resolved, error)
	Download(ctx context.Context, request client.ChartRequest, w io.Writer) (client.Downloaded, error)
	Detail(ctx context.Context, request client.ChartRequest, parts ...client.Part) (client.Detail, error)
	Watch(ctx context.Context, handle func(client.Event)) error
}

var _ ChartCache = (*client.Client)(nil)

// Options configure the controllers.
type Options struct {
	// ChartCache answers for repositories and charts. Required.
	ChartCache ChartCache
	// Helm runs Helm actions. Required.
	Helm release.Helm
	// Registry gets the metrics. Required.
	Registry prometheus.Registerer
	// Workers is the number of objects of each kind that are reconciled at once. Default 8: a worker may wait for
	// chartcache, which may wait for an upstream.
	Workers int
	// ActiveOperations bounds the Helm operations that render and apply at once, and with them memory and load on the API server.
	// Default 16.
	ActiveOperations int
	// MaxOperations bounds the Helm operations at once, those that wait for readiness included. Default 1000.
	MaxOperations int
	// DenyCrossNamespaceRepositories refuses releases whose chart is in a HelmRepository of another namespace.
	DenyCrossNamespaceRepositories bool
	// PartialReleases says that the manager's cache holds some of the HelmReleases only, because others are somebody else's. Before a
	// ConfigMap with default values is removed, all are asked for then.
	PartialReleases bool
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// NewOperationID makes the ids of operations. Random by default.
	NewOperationID func() string
}

func (o *Options) complete() error {
	switch {
	case o.ChartCache == nil:
		return errors.New("set up controllers: Options.ChartCache is missing")
	case o.Helm == nil:
		return errors.New("set up controllers: Options.Helm is missing")
	case o.Registry == nil:
		return errors.New("set up controllers: Options.Registry is missing")
	}
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.ActiveOperations <= 0 {
		o.ActiveOperations = 16
	}
	if o.MaxOperations <= 0 {
		o.MaxOperations = 1000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Setup adds the controllers, the watch of chartcache and the runner of Helm operations to a manager that is not started
// yet. All of them wait for the manager to be the leader.
func Setup(ctx context.Context, mgr ctrl.Manager, options Options) error {
	if err := options.complete(); err != nil {
		return err
	}
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index HelmReleases: %w", err)
	}
	if err := addRecordIndex(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index the records of Helm releases: %w", err)
	}
	if err := addValuesIndex(ctx, mgr.GetFieldIndexer()); err != nil {
		return fmt.Errorf("index ConfigMaps with default values: %w", err)
	}
	events, err := newEvents(mgr)
	if err != nil {
		return fmt.Errorf("set up events: %w", err)
	}
	reconciles, err := newReconcileMetrics(options.Registry, options.Now)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	watch := &watch{
		cache: options.ChartCache, reader: mgr.GetClient(), log: mgr.GetLogger().WithName("chartcache-watch"), now: options.Now,
		repositories: &trigger{}, releases: &trigger{}, values: &trigger{}, revisions: map[client.Source]client.Revision{},
	}
	if err := setupReleases(mgr, &options, events, reconciles, watch); err != nil {
		return err
	}
	if err := setupRepositories(mgr, &options, events, reconciles, watch); err != nil {
		return err
	}
	if err := setupValues(mgr, &options, events, reconciles, watch); err != nil {
		return err
	}
	if err := mgr.Add(watch); err != nil {
		return fmt.Errorf("add the watch of chartcache: %w", err)
	}
	return nil
}

func setupReleases(mgr ctrl.Manager, options *Options, events *events, reconciles *reconcileMetrics, watch *watch) error {
	metrics, err := release.NewMetrics(options.Registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	log := mgr.GetLogger().WithName(releaseController)
	runner := release.NewRunner(release.RunnerConfig{
		MaxActive:     options.ActiveOperations,
		MaxOperations: options.MaxOperations,
		Wake:          watch.releases.enqueue,
		Now:           options.Now,
		Crashed: func(key types.NamespacedName, what string) {
			log.Error(errors.New(what), "A Helm operation crashed", "object", key.String())
		},
	})
	engine, err := release.New(release.Config{
		Helm: options.Helm, Charts: options.ChartCache, Runner: runner, Metrics: metrics,
		Objects: objects{client: mgr.GetClient(), fresh: mgr.GetAPIReader()}, Events: events.recorder(releaseController),
		MinRevision: watch.revision, ChartNews: watch.newsOf, NewestRecord: records{cache: mgr.GetCache(), log: log}.newest, DenyCrossNamespace: options.DenyCrossNamespaceRepositories,
		Now: options.Now, NewOperationID: options.NewOperationID,
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(runner); err != nil {
		return fmt.Errorf("add the runner of operations: %w", err)
	}
	err = references{reader: mgr.GetClient(), log: log, expects: engine.Expects}.watch(ctrl.NewControllerManagedBy(mgr)).
		Named(releaseController).
		For(&v1alpha1.HelmRelease{}, builder.WithPredicates(specOrRequestChanged())).
		Watches(&v1alpha1.HelmRepository{}, handler.EnqueueRequestsFromMapFunc(watch.releasesOf), builder.WithPredicates(appearedOrGone())).
		WatchesRawSource(watch.releases).
		WithOptions(controllerOptions(options, log)).
		Complete(reconciles.measure(releaseController, &releaseReconciler{client: mgr.GetClient(), engine: engine}))
	if err != nil {
		return fmt.Errorf("set up %s: %w", releaseController, err)
	}
	return nil
}

func setupRepositories(mgr ctrl.Manager, options *Options, events *events, reconciles *reconcileMetrics, watch *watch) error {
	reconciler := &repositoryReconciler{
		client: mgr.GetClient(), cache: options.ChartCache, events: events.recorder(repositoryController), now: options.Now,
		downSince: watch.downSince, newest: watch.revision, requests: map[types.NamespacedName]string{},
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named(repositoryController).
		For(&v1alpha1.HelmRepository{}, builder.WithPredicates(specOrRequestChanged())).
		WatchesRawSource(watch.repositories).
		WithOptions(controllerOptions(options, mgr.GetLogger().WithName(repositoryController))).
		Complete(reconciles.measure(repositoryController, reconciler))
	if err != nil {
		return fmt.Errorf("set up %s: %w", repositoryController, err)
	}
	return nil
}

// controllerOptions are those of all controllers. The names are ours; controller-runtime would want them to be unique
// in the process, which a test with two managers is not.
func controllerOptions(options *Options, log logr.Logger) controller.Options {
	skip := true
	return controller.Options{
		MaxConcurrentReconciles: options.Workers,
		// What fails here are requests to the API server. The default waits up to a quarter of an hour, long after it is back.
		RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, longestRetry),
		SkipNameValidation: &skip,
		LogConstructor: func(request *reconcile.Request) logr.Logger {
			if request == nil {
				return log
			}
			return log.WithValues("namespace", request.Namespace, "name", request.Name)
		},
	}
}
