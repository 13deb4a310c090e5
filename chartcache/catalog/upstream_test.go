package catalog

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/upstream"
)

// httpFixture is a real HTTP repository and a catalog that reads it; both use the real clock and network.
type httpFixture struct {
	*Catalog
	server *httptest.Server

	mu       sync.Mutex
	requests []string
}

func (f *httpFixture) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func newHTTPFixture(t *testing.T) *httpFixture {
	t.Helper()
	f := &httpFixture{}
	data := tarball(t, "web", "1.2.3", "hello")
	index := "apiVersion: v1\nentries:\n  web:\n  - name: web\n    version: 1.2.3\n    urls: [charts/web-1.2.3.tgz]\n    digest: " +
		strings.TrimPrefix(digestOf(data), "sha256:") + "\n"
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests = append(f.requests, r.URL.Path+" "+r.Header.Get("If-None-Match"))
		f.mu.Unlock()
		if user, password, _ := r.BasicAuth(); user != "u" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/repo/index.yaml":
			w.Header().Set("ETag", `"one"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(index))
		case "/repo/charts/web-1.2.3.tgz":
			_, _ = w.Write(data)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(f.server.Close)
	blobs, err := blob.Open(blob.Config{Dir: filepath.Join(t.TempDir(), "blobs")})
	require.NoError(t, err)
	t.Cleanup(func() { _ = blobs.Close() })
	pool := upstream.NewPool(nil)
	t.Cleanup(pool.CloseIdleConnections)
	f.Catalog, err = New(Config{Dir: t.TempDir(), Blobs: blobs, NewUpstream: pool.New})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() { cancel(); assert.NoError(t, <-done) })
	return f
}

func (f *httpFixture) put(password string) Source {
	spec := Spec{
		Ref: Ref{Namespace: "default", Name: "real"}, URL: f.server.URL + "/repo", Interval: time.Hour, CredentialsID: password,
		Credentials: func(context.Context) (upstream.Credentials, error) {
			return upstream.Credentials{Username: "u", Password: password}, nil
		},
	}
	f.Put(spec)
	return Source{Ref: &spec.Ref}
}

func TestARealHTTPRepositoryIsReadEndToEnd(t *testing.T) {
	f := newHTTPFixture(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	source := f.put("wrong")
	_, _, err := f.Sync(ctx, source)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "wrong")
	state, err := f.Repository(ctx, source)
	require.NoError(t, err)
	assert.Equal(t, "ERROR_REASON_UPSTREAM_UNAUTHORIZED", state.LastError.Reason.String())

	source = f.put("secret")
	resolved, err := f.Resolve(ctx, source, ResolveQuery{Chart: "web", Version: "~1.2"})
	require.NoError(t, err)
	reader, info, err := f.Fetch(ctx, source, resolved)
	require.NoError(t, err)
	defer func() { _ = reader.Close() }()
	data, err := io.ReadAll(reader)
	require.NoError(t, err)
	assert.Equal(t, resolved.Entry.Digest, digestOf(data))
	assert.Equal(t, int64(len(data)), info.SizeBytes)

	before := len(f.seen())
	_, changed, err := f.Sync(ctx, source)
	require.NoError(t, err)
	assert.False(t, changed)
	assert.Equal(t, []string{`/repo/index.yaml "one"`}, f.seen()[before:], "an unchanged repository costs one conditional request")
}

// registry serves the part of the distribution API that reading needs, for one chart.
func registry(t *testing.T, data []byte) *httptest.Server {
	t.Helper()
	config := []byte(`{"name":"web","version":"1.0.0+b1"}`)
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"` + digestOf(config) + `","size":35},` +
		`"layers":[{"mediaType":"application/vnd.cncf.helm.chart.content.v1.tar+gzip","digest":"` + digestOf(data) + `","size":` +
		strconv.Itoa(len(data)) + `}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v2/")
		switch path {
		case "":
		case "charts/web/tags/list":
			_, _ = io.WriteString(w, `{"name":"charts/web","tags":["1.0.0_b1","latest"]}`)
		case "charts/web/manifests/1.0.0_b1", "charts/web/manifests/" + digestOf([]byte(manifest)):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", digestOf([]byte(manifest)))
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(manifest))
		case "charts/web/blobs/" + digestOf(data):
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestARealRegistryIsReadEndToEnd(t *testing.T) {
	f := newHTTPFixture(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	data := tarball(t, "web", "1.0.0+b1", "hello")
	server := registry(t, data)
	spec := Spec{Ref: Ref{Namespace: "default", Name: "oci"}, URL: "oci://" + strings.TrimPrefix(server.URL, "http://") + "/charts", PlainHTTP: true}
	f.Put(spec)
	source := Source{Ref: &spec.Ref}
	resolved, err := f.Resolve(ctx, source, ResolveQuery{Chart: "web", Version: ">0"})
	require.NoError(t, err)
	assert.Equal(t, "1.0.0+b1", resolved.Entry.Version)
	assert.Equal(t, digestOf(data), resolved.Entry.Digest)
	reader, info, err := f.Fetch(ctx, source, resolved)
	require.NoError(t, err)
	assert.NoError(t, reader.Close())
	assert.Equal(t, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", info.MediaType)
	_, err = f.Resolve(ctx, source, ResolveQuery{Chart: "none"})
	assertReason(t, chartNotFound, err)
}
