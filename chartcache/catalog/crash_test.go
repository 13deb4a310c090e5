package catalog

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
	"github.com/ketches/helm-operator/chartcache/upstream"
)

// What a child process of this test binary is told.
const (
	childWork = "CATALOG_TEST_WORK" // "sync" or "fetch"; empty for the tests themselves
	childDir  = "CATALOG_TEST_DIR"
	childURL  = "CATALOG_TEST_URL"
	childStep = "CATALOG_TEST_STEP" // the step at which it kills itself
)

func TestMain(m *testing.M) {
	if work := os.Getenv(childWork); work != "" {
		if err := crashChild(work); err != nil {
			fmt.Println("failed", err)
		}
		kill()
	}
	os.Exit(m.Run())
}

// kill ends the process as kill -9 does.
func kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// crashChild opens a folder, works, and kills itself before a step. It prints the operations it reaches, and what it is
// answered.
func crashChild(work string) error {
	last, err := strconv.ParseInt(os.Getenv(childStep), 10, 64)
	if err != nil {
		return err
	}
	var armed atomic.Bool
	var step atomic.Int64
	c, blobs, err := openCrashed(os.Getenv(childDir), disk.Hooks{Step: func(op, _ string) error {
		if armed.Load() {
			fmt.Println("step", op)
			if step.Add(1) > last {
				kill()
			}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	defer func() { _ = blobs.Close() }()
	armed.Store(true)
	c.Put(crashSpec(os.Getenv(childURL)))
	go func() { _ = c.Run(context.Background()) }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	source := ByRef("default", "repo")
	if work == "sync" {
		state, _, err := c.Sync(ctx, source)
		fmt.Println("answered", state.Revision.Name)
		return err
	}
	resolved, err := c.Resolve(ctx, source, ResolveQuery{Chart: "web", Version: "2.0.0"})
	if err != nil {
		return err
	}
	fmt.Println("answered", resolved.Entry.Digest)
	_, _, err = c.Fetch(ctx, source, resolved)
	return err
}

func crashSpec(url string) Spec {
	return Spec{Ref: Ref{Namespace: "default", Name: "repo"}, URL: url, Generation: 1, Interval: time.Hour, Timeout: time.Minute}
}

// crashStoreBytes holds one tarball of the crash tests, not two.
const crashStoreBytes = 300

func openCrashed(dir string, hooks disk.Hooks) (*Catalog, *blob.Store, error) {
	blobs, err := blob.Open(blob.Config{Dir: filepath.Join(dir, "blobs"), MaxBytes: crashStoreBytes, Disk: hooks})
	if err != nil {
		return nil, nil, err
	}
	pool := upstream.NewPool(nil)
	c, err := New(Config{
		Dir: filepath.Join(dir, "catalog"), Blobs: blobs, NewUpstream: pool.New, Disk: hooks,
		Rand: func() float64 { return 0.5 }, // no jitter
	})
	return c, blobs, err
}

// crashServer is a repository whose index and tarballs a test changes.
type crashServer struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
}

func newCrashServer(t *testing.T) *crashServer {
	t.Helper()
	s := &crashServer{files: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		data, ok := s.files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s
}

// publish makes the index list versions of chart web, without digests.
func (s *crashServer) publish(t *testing.T, versions ...string) {
	t.Helper()
	var index strings.Builder
	index.WriteString("apiVersion: v1\nentries:\n  web:\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range versions {
		fmt.Fprintf(&index, "  - name: web\n    version: %s\n    urls: [web-%s.tgz]\n", v, v)
		if _, ok := s.files["web-"+v+".tgz"]; !ok {
			s.files["web-"+v+".tgz"] = tarball(t, "web", v, "first")
		}
	}
	s.files["index.yaml"] = []byte(index.String())
}

// replace gives a version another tarball and returns the digest of the one before.
func (s *crashServer) replace(t *testing.T, version string) (before string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	before = digestOf(s.files["web-"+version+".tgz"])
	s.files["web-"+version+".tgz"] = tarball(t, "web", version, "second")
	return before
}

func (s *crashServer) restore(t *testing.T, version string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files["web-"+version+".tgz"] = tarball(t, "web", version, "first")
}

// running opens a folder and runs it until the test, or f, ends.
func running(t *testing.T, dir string, f func(c *Catalog)) {
	t.Helper()
	c, blobs, err := openCrashed(dir, disk.Hooks{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		assert.NoError(t, <-done)
		assert.NoError(t, blobs.Close())
	}()
	f(c)
}

// crash runs a child that kills itself before step n, and returns the operations it reached and what it was answered.
func crash(t *testing.T, work, dir, url string, n int) (ops []string, answered string, finished bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), childWork+"="+work, childDir+"="+dir, childURL+"="+url, childStep+"="+strconv.Itoa(n))
	out, err := child.CombinedOutput()
	require.ErrorContains(t, err, "killed", "%s", out)
	for line := range strings.Lines(string(out)) {
		switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "step":
			ops = append(ops, rest)
		case "answered":
			answered = rest
		default:
			require.Fail(t, "the child failed", "%s", out)
		}
	}
	return ops, answered, len(ops) <= n
}

// filesBelow lists files by name.
func filesBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	return names
}

func withSuffix(names []string, suffix string) (found []string) {
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
	}
	return found
}

// afterCrash opens a folder as the next process does, and returns what is served before any sync.
func afterCrash(t *testing.T, dir, url string) State {
	t.Helper()
	c, blobs, err := openCrashed(dir, disk.Hooks{})
	require.NoError(t, err)
	c.Put(crashSpec(url))
	state, err := c.Repository(context.Background(), ByRef("default", "repo"))
	require.NoError(t, err)
	generations := 0
	if !state.Revision.IsZero() {
		generations = 1
		list, err := c.Versions(context.Background(), ByRef("default", "repo"), VersionQuery{Chart: "web"})
		require.NoError(t, err)
		assert.Len(t, list.Versions, int(state.Versions))
	}
	assert.Len(t, withSuffix(filesBelow(t, filepath.Join(dir, "catalog")), indexSuffix), generations, "no orphan")
	for _, folder := range []string{"catalog", "blobs"} {
		assert.Empty(t, filesBelow(t, filepath.Join(dir, folder, tempFolder)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, c.Run(ctx))
	require.NoError(t, blobs.Close())
	return state
}

func TestKilledAtAnyStepOfASyncLosesNothing(t *testing.T) {
	for name, first := range map[string]bool{"the first sync": true, "a sync that changes the index": false} {
		t.Run(name, func(t *testing.T) {
			server := newCrashServer(t)
			base := t.TempDir()
			var before State
			if !first {
				server.publish(t, "1.0.0")
				running(t, base, func(c *Catalog) {
					c.Put(crashSpec(server.URL))
					resolved, err := c.Resolve(context.Background(), ByRef("default", "repo"), ResolveQuery{Chart: "web"})
					require.NoError(t, err)
					before, err = c.Repository(context.Background(), ByRef("default", "repo"))
					require.NoError(t, err)
					require.Equal(t, "1.0.0", resolved.Entry.Version)
				})
			}
			server.publish(t, "1.0.0", "2.0.0")
			seen := map[string]bool{}
			for n := 0; ; n++ {
				dir := filepath.Join(t.TempDir(), "copy")
				require.NoError(t, os.CopyFS(dir, os.DirFS(base)))
				ops, answered, finished := crash(t, "sync", dir, server.URL, n)
				after := afterCrash(t, dir, server.URL)
				switch {
				case finished:
					assert.Equal(t, answered, after.Revision.Name, "what was told is on disk")
					assert.Equal(t, int64(2), after.Versions)
				case after.Revision.Name != before.Revision.Name:
					assert.Equal(t, int64(2), after.Versions, "the new state, whole")
				case first:
					assert.Equal(t, pending, after.State)
				default:
					assert.Equal(t, before, after, "the old state, whole")
				}
				running(t, dir, func(c *Catalog) {
					c.Put(crashSpec(server.URL))
					state, _, err := c.Sync(context.Background(), ByRef("default", "repo"))
					require.NoError(t, err)
					assert.Equal(t, int64(2), state.Versions)
					resolved, err := c.Resolve(context.Background(), ByRef("default", "repo"), ResolveQuery{Chart: "web", Version: "1.0.0"})
					require.NoError(t, err)
					assert.Equal(t, digestOf(tarball(t, "web", "1.0.0", "first")), resolved.Entry.Digest)
				})
				for _, op := range ops {
					seen[op] = true
				}
				if !finished {
					continue
				}
				// Generation and state take five steps each at least.
				assert.GreaterOrEqual(t, n, 10)
				last := disk.OpRemove // the generation before
				if first {
					last = disk.OpMkdir
				}
				for _, op := range []string{disk.OpCreate, disk.OpWrite, disk.OpSync, disk.OpRename, disk.OpSyncFolder, last} {
					assert.True(t, seen[op], op)
				}
				return
			}
		})
	}
}

func TestKilledAtAnyStepOfAnIngestLosesNothing(t *testing.T) {
	server := newCrashServer(t)
	server.publish(t, "1.0.0", "2.0.0")
	base := t.TempDir()
	source := ByRef("default", "repo")
	old := ""
	running(t, base, func(c *Catalog) {
		c.Put(crashSpec(server.URL))
		resolved, err := c.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Version: "1.0.0"})
		require.NoError(t, err)
		old = resolved.Entry.Digest
	})
	seen := map[string]bool{}
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "copy")
		require.NoError(t, os.CopyFS(dir, os.DirFS(base)))
		ops, answered, finished := crash(t, "fetch", dir, server.URL, n)
		require.Equal(t, int64(2), afterCrash(t, dir, server.URL).Versions)

		first := server.replace(t, "2.0.0")
		running(t, dir, func(c *Catalog) {
			c.Put(crashSpec(server.URL))
			ctx := context.Background()
			resolved, err := c.Resolve(ctx, source, ResolveQuery{Chart: "web", Version: "2.0.0"})
			require.NoError(t, err)
			if answered != "" {
				assert.Equal(t, answered, resolved.Entry.Digest, "a digest that was given out stands")
				assert.Equal(t, first, answered)
			}
			reader, _, err := c.Fetch(ctx, source, resolved)
			if err == nil {
				data := make([]byte, reader.Size())
				_, err := reader.ReadAt(data, 0)
				require.NoError(t, err)
				assert.Equal(t, resolved.Entry.Digest, digestOf(data))
				require.NoError(t, reader.Close())
			} else {
				// The tarball did not survive, and upstream has another one now.
				assertReason(t, digestMismatch, err)
			}
			resolved, err = c.Resolve(ctx, source, ResolveQuery{Chart: "web", Version: "1.0.0"})
			require.NoError(t, err)
			assert.Equal(t, old, resolved.Entry.Digest)
			reader, _, err = c.Fetch(ctx, source, resolved)
			require.NoError(t, err)
			require.NoError(t, reader.Close())
		})
		server.restore(t, "2.0.0")
		for _, op := range ops {
			seen[op] = true
		}
		if !finished {
			continue
		}
		assert.Equal(t, first, answered)
		// The tarball takes five steps and the eviction of the one before one, what is learned three at least.
		assert.GreaterOrEqual(t, n, 9)
		for _, op := range []string{disk.OpCreate, disk.OpWrite, disk.OpSync, disk.OpMkdir, disk.OpRename, disk.OpSyncFolder, disk.OpRemove} {
			assert.True(t, seen[op], op)
		}
		return
	}
}
