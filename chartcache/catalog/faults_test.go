package catalog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// indexOf lists charts with as many versions each.
func indexOf(charts, versions int) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nentries:\n")
	for i := range charts {
		fmt.Fprintf(&b, "  c%02d:\n", i)
		for v := range versions {
			fmt.Fprintf(&b, "  - {name: c, version: 1.0.%d, urls: [x]}\n", v)
		}
	}
	return b.String()
}

func TestAnIndexThatLostNineTenthsIsRefusedUntilTheRepositoryIsCreatedAgain(t *testing.T) {
	cases := map[string]struct{ before, after, lost string }{
		"of its charts":                      {indexOf(20, 1), indexOf(2, 1), "lost 18 of 20 charts"},
		"of its versions":                    {indexOf(5, 20), indexOf(5, 2), "lost 90 of 100 versions"},
		"of the versions of one large chart": {indexOf(1, 1000), indexOf(1, 100), "lost 900 of 1000 versions"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(httpURL)
				up.set(func() { up.text = c.before })
				source := w.put(Spec{URL: httpURL})
				before := w.state(source)
				up.set(func() { up.text = c.after })
				for range 2 {
					_, _, err := w.Sync(context.Background(), source)
					assertReason(t, indexRejected, err)
					assert.ErrorContains(t, err, c.lost)
					assert.ErrorContains(t, err, "delete the repository here and create it again")
				}
				assert.Equal(t, before.Versions, w.state(source).Versions)
				assert.Empty(t, w.files(tempFolder))

				// The way out that the error names.
				w.Delete(*source.Ref)
				w.put(Spec{URL: httpURL})
				state := w.state(source)
				assert.Equal(t, synced, state.State)
				assert.Less(t, state.Versions, before.Versions)
			})
		})
	}
}

func TestAnIndexThatDropsManyOldVersionsIsFine(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.text = indexOf(5, 20) })
		source := w.put(Spec{URL: httpURL})
		w.state(source)
		up.set(func() { up.text = indexOf(5, 3) })
		assert.Equal(t, int64(15), w.mustSync(source).Versions)
	})
}

// archive is a tarball of chart web 1.0.0 with more entries, with or without its end.
func archive(t *testing.T, whole bool, more ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	const chartYAML = "apiVersion: v2\nname: web\nversion: 1.0.0\n"
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "web/Chart.yaml", Mode: 0o644, Size: int64(len(chartYAML))}))
	_, err := w.Write([]byte(chartYAML))
	require.NoError(t, err)
	for i := range more {
		require.NoError(t, w.WriteHeader(&more[i]))
	}
	if whole {
		require.NoError(t, w.Close())
	}
	require.NoError(t, zip.Close())
	return out.Bytes()
}

// headers is a gzip member of entries without content.
func headers(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for i := range entries {
		require.NoError(t, w.WriteHeader(&entries[i]))
	}
	require.NoError(t, zip.Close())
	return out.Bytes()
}

func TestHostileTarballsAreRefusedAndNothingOfThemStays(t *testing.T) {
	// Members of gzip follow each other, and the end of the archive is cut off.
	thousand := make([]tar.Header, 1000)
	for i := range thousand {
		thousand[i] = tar.Header{Name: fmt.Sprintf("web/%d", i), Mode: 0o644}
	}
	many := slices.Concat(archive(t, false, thousand[0]), bytes.Repeat(headers(t, thousand), 100))
	cases := map[string]struct {
		data   []byte
		digest string
		reason chartcachev1.ErrorReason
		says   string
	}{
		"a path that climbs out":    {archive(t, true, tar.Header{Name: "web/../../etc/passwd"}), "", chartInvalid, "leads out of the chart"},
		"an absolute path":          {archive(t, true, tar.Header{Name: "/etc/passwd"}), "", chartInvalid, "leads out of the chart"},
		"a symbolic link":           {archive(t, true, tar.Header{Name: "web/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "", chartInvalid, "link"},
		"a hard link":               {archive(t, true, tar.Header{Name: "web/x", Typeflag: tar.TypeLink, Linkname: "web/Chart.yaml"}), "", chartInvalid, "link"},
		"a hundred thousand files":  {many, "", tooLarge, "--" + blob.FlagFiles},
		"a wrong digest":            {archive(t, true), digestOf([]byte("other")), digestMismatch, digestOf(archive(t, true))},
		"a digest of another kind":  {archive(t, true), "md5:d41d8cd98f00b204e9800998ecf8427e", digestMismatch, "not a sha256"},
		"something else than a tar": {[]byte("<html>"), "", chartInvalid, "not gzip"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(httpURL)
				up.set(func() {
					up.charts["web"] = map[string][]byte{"1.0.0": c.data}
					up.text = "apiVersion: v1\nentries:\n  web:\n  - {name: web, version: 1.0.0, urls: [x], digest: \"" + c.digest + "\"}\n"
				})
				source := w.put(Spec{URL: httpURL})
				resolved, err := w.resolve(source, "web", "")
				if err == nil {
					_, _, err = w.Fetch(context.Background(), source, resolved)
				}
				assertReason(t, c.reason, err)
				assert.ErrorContains(t, err, c.says)
				assert.ErrorContains(t, err, "default/repo")
				size, blobs := w.blobs.Usage()
				assert.Zero(t, size)
				assert.Zero(t, blobs)
				assert.Empty(t, filesBelow(t, w.dir+"/blobs"))
			})
		})
	}
}

func TestFiveHundredClientsForOneChartAreOneRequest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.withDigests = true })
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL, Interval: time.Hour})
		resolved := w.mustResolve(source, "web", "")
		require.Zero(t, up.count(&up.fetches))
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		var clients sync.WaitGroup
		for range 500 {
			clients.Go(func() {
				reader, _, err := w.Fetch(context.Background(), source, resolved)
				if assert.NoError(t, err) {
					assert.NoError(t, reader.Close())
				}
			})
		}
		w.settle()
		close(gate)
		clients.Wait()
		assert.Equal(t, 1, up.count(&up.fetches))
		assert.Equal(t, 1, up.count(&up.lists))
	})
}

func TestFiveHundredClientsForARepositoryThatIsNotSyncedAreOneRequest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		digest := up.push(t, "web", "1.0.0", "")
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		var clients sync.WaitGroup
		for range 500 {
			clients.Go(func() {
				resolved, err := w.resolve(ByURL(httpURL), "web", "")
				if assert.NoError(t, err) {
					assert.Equal(t, digest, resolved.Entry.Digest)
				}
			})
		}
		w.settle()
		close(gate)
		clients.Wait()
		assert.Equal(t, 1, up.count(&up.lists))
		assert.Equal(t, 1, up.count(&up.fetches))
	})
}

func TestRotatedCredentialsSyncAtOnceAndServeTheNextDownload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.withDigests = true })
		up.push(t, "web", "1.0.0", "")
		up.push(t, "web", "2.0.0", "")
		password := "old"
		spec := Spec{URL: httpURL, Interval: time.Hour, CredentialsID: "1", Credentials: func(context.Context) (upstream.Credentials, error) {
			return upstream.Credentials{Username: "u", Password: password}, nil
		}}
		source := w.put(spec)
		w.mustFetch(source, w.mustResolve(source, "web", "1.0.0"))
		assert.Equal(t, "old", w.internet.lastConfig().Credentials.Password)

		// The sync that runs with the old ones is given up, and what it finds does not count.
		up.set(func() { up.gate = make(chan struct{}) })
		pass(time.Hour)
		require.True(t, w.state(source).Syncing)
		up.set(func() { up.gate = nil })
		password, spec.CredentialsID = "new", "2"
		w.put(spec)
		state := w.state(source)
		assert.Equal(t, synced, state.State)
		assert.False(t, state.Syncing)
		assert.Equal(t, now(), state.LastCheck, "at once")
		assert.Equal(t, "new", w.internet.lastConfig().Credentials.Password)

		// A download reads them again, also when nobody said that they changed.
		password = "newer"
		w.mustFetch(source, w.mustResolve(source, "web", "2.0.0"))
		assert.Equal(t, "newer", w.internet.lastConfig().Credentials.Password)
	})
}

func TestOneHostThatDoesNotAnswerLeavesTurnsToTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 6 {
			url := fmt.Sprintf("%s/%d", httpURL, i)
			dead := w.internet.add(url)
			dead.set(func() { dead.gate = make(chan struct{}) })
			w.put(Spec{Ref: Ref{Namespace: "dead", Name: fmt.Sprint(i)}, URL: url, Timeout: 24 * time.Hour})
		}
		w.settle()
		const otherURL = "https://other.example.com"
		up := w.internet.add(otherURL)
		source := w.put(Spec{URL: otherURL})
		assert.Equal(t, synced, w.state(source).State)
		assert.Equal(t, 1, up.count(&up.lists))

		// No timeout is longer than an hour, so those that wait get their turn.
		pass(mostTimeout + time.Second)
		failures := 0
		for _, state := range w.Repositories("dead") {
			if state.LastError != nil {
				assert.Equal(t, unreachable, state.LastError.Reason)
				failures++
			}
		}
		assert.Equal(t, DefaultSyncs/2, failures)
		for _, state := range w.Repositories("dead") {
			w.Delete(*state.Source.Ref)
		}
		w.settle()
		assert.Empty(t, w.turns.hosts, "hosts are forgotten when nothing syncs there")
	})
}

// jumpingClock is a wall clock without the monotonic part that time.Now has: a test sets it back and forth.
type jumpingClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *jumpingClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off).Round(0)
}

func (c *jumpingClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func TestAClockThatJumpsNeitherStallsNorHurriesTheSchedule(t *testing.T) {
	for _, jump := range []time.Duration{10 * time.Hour, -10 * time.Hour, 1000 * time.Hour, -1000 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.stop()
				clock := &jumpingClock{}
				cfg := w.config()
				cfg.Now = clock.Now
				w.startWith(cfg)
				up := w.internet.add(httpURL)
				up.push(t, "web", "1.0.0", "")
				spec := Spec{URL: httpURL, Interval: 10 * time.Minute}
				source := w.put(spec)
				before := w.state(source)
				pass(5 * time.Minute)
				clock.jump(jump)
				pass(15 * time.Minute)
				syncs := up.count(&up.lists)
				assert.GreaterOrEqual(t, syncs, 2, "it syncs within an interval of what was due")
				assert.LessOrEqual(t, syncs, 3)
				pass(time.Hour)
				assert.InDelta(t, syncs+6, up.count(&up.lists), 1, "then every interval")
				after := w.state(source)
				assert.Equal(t, before.Revision.Name, after.Revision.Name)
				assert.False(t, after.Revision.ObservedAt.Before(before.Revision.ObservedAt), "a revision never gets older")

				// Another instance knows of something newer: a wrong time must not hide that.
				pass(time.Second)
				up.push(t, "web", "2.0.0", "")
				resolved, err := w.Resolve(context.Background(), source, ResolveQuery{
					Chart: "web", Min: Revision{Name: "another", ObservedAt: clock.Now()},
				})
				require.NoError(t, err)
				assert.Equal(t, "2.0.0", resolved.Entry.Version)

				// Set back to what it was, over a restart too.
				clock.jump(-jump)
				w.stop()
				w.startWith(cfg)
				w.put(spec)
				w.settle()
				syncs = up.count(&up.lists)
				pass(21 * time.Minute)
				assert.InDelta(t, syncs+2, up.count(&up.lists), 1)
			})
		})
	}
}
