package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/ketches/helm-operator/deploy/local/internal/stack"
)

const sampleManifest = `# A repository and a release that follows it. Written for the stack that runs now.
apiVersion: v1
kind: Namespace
metadata:
  name: demo
---
apiVersion: helm-operator.ketches.cn/v1alpha1
kind: HelmRepository
metadata:
  name: samples
  namespace: demo
spec:
  url: %s
  interval: 10s
---
apiVersion: helm-operator.ketches.cn/v1alpha1
kind: HelmRelease
metadata:
  name: webapp
  namespace: demo
spec:
  chart:
    name: webapp
    version: ^1.0.0
    repository:
      name: samples
  values: |
    replicas: 2
`

// writeSample writes the manifest that `local up` suggests to apply and returns its path.
func (a *app) writeSample(info stack.Info) (string, error) {
	path := filepath.Join(a.rundir().RunFolder(info.Name), "sample.yaml")
	if err := os.WriteFile(path, []byte(fmt.Sprintf(sampleManifest, info.Charts.URL)), 0o644); err != nil {
		return "", fmt.Errorf("write sample: %w", err)
	}
	return path, nil
}
