package catalog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
)

// faultyDisk fails operations with ENOSPC once it is armed: the one with number n, and with all set every one after it.
type faultyDisk struct {
	mu    sync.Mutex
	n     int
	all   bool
	armed bool
	steps int
	hits  int
}

func (d *faultyDisk) hooks() disk.Hooks {
	return disk.Hooks{Step: func(op, name string) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.armed {
			return nil
		}
		at := d.steps
		d.steps++
		if at == d.n || d.all && at > d.n {
			d.hits++
			return &os.PathError{Op: op, Path: "/secret/" + name, Err: syscall.ENOSPC}
		}
		return nil
	}}
}

// during runs f with the fault, and returns how many operations failed.
func (d *faultyDisk) during(f func()) (hits int) {
	d.mu.Lock()
	d.armed, d.steps, d.hits = true, 0, 0
	d.mu.Unlock()
	f()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = false
	return d.hits
}

// newFaultyWorld is a world whose disk fails, with a store that holds one small tarball.
func newFaultyWorld(t *testing.T, d *faultyDisk) *world {
	t.Helper()
	w := newWorld(t)
	w.stop()
	require.NoError(t, w.blobs.Close())
	var err error
	w.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(w.dir, "blobs"), MaxBytes: crashStoreBytes, Disk: d.hooks()})
	require.NoError(t, err)
	cfg := w.config()
	cfg.Disk = d.hooks()
	w.startWith(cfg)
	return w
}

// onDisk is what another process would serve now.
func (w *world) onDisk(spec Spec) State {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "copy")
	require.NoError(w.t, os.CopyFS(dir, os.DirFS(filepath.Join(w.dir, "catalog"))))
	cfg := w.config()
	cfg.Dir = dir
	c, err := New(cfg)
	require.NoError(w.t, err)
	c.Put(spec)
	state, err := c.Repository(context.Background(), Source{Ref: &spec.Ref})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(w.t, c.Run(ctx))
	return state
}

func (w *world) assertTidy() {
	w.t.Helper()
	assert.Empty(w.t, w.files(tempFolder))
	assert.Empty(w.t, filesBelow(w.t, filepath.Join(w.dir, "blobs", tempFolder)))
	assert.Len(w.t, withSuffix(w.files(repositoriesFolder), indexSuffix), 1)
	size, blobs := w.blobs.Usage()
	stored := filesBelow(w.t, filepath.Join(w.dir, "blobs"))
	assert.Len(w.t, stored, blobs)
	var sum int64
	for _, name := range stored {
		info, err := os.Stat(name)
		require.NoError(w.t, err)
		sum += info.Size()
	}
	assert.Equal(w.t, sum, size)
}

// atEveryStep runs test with a fault at every step, until one is not reached, and for faults that stay too. test returns
// how many operations failed.
func atEveryStep(t *testing.T, least int, test func(t *testing.T, d *faultyDisk) (hits int)) {
	for _, all := range []bool{false, true} {
		for n, reached := 0, true; reached; n++ {
			t.Run(fmt.Sprintf("step %d, all behind it %v", n, all), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					reached = test(t, &faultyDisk{n: n, all: all}) > 0
				})
			})
			if !reached {
				assert.GreaterOrEqual(t, n, least, "the steps of the whole work")
			}
		}
	}
}

func TestAFullDiskAtAnyStepOfASyncKeepsTheOldStateAndTheNextSyncHealsIt(t *testing.T) {
	atEveryStep(t, 10, func(t *testing.T, d *faultyDisk) int {
		w := newFaultyWorld(t, d)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		spec := Spec{Ref: Ref{Namespace: "default", Name: "repo"}, URL: httpURL, Interval: time.Hour}
		source := w.put(spec)
		learned := w.mustResolve(source, "web", "")
		before := w.state(source)
		up.push(t, "web", "2.0.0", "")

		var err error
		hits := d.during(func() { _, _, err = w.Sync(context.Background(), source) })
		state := w.state(source)
		if err != nil {
			assertReason(t, internalFault, err)
			assert.Equal(t, failed, state.State)
			assert.Equal(t, "chartcache cannot write the indexes and states of repositories: the disk is full; make room, or use a larger volume",
				state.LastError.Message)
			assert.Equal(t, before.Revision, state.Revision, "the old state stays served")
			assert.NotZero(t, state.StaleSince)
		} else {
			// The state was in place before the fault.
			assert.Equal(t, synced, state.State)
			assert.Equal(t, int64(2), state.Versions)
		}
		assert.Equal(t, state.Revision, w.onDisk(spec).Revision, "memory says what the disk says")
		assert.Equal(t, learned.Entry, w.mustResolve(source, "web", "1.0.0").Entry)

		up.push(t, "web", "3.0.0", "")
		assert.Equal(t, int64(3), w.mustSync(source).Versions, "there is room again")
		assert.Equal(t, w.state(source).Revision, w.onDisk(spec).Revision)
		w.assertTidy()
		return hits
	})
}

func TestAFullDiskAtAnyStepOfADownloadPoisonsNothing(t *testing.T) {
	atEveryStep(t, 9, func(t *testing.T, d *faultyDisk) int {
		w := newFaultyWorld(t, d)
		up := w.internet.add(httpURL)
		first := up.push(t, "web", "1.0.0", "")
		second := up.push(t, "web", "2.0.0", "")
		source := w.put(Spec{URL: httpURL, Interval: time.Hour})
		require.Equal(t, first, w.mustResolve(source, "web", "1.0.0").Entry.Digest)

		var err error
		var resolved Resolved
		hits := d.during(func() { resolved, err = w.resolve(source, "web", "2.0.0") })
		if err != nil {
			assertReason(t, internalFault, err)
			assert.Contains(t, err.Error(), "the disk is full")
			assert.True(t, strings.Contains(err.Error(), "the chart tarballs") || strings.Contains(err.Error(), "states of repositories"), "%v", err)
			assert.NotContains(t, err.Error(), "secret")
		} else {
			assert.Equal(t, second, resolved.Entry.Digest)
		}
		assert.Equal(t, synced, w.state(source).State)
		for range 2 {
			for version, digest := range map[string]string{"1.0.0": first, "2.0.0": second} {
				resolved := w.mustResolve(source, "web", version)
				assert.Equal(t, digest, resolved.Entry.Digest)
				w.mustFetch(source, resolved)
			}
		}
		w.assertTidy()
		return hits
	})
}
