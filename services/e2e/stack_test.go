package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

// stack is the local control plane, the registry, and both services.
type stack struct {
	*localstack.Stack // nil when it could not be started

	dir        string // scratch folder of the suite
	config     *rest.Config
	client     client.Client
	chartcache *localstack.Service
	operator   *localstack.Service
	survived   survived
	// usual is how long each act on a stage takes. Set once, by a test that does not run beside others or by the only one
	// that asks.
	usual map[string]time.Duration
}

// startStack builds the launcher and both services, starts the control plane, and waits until all are ready.
func startStack(ctx context.Context) (*stack, error) {
	dir, err := os.MkdirTemp("", "helm-operator-e2e-")
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *stack) start(ctx context.Context) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	config := localstack.Config{Source: root, Dir: s.dir, Output: os.Stderr}
	programs, err := localstack.Build(ctx, config, "chartcache", "operator")
	if err != nil {
		return err
	}
	if s.Stack, err = localstack.Start(ctx, config, programs); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.Info.Kubeconfig); err != nil {
		return err
	}
	s.config.QPS = -1
	if s.client, err = client.New(s.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if s.chartcache, err = s.Chartcache("chartcache", filepath.Join(s.dir, "chartcache-data")); err != nil {
		return err
	}
	if err := s.chartcache.Start(ctx); err != nil {
		return err
	}
	if s.operator, err = s.Operator("operator", s.chartcache.GRPC); err != nil {
		return err
	}
	return s.operator.Start(ctx)
}

func (s *stack) stop() error {
	var errs []error
	for _, svc := range []*localstack.Service{s.operator, s.chartcache} {
		if svc != nil {
			errs = append(errs, svc.Terminate(20*time.Second))
		}
	}
	if s.Stack != nil {
		errs = append(errs, s.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

func (s *stack) printLogTails(w io.Writer) {
	for _, svc := range []*localstack.Service{s.operator, s.chartcache} {
		fmt.Fprintf(w, "--- last lines of %s ---\n%s\n", svc.Name, svc.LogTail(6000))
	}
}
