package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/client"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
	"github.com/ketches/helm-operator/services/internal/logging"
)

// chartTarball is a chart with a name and version and nothing else.
func chartTarball(t *testing.T, name, version string) []byte {
	t.Helper()
	out := &bytes.Buffer{}
	zipped := gzip.NewWriter(out)
	archive := tar.NewWriter(zipped)
	content := fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: name + "/Chart.yaml", Mode: 0o644, Size: int64(len(content))}))
	_, err := archive.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	return out.Bytes()
}

// repository is an HTTP chart repository with one chart, behind basic authentication.
type repository struct {
	*httptest.Server
	tarball []byte
	down    atomic.Bool
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{tarball: chartTarball(t, "web", "1.2.3")}
	sum := sha256.Sum256(r.tarball)
	index := fmt.Sprintf("apiVersion: v1\nentries:\n  web:\n  - apiVersion: v2\n    name: web\n    version: 1.2.3\n    digest: %s\n    urls:\n    - web-1.2.3.tgz\n", hex.EncodeToString(sum[:]))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		user, password, _ := request.BasicAuth()
		switch {
		case r.down.Load():
			w.WriteHeader(http.StatusInternalServerError)
		case user != "user" || password != "hunter2":
			w.WriteHeader(http.StatusUnauthorized)
		case request.URL.Path == "/index.yaml":
			_, _ = io.WriteString(w, index)
		case request.URL.Path == "/web-1.2.3.tgz":
			_, _ = w.Write(r.tarball)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// running is a chartcache process.
type running struct {
	addresses map[string]string // by server
	stop      func() error
	logs      *bytes.Buffer // complete after stop
}

// startProcess runs chartcache with flags until stop, and returns when it is ready.
func startProcess(t *testing.T, args ...string) *running {
	t.Helper()
	o, err := parse(t, append([]string{
		"--grpc-bind-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0",
	}, args...)...)
	require.NoError(t, err)
	logs, writer := io.Pipe()
	log, err := logging.New(writer, logging.Options{})
	require.NoError(t, err)
	p, err := newProcess(o, log)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := p.run(ctx)
		_ = writer.Close()
		ended <- err
	}()
	r := &running{addresses: map[string]string{}, logs: &bytes.Buffer{}}
	ready, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		lines := bufio.NewScanner(io.TeeReader(logs, r.logs))
		for lines.Scan() {
			var line struct{ Message, Server, Address string }
			if json.Unmarshal(lines.Bytes(), &line) != nil {
				continue
			}
			if line.Message == "listening" {
				r.addresses[line.Server] = line.Address
			}
			if line.Message == "running" {
				close(ready)
			}
		}
	}()
	stopped := false
	r.stop = func() error {
		stopped = true
		cancel()
		err := <-ended
		<-drained
		return err
	}
	t.Cleanup(func() {
		if !stopped {
			require.NoError(t, r.stop())
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		require.NoError(t, err)
		require.FailNow(t, "the process ended")
	case <-time.After(time.Minute):
		require.FailNow(t, "the process is not ready")
	}
	return r
}

func (r *running) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Target: r.addresses["grpc"]})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func writeRepositories(t *testing.T, url, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repositories.yaml")
	content := fmt.Sprintf("repositories:\n- name: charts\n  url: %s\n  username: user\n  password: %s\n", url, password)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestServeARepositoriesFileWithoutKubernetes(t *testing.T) {
	upstream := newRepository(t)
	file, data := writeRepositories(t, upstream.URL, "hunter2"), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	charts := client.Named("default", "charts")

	first := startProcess(t, "--data-dir", data, "--repositories", file)
	for _, path := range []string{"/healthz", "/readyz"} {
		code, body := get(t, "http://"+first.addresses["probes"]+path)
		assert.Equal(t, http.StatusOK, code, "%s: %s", path, body)
	}
	c := first.client(t)
	synced, err := c.Sync(ctx, charts)
	require.NoError(t, err)
	assert.Equal(t, chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED, synced.Repository.State)
	repositories, err := c.ListRepositories(ctx, "")
	require.NoError(t, err)
	require.Len(t, repositories, 1)
	list, err := c.ListCharts(ctx, charts, client.ListChartsOptions{})
	require.NoError(t, err)
	require.Len(t, list.Charts, 1)
	assert.Equal(t, "web", list.Charts[0].Name)
	versions, err := c.ListVersions(ctx, charts, "web", client.ListVersionsOptions{})
	require.NoError(t, err)
	require.Len(t, versions.Versions, 1)

	resolved, err := c.Resolve(ctx, client.ChartRequest{Source: charts, Chart: "web", Version: "^1"})
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", resolved.Version.Version)
	got := &bytes.Buffer{}
	_, err = c.Download(ctx, client.ChartRequest{Source: charts, Chart: "web", Digest: resolved.Version.Digest}, got)
	require.NoError(t, err)
	assert.Equal(t, upstream.tarball, got.Bytes())

	_, metrics := get(t, "http://"+first.addresses["metrics"]+"/metrics")
	for _, sample := range []string{
		`helm_repository_sync_total{namespace="default",repository="charts",status="success",type="helm"}`,
		`helm_repository_charts_discovered{namespace="default",repository="charts"} 1`,
		`helm_repository_sync_duration_seconds_bucket{namespace="default",repository="charts",type="helm",le="120"}`,
		`chartcache_blobs 1`,
		`chartcache_grpc_handling_seconds_count{code="OK",method="ResolveVersion"} 1`,
		`chartcache_upstream_requests_total{code="200",host=`,
		`chartcache_build_info{`,
	} {
		assert.Contains(t, metrics, sample)
	}
	require.NoError(t, first.stop())
	assert.NotContains(t, first.logs.String(), "hunter2")

	// A restart serves what is on disk, also while upstream is down.
	upstream.down.Store(true)
	second := startProcess(t, "--data-dir", data, "--repositories", file)
	got.Reset()
	_, err = second.client(t).Download(ctx, client.ChartRequest{Source: charts, Chart: "web"}, got)
	require.NoError(t, err)
	assert.Equal(t, upstream.tarball, got.Bytes())
}

func TestWatchersSeeTheStateAndItsChanges(t *testing.T) {
	upstream := newRepository(t)
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", writeRepositories(t, upstream.URL, "hunter2"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	charts, synced := false, false
	_ = p.client(t).Watch(ctx, func(event client.Event) {
		switch e := event.(type) {
		case *client.Changed:
			charts = charts || e.Repository.ChartCount == 1
		case *client.Synced:
			synced = true
		case *client.Down:
			assert.Fail(t, "the connection broke", "%v", e.Err)
		}
		if charts && synced {
			cancel()
		}
	})
	assert.True(t, charts)
	assert.True(t, synced)
}

func TestAWatchThatLosesItsConnectionGoesOnWhereItWas(t *testing.T) {
	upstream := newRepository(t)
	file := writeRepositories(t, upstream.URL, "hunter2")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	// One more, of which there is never any news: it must not pass for deleted.
	content = append(content, "- name: silent\n  url: https://charts.example.com/?query\n"...)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", file)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connections := make(chan net.Conn, 10)
	var cut atomic.Bool
	watcher, err := client.New(client.Config{Target: p.addresses["grpc"], Dialer: func(ctx context.Context, address string) (net.Conn, error) {
		if cut.Load() {
			return nil, errors.New("the line is cut")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			connections <- conn
		}
		return conn, err
	}})
	require.NoError(t, err)
	defer watcher.Close()
	other := p.client(t)
	// sync makes news, which the watch must tell; it returns when that was.
	sync := func() time.Time {
		synced, err := other.Sync(ctx, client.Named("default", "charts"))
		assert.NoError(t, err)
		return synced.Repository.LastCheckTime
	}
	words, awaited, told := []string{}, time.Time{}, 0
	_ = watcher.Watch(ctx, func(event client.Event) {
		if ctx.Err() != nil {
			return
		}
		switch e := event.(type) {
		case *client.Up:
			words = append(words, "up")
			if len(words) > 1 {
				awaited = sync()
			}
		case *client.Synced:
			words = append(words, "synced")
			sync()
			cut.Store(true)
			assert.NoError(t, (<-connections).Close())
		case *client.Down:
			words = append(words, "down")
			cut.Store(false)
		case *client.Deleted:
			words = append(words, "deleted "+e.Source.Name)
		case *client.Changed:
			if awaited.IsZero() || e.Repository.LastCheckTime.Before(awaited) {
				return
			}
			if told++; told == 2 {
				cancel()
				return
			}
			awaited = sync()
		}
	})
	assert.Equal(t, []string{"up", "synced", "down", "up"}, words, "a resumed watch tells what is new and nothing else")
	assert.Equal(t, 2, told)
}

func TestRefusedCredentialsAreTheStateOfTheRepository(t *testing.T) {
	upstream := newRepository(t)
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", writeRepositories(t, upstream.URL, "wrong"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := p.client(t).Sync(ctx, client.Named("default", "charts"))
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, client.ReasonOf(err), "%v", err)
	_, err = p.client(t).Resolve(ctx, client.ChartRequest{Source: client.Named("default", "charts"), Chart: "web"})
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED, client.ReasonOf(err), "%v", err)
	_, err = p.client(t).GetRepository(ctx, client.Named("default", "gone"))
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND, client.ReasonOf(err), "%v", err)
}

func TestAProcessThatCannotWorkEndsWithAnError(t *testing.T) {
	o, err := parse(t, "--data-dir", t.TempDir(), "--repositories", filepath.Join(t.TempDir(), "gone.yaml"),
		"--grpc-bind-address=127.0.0.1:0", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	require.NoError(t, err)
	log, err := logging.New(io.Discard, logging.Options{})
	require.NoError(t, err)
	p, err := newProcess(o, log)
	require.NoError(t, err)
	assert.ErrorIs(t, p.run(t.Context()), os.ErrNotExist)
}

func TestASourceThatNeverListsCanBeStopped(t *testing.T) {
	part := sourcePart(func(ctx context.Context, _ func()) error {
		<-ctx.Done()
		return nil
	}, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, part.Start(ctx), context.Canceled)
}
