// Package cluster runs a real Kubernetes control plane on one machine: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, and KWOK, which plays the nodes.
//
// It depends on process (to run programs), pki and kube. Everything listens on the loopback interface, on free ports. It must
// never be used for anything worth keeping: etcd does not sync to disk.
package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/ketches/helm-operator/deploy/local/internal/console"
	"github.com/ketches/helm-operator/deploy/local/internal/kube"
	"github.com/ketches/helm-operator/deploy/local/internal/pki"
	"github.com/ketches/helm-operator/deploy/local/internal/process"
)

// readyWithin bounds the start of one component. Six seconds are usual; the rest is for machines that do other work too.
const readyWithin = 3 * time.Minute

// Config is what a control plane needs.
type Config struct {
	// Bin holds the programs etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok.
	Bin string
	// Dir receives data, certificates and configuration. Must exist.
	Dir string
	// Nodes is the number of simulated nodes; 0 leaves every Pod pending.
	Nodes int
	// Authority signs all certificates.
	Authority *pki.Authority
	// Launcher starts the programs.
	Launcher *process.Launcher
	// Console receives one line for each step.
	Console *console.Console
}

// Cluster is a running control plane.
type Cluster struct {
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
	// REST reaches the API server as administrator. Copy it before changing it.
	REST *rest.Config
	// Client reaches the API server as administrator.
	Client *kube.Client

	cfg   Config
	files files
}

// Start starts everything and returns when Pods can be scheduled. The programs end with cfg.Launcher.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{cfg: cfg}
	var err error
	if c.files, err = writeFiles(cfg.Dir, cfg.Authority); err != nil {
		return nil, err
	}
	var etcd string
	steps := []struct {
		name string
		run  func() error
	}{
		{"etcd", func() (err error) { etcd, err = c.startEtcd(ctx); return err }},
		{"kube-apiserver", func() error { return c.startAPIServer(ctx, etcd) }},
		{"kube-controller-manager, kube-scheduler and kwok", func() error { return c.startControllers(ctx) }},
		{fmt.Sprintf("simulated nodes: %d", cfg.Nodes), func() error { return c.addNodes(ctx) }},
	}
	for _, step := range steps {
		if err := cfg.Console.Step(step.name, step.run); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) bin(name string) string { return filepath.Join(c.cfg.Bin, name) }

func (c *Cluster) startEtcd(ctx context.Context) (string, error) {
	data := filepath.Join(c.cfg.Dir, "etcd")
	var client string
	_, err := c.cfg.Launcher.Start(ctx, process.Service{
		ReadyWithin: readyWithin,
		Ports:       2,
		Spec: func(addresses []string) process.Spec {
			client = "http://" + addresses[0]
			peer := "http://" + addresses[1]
			return process.Spec{
				Name: "etcd", Path: c.bin("etcd"), Dir: c.cfg.Dir,
				Args: []string{
					"--name=local", "--data-dir=" + data,
					// Nothing here outlives the process, so nothing needs to reach the disk.
					"--unsafe-no-fsync",
					"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
					"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
					"--initial-cluster=local=" + peer,
					"--log-level=warn",
				},
			}
		},
		// A member that could not bind has recorded its peers already and would refuse other ports.
		Retry: func() error { return os.RemoveAll(data) },
		Ready: func(ctx context.Context) error {
			return process.Answers(ctx, http.DefaultClient, client+"/health", http.StatusOK)
		},
	})
	return client, err
}

func (c *Cluster) startAPIServer(ctx context.Context, etcd string) error {
	httpClient := &http.Client{Transport: c.files.adminTransport()}
	defer httpClient.CloseIdleConnections()
	var url string
	_, err := c.cfg.Launcher.Start(ctx, process.Service{
		ReadyWithin: readyWithin,
		Ports:       1,
		Spec: func(addresses []string) process.Spec {
			url = "https://" + addresses[0]
			return process.Spec{
				Name: "kube-apiserver", Path: c.bin("kube-apiserver"), Dir: c.cfg.Dir,
				Args: c.files.apiServerArgs(addresses[0], etcd),
			}
		},
		Ready: func(ctx context.Context) error { return process.Answers(ctx, httpClient, url+"/readyz", http.StatusOK) },
	})
	if err != nil {
		return err
	}
	c.Kubeconfig = filepath.Join(c.cfg.Dir, "admin.kubeconfig")
	if err := kube.WriteKubeconfig(c.Kubeconfig, kube.Access{
		Server: url, CA: c.cfg.Authority.PEM(), Certificate: c.files.admin.Certificate, Key: c.files.admin.Key,
	}); err != nil {
		return err
	}
	if c.REST, err = kube.LoadKubeconfig(c.Kubeconfig); err != nil {
		return err
	}
	c.Client, err = kube.NewClient(c.REST)
	return err
}

//go:embed kwok.yaml
var kwokConfig []byte

// startControllers starts the three programs that talk to the API server as administrator (system:masters): what RBAC allows
// the components of a cluster is not what this cluster is for.
func (c *Cluster) startControllers(ctx context.Context) error {
	schedulerConfig := filepath.Join(c.cfg.Dir, "scheduler.yaml")
	stages := filepath.Join(c.cfg.Dir, "kwok.yaml")
	if err := errors.Join(
		os.WriteFile(stages, kwokConfig, 0o600),
		os.WriteFile(schedulerConfig, []byte(fmt.Sprintf(schedulerConfigTemplate, c.Kubeconfig)), 0o600),
	); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	for name, args := range map[string][]string{
		"kube-controller-manager": c.files.controllerManagerArgs(c.Kubeconfig),
		"kube-scheduler":          {"--config=" + schedulerConfig, "--secure-port=0"},
		"kwok":                    {"--kubeconfig=" + c.Kubeconfig, "--config=" + stages},
	} {
		// Their readiness is what addNodes waits for: they serve no port of their own.
		if _, err := c.cfg.Launcher.Start(ctx, process.Service{
			Spec: func([]string) process.Spec {
				return process.Spec{Name: name, Path: c.bin(name), Dir: c.cfg.Dir, Args: args}
			},
		}); err != nil {
			return err
		}
	}
	return nil
}

// addNodes makes the nodes and waits until the controllers have done their first work: kwok has made the nodes ready, the
// controller-manager has removed their not-ready taint and made the default ServiceAccount, without which no Pod is admitted.
func (c *Cluster) addNodes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	names := make([]string, c.cfg.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("node-%d", i+1)
		if err := c.Client.Apply(ctx, node(names[i])); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := c.Client.WaitFor(ctx, kube.Ref{Kind: "Node", APIVersion: "v1", Name: name}, schedulable); err != nil {
			return err
		}
	}
	return c.Client.WaitFor(ctx, kube.Ref{Kind: "ServiceAccount", APIVersion: "v1", Namespace: "default", Name: "default"}, kube.Exists)
}

func node(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata": map[string]any{
			"name": name,
			"labels": map[string]any{
				"kubernetes.io/hostname": name,
				"kubernetes.io/os":       "linux",
				"kubernetes.io/arch":     "amd64",
			},
		},
	}}
}

func schedulable(o *unstructured.Unstructured) (string, bool) {
	if o == nil {
		return "node does not exist", false
	}
	if taints, _, _ := unstructured.NestedSlice(o.Object, "spec", "taints"); len(taints) > 0 {
		return fmt.Sprintf("node %s has taints %v", o.GetName(), taints), false
	}
	condition, ok := kube.Condition(o, "Ready")
	if !ok || condition.Status != "True" {
		return fmt.Sprintf("node %s is not ready", o.GetName()), false
	}
	return "", true
}
