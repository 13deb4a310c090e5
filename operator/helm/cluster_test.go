package helm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// apiServer is a real API server with no controllers behind it, started by the first test that needs it.
type apiServer struct {
	once sync.Once
	env  *envtest.Environment
	rest *rest.Config
	err  error
}

var server apiServer

func TestMain(m *testing.M) {
	code := m.Run()
	if server.env != nil {
		if err := server.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}
	os.Exit(code)
}

func (s *apiServer) start() {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		s.err = errors.New("KUBEBUILDER_ASSETS is not set: it must name the folder with etcd, kube-apiserver and kubectl")
		return
	}
	s.env = &envtest.Environment{ControlPlaneStartTimeout: time.Minute, ControlPlaneStopTimeout: time.Minute}
	// Room for the Services of benchmarks.
	s.env.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	s.rest, s.err = s.env.Start()
}

// fixture is a namespace of its own in the cluster, and clients for it.
type fixture struct {
	t         *testing.T
	namespace string
	helm      *Client
	kube      kubernetes.Interface
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureWith(t, func(*Config) {})
}

// newFixtureWith is newFixture with another configuration of the client.
func newFixtureWith(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	server.once.Do(server.start)
	require.NoError(t, server.err)
	config := Config{REST: rest.CopyConfig(server.rest), Poll: 50 * time.Millisecond}
	change(&config)
	client, err := New(config)
	require.NoError(t, err)
	kube, err := kubernetes.NewForConfig(server.rest)
	require.NoError(t, err)
	namespace, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "helm-"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return &fixture{t: t, namespace: namespace.Name, helm: client, kube: kube}
}

// target names a release of the fixture, and the operation that works on it.
func (f *fixture) target(name, operation string) Target {
	return Target{Name: name, Namespace: f.namespace, Labels: map[string]string{"owner-hash": "abc", "op": operation}}
}

// last returns the newest record, which must exist.
func (f *fixture) last(name string) Release {
	f.t.Helper()
	rel, found, err := f.helm.Last(f.t.Context(), f.namespace, name)
	require.NoError(f.t, err)
	require.True(f.t, found)
	return rel
}

// data returns the data of a ConfigMap, nil when there is none.
func (f *fixture) data(name string) map[string]string {
	f.t.Helper()
	list, err := f.kube.CoreV1().ConfigMaps(f.namespace).List(f.t.Context(), metav1.ListOptions{})
	require.NoError(f.t, err)
	for i := range list.Items {
		if list.Items[i].Name == name {
			return list.Items[i].Data
		}
	}
	return nil
}

// eventually waits for something that another goroutine or the API server brings about.
func (f *fixture) eventually(what string, check func(ctx context.Context) bool) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return check(f.t.Context()) }, time.Minute, 20*time.Millisecond, what)
}

// wantError returns err as an *Error.
func wantError(t *testing.T, err error) *Error {
	t.Helper()
	var out *Error
	require.ErrorAs(t, err, &out)
	return out
}

// chartFiles are the files of a chart by path, without the chart's own folder.
type chartFiles map[string]string

// tarball returns a chart called name with a version and files.
func tarball(t testing.TB, name, version string, files chartFiles) []byte {
	t.Helper()
	all := chartFiles{"Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\nappVersion: \"9\"\n", name, version)}
	maps.Copy(all, files)
	var buf bytes.Buffer
	zipper := gzip.NewWriter(&buf)
	writer := tar.NewWriter(zipper)
	for _, file := range slices.Sorted(maps.Keys(all)) {
		content := []byte(all[file])
		require.NoError(t, writer.WriteHeader(&tar.Header{Name: path.Join(name, file), Mode: 0o600, Size: int64(len(content))}))
		_, err := writer.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	require.NoError(t, zipper.Close())
	return buf.Bytes()
}

// configMap is a template of a ConfigMap with what the value "text" says.
const configMap = `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-config
data:
  text: {{ .Values.text | quote }}
`

// deployment is a template of a Deployment, which never gets ready where no controllers run.
const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web}]}
`

// simpleChart makes one ConfigMap.
func simpleChart(t testing.TB, version string) []byte {
	return tarball(t, "simple", version, chartFiles{
		"values.yaml":           "text: default\n",
		"templates/config.yaml": configMap,
	})
}

// stuckChart is simpleChart with a Deployment that never gets ready.
func stuckChart(t testing.TB, version string) []byte {
	return tarball(t, "simple", version, chartFiles{
		"values.yaml":           "text: default\n",
		"templates/config.yaml": strings.Replace(configMap, "-config", "-extra", 1),
		"templates/web.yaml":    deployment,
	})
}
