// Package demo shows what the operator does, step by step, on a running stack: what a newcomer would try, without typing.
//
// It depends on kube and charts. It must check what it shows: a step that prints a tick has seen it happen.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ketches/helm-operator/deploy/local/internal/charts"
	"github.com/ketches/helm-operator/deploy/local/internal/console"
	"github.com/ketches/helm-operator/deploy/local/internal/kube"
)

const (
	// namespace holds the repositories and releases; target is where the web application goes, made by its release.
	namespace = "demo"
	target    = "demo-web"
	apiGroup  = "helm-operator.ketches.cn/v1alpha1"

	// stepWithin bounds each step. All together take less.
	stepWithin = 90 * time.Second
)

// Config is what the demo works on.
type Config struct {
	// Client reaches the stack's API server.
	Client *kube.Client
	// Publisher publishes charts in the stack.
	Publisher charts.Publisher
	// Samples is the folder of the sample charts webapp and jobs.
	Samples string
	// ChartsURL and OCIURL are the addresses of the two repositories.
	ChartsURL, OCIURL string
	// Kubeconfig is for the helm command.
	Kubeconfig string
	// Console receives one line for each step.
	Console *console.Console
}

// demo is one showing.
type demo struct {
	Config
}

// step is one thing to show. Its note, if any, is printed with it.
type step struct {
	title string
	run   func(context.Context) (note string, err error)
}

// Show runs all steps and stops at the first one that fails.
func Show(ctx context.Context, cfg Config) error {
	d := demo{cfg}
	for _, s := range d.steps() {
		err := cfg.Console.StepNote(s.title, func() (string, error) {
			limit := fmt.Errorf("not within %s", stepWithin)
			ctx, cancel := context.WithTimeoutCause(ctx, stepWithin, limit)
			defer cancel()
			return s.run(ctx)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(s.title), err)
		}
	}
	return nil
}

func (d demo) steps() []step {
	return []step{
		{"charts webapp 1.0.0 (HTTP) and jobs 1.0.0 (OCI) published", d.publish},
		{"HelmRepository http and oci, HelmRelease web and batch applied", d.apply},
		{"HelmRepository http is Ready", d.ready(repository("http"))},
		{"HelmRepository oci is Ready", d.ready(repository("oci"))},
		{"HelmRelease web (webapp ^1.0.0 over HTTP) is Ready", d.ready(release("web"))},
		{"  its Deployment is available in the new namespace " + target, d.available},
		{"HelmRelease batch (jobs 1.x over OCI: CRD, hooks, Job) is Ready", d.ready(release("batch"))},
		{"webapp 1.1.0 published; nobody tells the operator", d.publishNewer},
		{"  the upgrade to 1.1.0 arrives by itself", d.upgraded},
		{"a bad upgrade: no node has the label that web now wants", d.breakRelease},
		{"  it is rolled back, and Ready says why", d.rolledBack},
		{"  the Deployment of before is available", d.available},
		{"helm list -A shows both releases", d.helmList},
		{"HelmRelease web deleted", d.remove},
		{"  its objects are gone", d.removed},
	}
}

func repository(name string) kube.Ref {
	return kube.Ref{APIVersion: apiGroup, Kind: "HelmRepository", Namespace: namespace, Name: name}
}

func release(name string) kube.Ref {
	return kube.Ref{APIVersion: apiGroup, Kind: "HelmRelease", Namespace: namespace, Name: name}
}

func (d demo) publish(ctx context.Context) (string, error) {
	return "", errors.Join(
		d.Publisher.ToFolder(ctx, filepath.Join(d.Samples, "webapp"), "1.0.0"),
		d.Publisher.ToRegistry(ctx, filepath.Join(d.Samples, "jobs"), "1.0.0"),
	)
}

//go:embed manifests.yaml
var manifests string

func (d demo) apply(ctx context.Context) (string, error) {
	var text bytes.Buffer
	if err := template.Must(template.New("manifests").Parse(manifests)).Execute(&text, d.Config); err != nil {
		return "", fmt.Errorf("fill in manifests: %w", err)
	}
	objects, err := kube.ParseObjects(text.Bytes())
	if err != nil {
		return "", err
	}
	return "", d.Client.Apply(ctx, objects...)
}

func (d demo) ready(ref kube.Ref) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		var message string
		err := d.Client.WaitFor(ctx, ref, func(o *unstructured.Unstructured) (string, bool) {
			missing, ok := kube.HasCondition("Ready", "True", "")(o)
			if ok {
				ready, _ := kube.Condition(o, "Ready")
				message = ready.Message
			}
			return missing, ok
		})
		return message, err
	}
}

// deployment is the web application's. The release is named after the HelmRelease.
func deployment() kube.Ref {
	return kube.Ref{APIVersion: "apps/v1", Kind: "Deployment", Namespace: target, Name: "web"}
}

// available wants the Deployment as the first values say: two Pods, all of them current and available, on any node.
func (d demo) available(ctx context.Context) (string, error) {
	return "2 Pods", d.Client.WaitFor(ctx, deployment(), func(o *unstructured.Unstructured) (string, bool) {
		if missing, ok := kube.HasCondition("Available", "True", "")(o); !ok {
			return missing, false
		}
		if selector, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec", "nodeSelector"); len(selector) > 0 {
			return fmt.Sprintf("its Pods want nodes with %v", selector), false
		}
		updated, _, _ := unstructured.NestedInt64(o.Object, "status", "updatedReplicas")
		available, _, _ := unstructured.NestedInt64(o.Object, "status", "availableReplicas")
		if updated != 2 || available != 2 {
			return fmt.Sprintf("%d Pods are current and %d available, want 2", updated, available), false
		}
		return "", true
	})
}

func (d demo) publishNewer(ctx context.Context) (string, error) {
	return "", d.Publisher.ToFolder(ctx, filepath.Join(d.Samples, "webapp"), "1.1.0")
}

func (d demo) upgraded(ctx context.Context) (string, error) {
	return "revision 2", d.Client.WaitFor(ctx, release("web"), func(o *unstructured.Unstructured) (string, bool) {
		if missing, ok := kube.HasCondition("Ready", "True", "")(o); !ok {
			return missing, false
		}
		if chart, _, _ := unstructured.NestedString(o.Object, "status", "helmRelease", "chart"); chart != "webapp-1.1.0" {
			return "its chart is " + chart, false
		}
		return "", true
	})
}

func (d demo) breakRelease(ctx context.Context) (string, error) {
	return "", d.Client.Merge(ctx, release("web"),
		[]byte(`{"spec": {"values": "replicas: 2\nnodeSelector:\n  disk: holographic\n"}}`))
}

func (d demo) rolledBack(ctx context.Context) (string, error) {
	var message string
	err := d.Client.WaitFor(ctx, release("web"), func(o *unstructured.Unstructured) (string, bool) {
		missing, ok := kube.HasCondition("Ready", "False", "RolledBack")(o)
		if ok {
			ready, _ := kube.Condition(o, "Ready")
			message = ready.Message
		}
		return missing, ok
	})
	if err == nil && message == "" {
		err = errors.New("condition Ready has no message")
	}
	return "\n      " + message, err
}

// helmList asks the real helm command, which knows nothing of the operator.
func (d demo) helmList(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, d.Publisher.Helm, "list", "--all-namespaces", "--kubeconfig", d.Kubeconfig)
	cmd.Env = []string{"HOME=" + d.Publisher.Home}
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("helm list: %w: %s", err, output)
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	for i := range lines { // helm pads its last column
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	for _, name := range []string{"web", "batch"} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, name+" ") || strings.HasPrefix(line, name+"\t") }) {
			return "", fmt.Errorf("helm list has no release %s:\n%s", name, output)
		}
	}
	return "\n      " + strings.Join(lines, "\n      "), nil
}

func (d demo) remove(ctx context.Context) (string, error) {
	if err := d.Client.Delete(ctx, release("web")); err != nil {
		return "", err
	}
	return "", d.Client.WaitFor(ctx, release("web"), kube.Gone)
}

func (d demo) removed(ctx context.Context) (string, error) {
	for _, kind := range []string{"Service", "ConfigMap", "ServiceAccount"} {
		if err := d.Client.WaitFor(ctx, kube.Ref{APIVersion: "v1", Kind: kind, Namespace: target, Name: "web"}, kube.Gone); err != nil {
			return "", err
		}
	}
	return "", d.Client.WaitFor(ctx, deployment(), kube.Gone)
}
