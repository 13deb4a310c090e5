package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/ketches/helm-operator/deploy/local/internal/process"
)

const (
	serviceReadyWithin = time.Minute
	// restartAfter is the pause before a service that ended is started again, as a kubelet would.
	restartAfter = time.Second
	// stopWithin is how long a service may take to end in order.
	stopWithin = 10 * time.Second
)

// services are the keepers of the operator's two programs.
type services struct {
	cancel []context.CancelFunc
	wait   sync.WaitGroup
}

// stop asks all programs to end and waits for them.
func (s *services) stop() {
	for _, cancel := range s.cancel {
		cancel()
	}
	s.wait.Wait()
}

// startServices starts chartcache and then operator, each as its own ServiceAccount.
func (s *Stack) startServices(ctx context.Context) error {
	// Addresses stay the same over restarts: the operator is told the cache's once.
	a, err := s.launcher.Ports.FreeAddresses(5)
	if err != nil {
		return err
	}
	info := &ServicesInfo{
		ChartcacheGRPC: a[0], ChartcacheMetrics: a[1], ChartcacheHealth: a[2], OperatorMetrics: a[3], OperatorHealth: a[4],
	}
	data, err := s.run.Folder("chartcache-data")
	if err != nil {
		return err
	}
	chartcache := process.Spec{
		Name: "chartcache", Path: filepath.Join(s.cfg.Services, "chartcache"), Dir: s.run.Dir(),
		Args: []string{
			"serve", "--kubeconfig=" + s.Info.Accounts[chartcacheAccount], "--data-dir=" + data,
			"--grpc-bind-address=" + info.ChartcacheGRPC, "--metrics-bind-address=" + info.ChartcacheMetrics,
			"--health-probe-bind-address=" + info.ChartcacheHealth,
		},
	}
	operator := process.Spec{
		Name: "operator", Path: filepath.Join(s.cfg.Services, "operator"), Dir: s.run.Dir(),
		Args: []string{
			"--kubeconfig=" + s.Info.Accounts[operatorAccount], "--chartcache-address=" + info.ChartcacheGRPC,
			"--metrics-bind-address=" + info.OperatorMetrics, "--health-probe-bind-address=" + info.OperatorHealth,
			"--leader-elect", "--leader-election-namespace=" + namespace,
		},
	}
	for _, service := range []struct {
		spec   process.Spec
		health string
	}{{chartcache, info.ChartcacheHealth}, {operator, info.OperatorHealth}} {
		if err := s.cfg.Console.Step(service.spec.Name+" ready", func() error {
			return s.keep(ctx, service.spec, "http://"+service.health+"/readyz")
		}); err != nil {
			return err
		}
	}
	s.Info.Services = info
	return nil
}

// keep starts a program, waits until it is ready, and starts it again whenever it ends, until the stack is closed.
func (s *Stack) keep(ctx context.Context, spec process.Spec, readyz string) error {
	child, err := s.launcher.Spawner.Start(spec)
	if err != nil {
		return err
	}
	kept, cancel := context.WithCancel(context.Background())
	s.services.cancel = append(s.services.cancel, cancel)
	s.services.wait.Go(func() { s.keepUp(kept, spec, child) })

	within := fmt.Errorf("not within %s", serviceReadyWithin)
	ctx, done := context.WithTimeoutCause(ctx, serviceReadyWithin, within)
	defer done()
	err = child.Await(ctx, func(ctx context.Context) error {
		return process.Answers(ctx, http.DefaultClient, readyz, http.StatusOK)
	})
	if err != nil {
		return fmt.Errorf("%w; its log ends with\n%s", err, tail(child.Log(), 20))
	}
	return nil
}

func (s *Stack) keepUp(ctx context.Context, spec process.Spec, child *process.Child) {
	for {
		select {
		case <-child.Done():
			s.cfg.Console.Line("  %v; starting it again", child.Err())
		case <-ctx.Done():
			limit, cancel := context.WithTimeout(context.Background(), stopWithin)
			child.Stop(limit)
			cancel()
			return
		}
		for started := false; !started; {
			select {
			case <-time.After(restartAfter):
			case <-ctx.Done():
				return
			}
			next, err := s.launcher.Spawner.Start(spec)
			if err == nil {
				err = s.republish()
			}
			if err != nil {
				s.cfg.Console.Line("  cannot start %s: %v", spec.Name, err)
			}
			if next != nil {
				child, started = next, true
			}
		}
	}
}

// republish updates the ids of restarted programs in stack.json, once that exists.
func (s *Stack) republish() error {
	var info Info
	if err := s.cfg.State.ReadStack(s.cfg.Name, &info); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	info.PIDs = s.run.PIDs()
	return s.run.Publish(info)
}
