package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// chart is a chart that a story publishes.
type chart struct {
	name, version string
	files         map[string]string // by path inside the chart, without Chart.yaml
}

// webChart is a chart with a Deployment, a Service and a ConfigMap.
func webChart(version string) chart {
	return chart{name: "web", version: version, files: map[string]string{
		"values.yaml": "replicas: 1\nmessage: hello\nnodeSelector: {}\n",
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}, version: {{ .Chart.Version | quote }}}
    spec:
      nodeSelector: {{- toYaml .Values.nodeSelector | nindent 8 }}
      containers:
        - name: web
          image: example.invalid/web:1
`,
		"templates/service.yaml": `apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
`,
		"templates/configmap.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  message: {{ .Values.message | quote }}
  version: {{ .Chart.Version | quote }}
`,
	}}
}

// with returns the chart with one file added or replaced.
func (c chart) with(path, content string) chart {
	files := map[string]string{path: content}
	for p, old := range c.files {
		if p != path {
			files[p] = old
		}
	}
	c.files = files
	return c
}

// tarball packages the chart; the same chart gives the same bytes.
func (c chart) tarball(t *testing.T) []byte {
	t.Helper()
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipped)
	files := c.with("Chart.yaml", fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\nappVersion: \"1\"\n", c.name, c.version)).files
	for _, path := range slices.Sorted(maps.Keys(files)) {
		content := files[path]
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: c.name + "/" + path, Mode: 0o644, Size: int64(len(content))}))
		_, err := archive.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	return buffer.Bytes()
}

// chartRepository is an HTTP chart repository that can be told to misbehave.
type chartRepository struct {
	*httptest.Server

	mu      sync.Mutex
	entries map[string][]map[string]any
	files   map[string][]byte
	fault   http.HandlerFunc // answers instead of the index; nil for none
}

func newChartRepository(t *testing.T, charts ...chart) *chartRepository {
	r := &chartRepository{entries: map[string][]map[string]any{}, files: map[string][]byte{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	for _, c := range charts {
		r.publish(t, c)
	}
	return r
}

// publish adds a chart with its true digest.
func (r *chartRepository) publish(t *testing.T, c chart) {
	t.Helper()
	body := c.tarball(t)
	sum := sha256.Sum256(body)
	r.publishAs(t, c, hex.EncodeToString(sum[:]), body)
}

// publishAs adds a chart with a digest and bytes that need not belong to it.
func (r *chartRepository) publishAs(t *testing.T, c chart, digest string, body []byte) {
	t.Helper()
	file := fmt.Sprintf("%s-%s.tgz", c.name, c.version)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files["/"+file] = body
	r.entries[c.name] = append(r.entries[c.name], map[string]any{
		"apiVersion": "v2", "name": c.name, "version": c.version, "appVersion": "1", "digest": digest,
		"created": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Format(time.RFC3339), "urls": []string{file},
	})
}

// misbehave lets handler answer instead of the index; nil mends it.
func (r *chartRepository) misbehave(handler http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = handler
}

func (r *chartRepository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case request.URL.Path == "/index.yaml" && r.fault != nil:
		r.fault(w, request)
	case request.URL.Path == "/index.yaml":
		index, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "entries": r.entries})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(index)
	case r.files[request.URL.Path] != nil:
		_, _ = w.Write(r.files[request.URL.Path])
	default:
		http.NotFound(w, request)
	}
}

// status answers every request with one status code.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// push publishes a chart into the suite's registry below a path, with the real helm CLI, and returns the URL of the
// repository.
func push(t *testing.T, path string, charts ...chart) string {
	t.Helper()
	url := "oci://" + suite.Info.Registry.Host + "/" + path
	for _, c := range charts {
		file := filepath.Join(t.TempDir(), c.name+"-"+c.version+".tgz")
		require.NoError(t, os.WriteFile(file, c.tarball(t), 0o600))
		helm(t, "push", file, url, "--plain-http")
	}
	return url
}

// helm runs the real helm CLI as the administrator and returns what it prints.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, "helm", args...)
}

// kubectl runs the real kubectl CLI as the administrator and returns what it prints.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, "kubectl", args...)
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := command(t, name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), output)
	return string(output)
}

// command describes a run of a CLI as the administrator.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(suite.Info.Bin, name), args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "KUBECONFIG="+suite.Info.Kubeconfig, "HOME="+home,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	return cmd
}
