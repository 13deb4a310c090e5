package helm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// benchChart makes the four objects that figures about releases are given for.
func benchChart(t testing.TB, version string) []byte {
	return tarball(t, "bench", version, chartFiles{
		"values.yaml": "text: default\n",
		"templates/all.yaml": `apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
  labels: {version: {{ .Chart.Version | quote }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .Release.Name }}
  labels: {version: {{ .Chart.Version | quote }}}
spec:
  rules:
  - host: {{ .Release.Name }}.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: {{ .Release.Name }}, port: {number: 80}}}}]}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {version: {{ .Chart.Version | quote }}}
spec:
  replicas: 0
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}, text: {{ .Values.text | quote }}}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers: [{name: web, image: "example.com/web:1"}]
`,
	})
}

// startControllers runs the controllers of Deployments in a process of their own, so that their work is not counted.
func startControllers(b *testing.B) {
	b.Helper()
	config := filepath.Join(b.TempDir(), "kubeconfig")
	require.NoError(b, os.WriteFile(config, server.env.KubeConfig, 0o600))
	command := exec.CommandContext(b.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kube-controller-manager"), //nolint:gosec // ours
		"--kubeconfig="+config, "--controllers=deployment-controller,replicaset-controller", "--leader-elect=false",
		"--kube-api-qps=1000", "--kube-api-burst=1000", "--secure-port=0")
	require.NoError(b, command.Start())
	b.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended
		_ = command.Wait()
	})
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkReleases measures what one install and one upgrade of four small objects cost, the wait for readiness
// included, when many run at once: run it with -benchtime=100x. cpu-ms/op is the processor time of this process, the API
// server not included; allocations are those of one operation.
func BenchmarkReleases(b *testing.B) {
	server.once.Do(server.start)
	require.NoError(b, server.err)
	startControllers(b)
	client, err := New(Config{REST: server.rest})
	require.NoError(b, err)
	kube, err := kubernetes.NewForConfig(server.rest)
	require.NoError(b, err)
	namespace, err := kube.CoreV1().Namespaces().Create(b.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"},
	}, metav1.CreateOptions{})
	require.NoError(b, err)
	first, second := benchChart(b, "1.0.0"), benchChart(b, "1.1.0")
	wait := Waiting{Wait: true, Timeout: time.Minute}
	var installed, upgraded atomic.Int64
	target := func(number int64) Target {
		return Target{Name: fmt.Sprintf("r%d", number), Namespace: namespace.Name, Labels: map[string]string{"op": "1"}}
	}
	install := func() error {
		_, err := client.Install(b.Context(), InstallOptions{
			Target: target(installed.Add(1)), ChartSource: ChartSource{Chart: first, Values: map[string]any{"text": "one"}}, Waiting: wait,
		})
		return err
	}
	// Each release is upgraded once, so that all histories are equally long.
	upgrade := func() error {
		_, err := client.Upgrade(b.Context(), UpgradeOptions{
			Target:      target(upgraded.Add(1)),
			ChartSource: ChartSource{Chart: second, Values: map[string]any{"text": "two"}}, Waiting: wait, MaxHistory: 5,
		})
		return err
	}
	measure := func(b *testing.B, do func() error) {
		b.SetParallelism(8)
		b.ReportAllocs()
		b.ResetTimer()
		before := cpu(b)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := do(); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	}
	require.NoError(b, install()) // caches are warm, and the controllers work
	b.Run("install", func(b *testing.B) { measure(b, install) })
	b.Run("upgrade", func(b *testing.B) {
		for installed.Load() < upgraded.Load()+int64(b.N) {
			require.NoError(b, install())
		}
		measure(b, upgrade)
	})
}
