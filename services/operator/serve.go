package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/ketches/helm-operator/operator/controller"
	"github.com/ketches/helm-operator/operator/helm"
	"github.com/ketches/helm-operator/services/internal/buildinfo"
	"github.com/ketches/helm-operator/services/internal/kube"
	"github.com/ketches/helm-operator/services/internal/lifecycle"
	"github.com/ketches/helm-operator/services/internal/logging"
	"github.com/ketches/helm-operator/services/internal/web"
)

// serve runs the process until ctx ends, leadership is lost, or a part fails.
func serve(ctx context.Context, opts *options, log zerolog.Logger) error {
	build := buildinfo.Get()
	log.Info().Str("version", build.Version).Str("revision", build.Revision).Msg("starting")

	config, err := kube.Load(opts.kubeconfig, build.UserAgent(process))
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(build.Collector("helm_operator")); err != nil {
		return err
	}
	watched, err := opts.scope()
	if err != nil {
		return err
	}
	leader, err := newLeadership(config, opts, watched)
	if err != nil {
		return err
	}
	manager, err := newManager(ctx, config, leader, watched, logging.Logr(log))
	if err != nil {
		return err
	}
	if err := watchOwnKinds(ctx, manager); err != nil {
		return err
	}
	connection, err := connect(opts, log)
	if err != nil {
		return err
	}
	defer connection.Close()
	chartcache, err := newObservedClient(connection, time.Now, registry)
	if err != nil {
		return err
	}
	helmClient, err := helm.New(helm.Config{REST: config, Log: logging.Logr(log).WithName("helm"), Fence: leader.check()})
	if err != nil {
		return err
	}
	err = controller.Setup(ctx, manager, controller.Options{
		ChartCache:                     chartcache,
		Helm:                           helmClient,
		Registry:                       registry,
		Workers:                        opts.concurrentReconciles,
		ActiveOperations:               opts.concurrentOperations,
		MaxOperations:                  opts.maxOperations,
		DenyCrossNamespaceRepositories: opts.denyCrossNamespaceRepositories,
		PartialReleases:                !watched.selector.Empty() || len(watched.namespaces) > 0,
	})
	if err != nil {
		return fmt.Errorf("set the controllers up: %w", err)
	}

	group := lifecycle.New(lifecycle.Config{Log: log})
	probes := &web.Probes{}
	probes.AddHealthy("workers", workersMove(ctrlmetrics.Registry))
	probes.AddReady("process", group.Running)
	probes.AddReady("caches", cachesFilled(manager.GetCache().WaitForCacheSync))
	group.Add(
		web.NewServer(web.Config{Name: "probes", Address: opts.probeAddress, Handler: probes.Handler(), Log: log}).Part(),
		web.NewServer(web.Config{
			Name: "metrics", Address: opts.metricsAddress, Log: log,
			Handler: web.Metrics(prometheus.Gatherers{registry, ctrlmetrics.Registry}),
		}).Part(),
		lifecycle.Part{Name: "controllers", Run: manager.Start},
	)
	return group.Run(ctx)
}
