package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/server"
	"github.com/ketches/helm-operator/chartcache/upstream"
	"github.com/ketches/helm-operator/services/chartcache/metrics"
	"github.com/ketches/helm-operator/services/chartcache/source"
	"github.com/ketches/helm-operator/services/internal/buildinfo"
	"github.com/ketches/helm-operator/services/internal/kube"
	"github.com/ketches/helm-operator/services/internal/lifecycle"
	"github.com/ketches/helm-operator/services/internal/logging"
	"github.com/ketches/helm-operator/services/internal/web"
)

// bookmarkEvery is how long a watch is silent at most: well below the minute after which proxies drop idle streams.
const bookmarkEvery = 30 * time.Second

// pollEvery is how often a repositories file is looked at.
const pollEvery = 2 * time.Second

func newServeCommand(logs io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Sync repositories and answer over gRPC",
		Long: "Sync Helm chart repositories, over HTTP and OCI, keep their indexes and charts on disk, and answer over gRPC\n" +
			"which charts and versions there are, what a version constraint means, and for the charts themselves.\n\n" +
			"The repositories are the HelmRepository objects of a Kubernetes cluster, or with --repositories those of a\n" +
			"repositories.yaml of Helm, without any cluster.",
		Example: "  chartcache serve --data-dir ~/.cache/chartcache --repositories ~/.config/helm/repositories.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			log, err := logging.New(logs, o.logging)
			if err != nil {
				return err
			}
			logging.CaptureLibraries(log)
			p, err := newProcess(o, log)
			if err != nil {
				return err
			}
			return p.run(cmd.Context())
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// process is one running chartcache.
type process struct {
	options  options
	log      zerolog.Logger
	registry *prometheus.Registry
	blobs    *blob.Store
	catalog  *catalog.Catalog
	grpc     *grpcServer
	probes   *web.Probes
	web      []*web.Server
	listed   milestone
	source   func(ctx context.Context, listed func()) error
}

// newProcess opens what is on disk and makes all parts; nothing runs yet.
func newProcess(o options, log zerolog.Logger) (*process, error) {
	p := &process{
		options: o, log: log, registry: prometheus.NewRegistry(), probes: &web.Probes{},
		listed: newMilestone("the repositories have not been listed yet"),
	}
	repositories, pool, calls, err := p.newMetrics()
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	if p.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(o.dataDir, "blobs"), MaxBytes: int64(o.storeBytes)}); err != nil {
		return nil, fmt.Errorf("open the charts below %s: %w", o.dataDir, withCause(err))
	}
	p.catalog, err = catalog.New(catalog.Config{
		Dir:           filepath.Join(o.dataDir, "catalog"),
		Blobs:         p.blobs,
		NewUpstream:   pool.New,
		Limits:        o.limits(),
		Metrics:       repositories,
		Logger:        log,
		IdleAfter:     o.anonymousIdle,
		BookmarkEvery: bookmarkEvery,
		UserAgent:     buildinfo.Get().UserAgent("chartcache"),
	})
	if err != nil {
		return nil, fmt.Errorf("open the repositories below %s: %w", o.dataDir, withCause(err))
	}
	p.registry.MustRegister(metrics.NewState(p.catalog, p.blobs))
	if p.source, err = p.newSource(); err != nil {
		return nil, err
	}
	creds, err := o.tls.server(log)
	if err != nil {
		return nil, err
	}
	p.grpc = &grpcServer{
		address: o.grpcAddress, drain: o.drainTimeout, log: log,
		server: server.New(server.Config{Catalog: server.FromCatalog(p.catalog), Credentials: creds, Logger: log, Metrics: calls}),
	}
	return p, nil
}

// withCause adds the cause of an error, which is not part of its message, for the one who started the process.
func withCause(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

func (p *process) newMetrics() (*metrics.Repositories, *upstream.Pool, *metrics.Calls, error) {
	p.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildinfo.Get().Collector("chartcache"),
	)
	repositories, err := metrics.NewRepositories(p.registry)
	if err != nil {
		return nil, nil, nil, err
	}
	requests, err := metrics.NewUpstream(p.registry)
	if err != nil {
		return nil, nil, nil, err
	}
	calls, err := metrics.NewCalls(p.registry)
	if err != nil {
		return nil, nil, nil, err
	}
	pool := upstream.NewPool(func(t *tls.Config) http.RoundTripper { return requests.Wrap(upstream.NewTransport(t)) })
	return repositories, pool, calls, nil
}

// newSource says where the repositories come from.
func (p *process) newSource() (func(context.Context, func()) error, error) {
	o := p.options
	if o.repositories != "" {
		return func(ctx context.Context, listed func()) error {
			ticker := time.NewTicker(pollEvery)
			defer ticker.Stop()
			file := source.File{
				Path: o.repositories, Interval: o.repositoriesInterval, Timeout: o.repositoriesTimeout,
				Catalog: p.catalog, Poll: ticker.C, Logger: p.log,
			}
			return file.Run(ctx, listed)
		}, nil
	}
	config, err := kube.Load(o.kubeconfig, buildinfo.Get().UserAgent("chartcache"))
	if err != nil {
		return nil, fmt.Errorf("%w (to serve without Kubernetes, use --repositories)", err)
	}
	objects, err := source.ListWatch(config, p.log)
	if err != nil {
		return nil, err
	}
	secrets, err := source.NewClusterSecrets(config)
	if err != nil {
		return nil, err
	}
	cluster := source.Cluster{
		Objects: objects,
		Policy: source.Policy{
			Secrets:               secrets,
			Files:                 source.FilesBelow(o.allowedFileDir),
			CrossNamespaceSecrets: o.crossNamespace,
		},
		Catalog: p.catalog,
		Logger:  p.log,
	}
	return cluster.Run, nil
}

// run starts all parts in order, and stops them the other way round when ctx ends.
func (p *process) run(ctx context.Context) error {
	// Two thirds of the time for calls that run, and the rest for everything else.
	group := lifecycle.New(lifecycle.Config{Log: p.log, StopTimeout: p.options.drainTimeout * 3 / 2})
	p.probes.AddReady("process", group.Running)
	p.probes.AddReady("repositories", p.listed.check)
	p.probes.AddReady("grpc", p.grpc.check)
	p.web = []*web.Server{
		web.NewServer(web.Config{Name: "probes", Address: p.options.probeAddress, Handler: p.probes.Handler(), Log: p.log}),
		web.NewServer(web.Config{Name: "metrics", Address: p.options.metricsAddress, Handler: web.Metrics(p.registry), Log: p.log}),
	}
	for _, s := range p.web {
		group.Add(s.Part())
	}
	group.Add(
		lifecycle.Part{Name: "charts on disk", Stop: func(context.Context) error { return p.blobs.Close() }},
		lifecycle.Part{Name: "catalog", Run: p.catalog.Run},
		sourcePart(p.source, func() {
			// What is on disk of repositories that are gone goes now: before, nobody knew which they are.
			if err := p.catalog.Prune(); err != nil {
				p.log.Error().Err(withCause(err)).Msg("leftovers of removed repositories stay on disk")
			}
			p.listed.reach()
		}),
		p.grpc.part(),
	)
	return group.Run(ctx)
}
