package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// stackInfo is what the launcher prints once the stack is ready.
type stackInfo struct {
	Kubeconfig string            `json:"kubeconfig"` // of the administrator
	Accounts   map[string]string `json:"accounts"`   // kubeconfigs of the shipped ServiceAccounts by name
	Bin        string            `json:"bin"`        // folder of kubectl and helm
	Registry   struct {
		Host string `json:"host"` // host:port, plain HTTP
	} `json:"registry"`
}

// stack is the local control plane, the registry, and both services.
type stack struct {
	info       stackInfo
	dir        string // scratch folder of the suite
	launcher   *exec.Cmd
	stdin      io.Closer
	config     *rest.Config
	client     client.Client
	chartcache *service
	operator   *service
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
	if err := s.build(ctx); err != nil {
		return err
	}
	if err := s.startLauncher(ctx); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	if s.config, err = clientcmd.BuildConfigFromFlags("", s.info.Kubeconfig); err != nil {
		return err
	}
	s.config.QPS = -1
	if s.client, err = client.New(s.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if s.chartcache, err = s.newChartcache("chartcache", filepath.Join(s.dir, "chartcache-data")); err != nil {
		return err
	}
	if err := s.chartcache.start(ctx); err != nil {
		return err
	}
	if s.operator, err = s.newOperator("operator"); err != nil {
		return err
	}
	return s.operator.start(ctx)
}

// build compiles the launcher and both services into the scratch folder. The launcher's module is outside the
// workspace.
func (s *stack) build(ctx context.Context) error {
	for _, step := range []struct {
		dir  string
		args []string
		env  string
	}{
		{"../../deploy/local", []string{"build", "-o", filepath.Join(s.dir, "local"), "."}, "GOWORK=off"},
		{"..", []string{"build", "-o", s.dir + string(filepath.Separator), "./chartcache", "./operator"}, ""},
	} {
		cmd := exec.CommandContext(ctx, "go", step.args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = step.dir, os.Stderr, os.Stderr
		cmd.Env = append(os.Environ(), step.env)
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go build in %s: %w", step.dir, err)
		}
	}
	return nil
}

// startLauncher starts the control plane and reads what it prints when ready. The launcher stops by itself when this
// process ends, because its standard input closes.
func (s *stack) startLauncher(ctx context.Context) error {
	local, err := filepath.Abs("../../deploy/local")
	if err != nil {
		return err
	}
	s.launcher = exec.Command(filepath.Join(s.dir, "local"), "run", "--until-stdin-closes", "--install", "..")
	s.launcher.Dir = local
	s.launcher.Stderr = os.Stderr
	stdout, err := s.launcher.StdoutPipe()
	if err != nil {
		return err
	}
	if s.stdin, err = s.launcher.StdinPipe(); err != nil {
		return err
	}
	if err := s.launcher.Start(); err != nil {
		return fmt.Errorf("start the launcher: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the launcher ended before the stack was ready: %w", err)
	}
	if err := json.Unmarshal(line, &s.info); err != nil {
		return fmt.Errorf("read what the launcher printed: %w", err)
	}
	return ctx.Err()
}

// newChartcache describes a chartcache process that runs as the shipped ServiceAccount.
func (s *stack) newChartcache(name, dataDir string, args ...string) (*service, error) {
	grpc, metrics, health, err := threeAddresses()
	if err != nil {
		return nil, err
	}
	svc := &service{
		name: name, binary: filepath.Join(s.dir, "chartcache"), logFile: filepath.Join(s.dir, name+".log"),
		grpc: grpc, metrics: metrics, health: health,
	}
	svc.args = append([]string{
		"serve", "--data-dir", dataDir, "--grpc-bind-address", grpc,
		"--metrics-bind-address", metrics, "--health-probe-bind-address", health,
	}, args...)
	if len(args) == 0 {
		svc.args = append(svc.args, "--kubeconfig", s.info.Accounts["chartcache"])
	}
	return svc, nil
}

// newOperator describes an operator process that runs as the shipped ServiceAccount and asks the suite's chartcache.
func (s *stack) newOperator(name string, args ...string) (*service, error) {
	_, metrics, health, err := threeAddresses()
	if err != nil {
		return nil, err
	}
	svc := &service{
		name: name, binary: filepath.Join(s.dir, "operator"), logFile: filepath.Join(s.dir, name+".log"),
		metrics: metrics, health: health,
	}
	svc.args = append([]string{
		"--chartcache-address", s.chartcache.grpc, "--kubeconfig", s.info.Accounts["helm-operator"],
		"--metrics-bind-address", metrics, "--health-probe-bind-address", health,
		"--leader-elect", "--leader-election-namespace", "ketches",
	}, args...)
	return svc, nil
}

func (s *stack) stop() error {
	var errs []error
	for _, svc := range []*service{s.operator, s.chartcache} {
		if svc != nil {
			errs = append(errs, svc.terminate(20*time.Second))
		}
	}
	if s.launcher != nil && s.launcher.Process != nil {
		errs = append(errs, s.stdin.Close(), s.launcher.Wait())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

func (s *stack) printLogTails(w io.Writer) {
	for _, svc := range []*service{s.operator, s.chartcache} {
		fmt.Fprintf(w, "--- last lines of %s ---\n%s\n", svc.name, svc.logTail(6000))
	}
}

// threeAddresses returns free loopback addresses. Another process could take one before it is used; services report
// that at once.
func threeAddresses() (first, second, third string, err error) {
	var addresses [3]string
	var listeners []net.Listener // all open until the last one is there, so that no two are the same
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", "", err
		}
		listeners = append(listeners, listener)
		addresses[i] = listener.Addr().String()
	}
	for _, listener := range listeners {
		if err := listener.Close(); err != nil {
			return "", "", "", err
		}
	}
	return addresses[0], addresses[1], addresses[2], nil
}
