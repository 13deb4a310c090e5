// Package stack puts a whole local stack together: control plane, chart repository, registry, and, when asked, the operator's
// CRDs, manifests and two services.
//
// It depends on all other internal packages but demo. It must never leave a program running when it returns an error.
package stack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ketches/helm-operator/deploy/local/internal/charts"
	"github.com/ketches/helm-operator/deploy/local/internal/cluster"
	"github.com/ketches/helm-operator/deploy/local/internal/console"
	"github.com/ketches/helm-operator/deploy/local/internal/pki"
	"github.com/ketches/helm-operator/deploy/local/internal/process"
	"github.com/ketches/helm-operator/deploy/local/internal/rundir"
)

// Config says what a stack consists of.
type Config struct {
	// Name is the run's name.
	Name string
	// Nodes is the number of simulated nodes. 0 leaves every Pod pending.
	Nodes int
	// RegistryUser is user:password that the OCI registry asks for. Empty: anonymous.
	RegistryUser string
	// RegistryTLS serves the OCI registry over TLS.
	RegistryTLS bool
	// ChartsUser is user:password that the HTTP chart repository asks for. Empty: anonymous.
	ChartsUser string
	// Install is a folder with crds/*.yaml and manifests.yaml to apply. Empty: none.
	Install string
	// Services is a folder with the programs chartcache and operator, started as the ServiceAccounts of the manifests. Empty:
	// none. Needs Install.
	Services string
	// Prepare, if set, is called when all but the services runs, before the stack counts as ready.
	Prepare func(context.Context, Info) error
	// KeepLogs keeps the logs when the stack ends.
	KeepLogs bool

	// State is where everything lies.
	State rundir.State
	// Console receives one line for each step.
	Console *console.Console
	// Now is the clock.
	Now func() time.Time
}

// Stack is a running stack. Close it.
type Stack struct {
	// Info describes it for other programs.
	Info Info
	// Cluster is its control plane.
	Cluster *cluster.Cluster

	cfg       Config
	run       *rundir.Run
	authority *pki.Authority
	launcher  *process.Launcher
	charts    *charts.Server
	failed    chan error // the first program that ended by itself
	closing   chan struct{}
	abort     context.CancelCauseFunc // ends starting; does nothing once started
	watchers  sync.WaitGroup
	services  services
	mu        sync.Mutex // guards children
	children  []*process.Child
}

// Start starts a stack and returns when all of it is ready. When ctx ends, starting ends; the started stack does not depend on it.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Services != "" && cfg.Install == "" {
		return nil, errors.New("services need the manifests that define their accounts: give a folder to install")
	}
	self, err := cfg.State.Table.Identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	run, err := cfg.State.Create(cfg.Name, self)
	if err != nil {
		return nil, err
	}
	s := &Stack{cfg: cfg, run: run, failed: make(chan error, 1), closing: make(chan struct{})}
	s.launcher = &process.Launcher{
		Spawner: process.NewSpawner(process.SpawnerConfig{LogDir: run.Logs(), Recorded: run.Record, Table: cfg.State.Table}),
		Ports:   &process.Ports{Rand: rand.New(rand.NewPCG(uint64(self.PID), self.StartTicks))},
		Started: s.watch,
	}
	// A part that ends while others start must not leave them waiting for what it was to do.
	ctx, s.abort = context.WithCancelCause(ctx)
	defer s.abort(nil)
	if err := s.start(ctx); err != nil {
		// What went wrong stands in the logs: they stay.
		s.cfg.KeepLogs = true
		explained := fmt.Errorf("%w\n%s", err, s.LogTails(3))
		return nil, errors.Join(explained, s.Close())
	}
	return s, nil
}

// start brings up all parts. The chart repository and the registry start while the control plane does.
func (s *Stack) start(ctx context.Context) error {
	var err error
	if s.authority, err = pki.NewAuthority("helm-operator local stack "+s.cfg.Name, s.cfg.Now); err != nil {
		return err
	}
	s.Info = Info{Name: s.cfg.Name, Bin: s.cfg.State.Bin(), Logs: s.run.Logs(), SupervisorPID: os.Getpid()}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startCluster(groupCtx) })
	group.Go(func() error {
		if err := s.cfg.Console.Step("HTTP chart repository", s.startCharts); err != nil {
			return err
		}
		return s.cfg.Console.Step("OCI registry", func() error { return s.startRegistry(groupCtx) })
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if s.cfg.Install != "" {
		if err := s.install(ctx); err != nil {
			return err
		}
	}
	if s.cfg.Prepare != nil {
		if err := s.cfg.Prepare(ctx, s.Info); err != nil {
			return err
		}
	}
	if s.cfg.Services != "" {
		if err := s.startServices(ctx); err != nil {
			return err
		}
	}
	s.Info.PIDs = s.run.PIDs()
	return s.run.Publish(s.Info)
}

func (s *Stack) startCluster(ctx context.Context) error {
	dir, err := s.run.Folder("cluster")
	if err != nil {
		return err
	}
	s.Cluster, err = cluster.Start(ctx, cluster.Config{
		Bin: s.cfg.State.Bin(), Dir: dir, Nodes: s.cfg.Nodes, Authority: s.authority, Launcher: s.launcher, Console: s.cfg.Console,
	})
	if err != nil {
		return err
	}
	s.Info.Kubeconfig = s.Cluster.Kubeconfig
	return nil
}

// watch reports a program that ends by itself, until Close.
func (s *Stack) watch(child *process.Child) {
	s.mu.Lock()
	s.children = append(s.children, child)
	s.mu.Unlock()
	s.watchers.Go(func() {
		select {
		case <-child.Done():
		case <-s.closing:
			return
		}
		err := fmt.Errorf("%w; its log ends with\n%s", child.Err(), tail(child.Log(), 20))
		s.abort(err)
		select {
		case s.failed <- err:
		default: // an earlier one is reported already
		}
	})
}

// Failed delivers an error when a program of the stack ends by itself. The services are exempt: they are started again.
func (s *Stack) Failed() <-chan error { return s.failed }

// Close ends everything, by SIGKILL except for the two services, and removes the run's folder.
func (s *Stack) Close() error {
	close(s.closing)
	s.services.stop()
	s.watchers.Wait()
	// kube-apiserver takes up to a minute to end in order, and nothing of it is kept.
	for _, child := range s.children {
		child.Kill()
	}
	s.launcher.Spawner.Close()
	var err error
	if s.charts != nil {
		err = s.charts.Close()
	}
	return errors.Join(err, s.run.Remove(s.cfg.KeepLogs))
}

// KeepLogs makes Close keep the logs; it returns where they will be.
func (s *Stack) KeepLogs() string {
	s.cfg.KeepLogs = true
	return s.cfg.State.KeptLogs(s.cfg.Name)
}

func (s *Stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.run.Dir()}, parts...)...)
}
