package stack

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ketches/helm-operator/deploy/local/internal/kube"
)

const (
	// namespace and the two accounts are those of the shipped manifests.
	namespace         = "ketches"
	operatorAccount   = "helm-operator"
	chartcacheAccount = "chartcache"

	// tokenLifetime is longer than any local stack runs; the key that signed the token is gone with the stack.
	tokenLifetime = 365 * 24 * time.Hour
	// appliedWithin bounds all of installing.
	appliedWithin = 2 * time.Minute
)

// install applies CRDs and manifests and writes kubeconfigs of the two ServiceAccounts, so that programs outside the cluster
// work with exactly the rights that the manifests give.
func (s *Stack) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, appliedWithin)
	defer cancel()
	if err := s.cfg.Console.Step("CRDs established", func() error { return s.applyCRDs(ctx) }); err != nil {
		return err
	}
	return s.cfg.Console.Step("manifests applied in namespace "+namespace, func() error {
		if err := s.applyManifests(ctx); err != nil {
			return err
		}
		s.Info.Accounts = map[string]string{}
		for _, account := range []string{operatorAccount, chartcacheAccount} {
			path, err := s.writeAccount(ctx, account)
			if err != nil {
				return err
			}
			s.Info.Accounts[account] = path
		}
		return nil
	})
}

func (s *Stack) applyCRDs(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(s.cfg.Install, "crds", "*.yaml"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no CRDs in %s", filepath.Join(s.cfg.Install, "crds"))
	}
	slices.Sort(paths)
	crds, err := kube.ReadObjects(paths...)
	if err != nil {
		return err
	}
	if err := s.Cluster.Client.Apply(ctx, crds...); err != nil {
		return err
	}
	for _, crd := range crds {
		ref := kube.Ref{APIVersion: crd.GetAPIVersion(), Kind: crd.GetKind(), Name: crd.GetName()}
		if err := s.Cluster.Client.WaitFor(ctx, ref, kube.HasCondition("Established", "True", "")); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) applyManifests(ctx context.Context) error {
	objects, err := kube.ReadObjects(filepath.Join(s.cfg.Install, "manifests.yaml"))
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		// Simulated Pods would look like a running operator. The real programs run outside.
		if err := unstructured.SetNestedField(o.Object, int64(0), "spec", "replicas"); err != nil {
			return fmt.Errorf("scale %s down: %w", o.GetName(), err)
		}
	}
	home := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace},
	}}
	return s.Cluster.Client.Apply(ctx, append([]*unstructured.Unstructured{home}, objects...)...)
}

func (s *Stack) writeAccount(ctx context.Context, account string) (string, error) {
	token, err := s.Cluster.Client.Token(ctx, namespace, account, tokenLifetime)
	if err != nil {
		return "", err
	}
	path := s.path(account + ".kubeconfig")
	return path, kube.WriteKubeconfig(path, kube.Access{
		Server: s.Cluster.REST.Host, CA: s.authority.PEM(), Token: token, Namespace: namespace,
	})
}
