package catalog

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestResolveTellsTheNewestToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.withDigests = true })
		digest := up.push(t, "web", "1.0.0", "")
		up.push(t, "web", "2.0.0", "")
		up.push(t, "web", "3.0.0-rc.1", "")
		source := w.put(Spec{URL: httpURL})
		r := w.mustResolve(source, "web", "^1.0.0")
		assert.Equal(t, "1.0.0", r.Entry.Version)
		assert.Equal(t, digest, r.Entry.Digest)
		assert.Equal(t, "2.0.0", r.Newest)
		assert.False(t, r.Stale)
		assert.Equal(t, w.state(source).Revision, r.Revision)
		assert.Zero(t, up.count(&up.fetches), "the index names the digest")
	})
}

func TestResolveSaysWhatIsNotThere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		up.push(t, "edge", "1.0.0-rc.1", "")
		source := w.put(Spec{URL: httpURL})
		for _, c := range []struct {
			chart, version string
			reason         any
			says           string
		}{
			{"web", "^2", versionNotFound, `"^2"`},
			{"web", "9.9.9", versionNotFound, "1.0.0"},
			{"web", "^^", constraintInvalid, `"^^"`},
			{"edge", "", versionNotFound, "1.0.0-rc.1"},
			{"edge", "latest", versionNotFound, "no stable version"},
			{"none", "", chartNotFound, `"none"`},
		} {
			_, err := w.resolve(source, c.chart, c.version)
			require.Error(t, err)
			assert.ErrorContains(t, err, c.says)
		}
		_, err := w.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Digest: "sha256:12"})
		assertReason(t, invalidArgumentReason, err)
		_, err = w.resolve(ByRef("default", "none"), "web", "")
		assertReason(t, repositoryNotFound, err)
	})
}

func TestAMissAsksUpstreamOnceInAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL})
		w.state(source)
		up.push(t, "web", "1.1.0", "")
		assert.Equal(t, "1.1.0", w.mustResolve(source, "web", "1.1.0").Entry.Version, "it was published since the last sync")
		assert.Equal(t, 2, up.count(&up.lists))
		for range 5 {
			_, err := w.resolve(source, "web", "1.2.0")
			assertReason(t, versionNotFound, err)
			_, err = w.resolve(source, "other", "")
			assertReason(t, chartNotFound, err)
		}
		assert.Equal(t, 2, up.count(&up.lists))
		pass(missEvery)
		up.push(t, "other", "1.0.0", "")
		w.mustResolve(source, "other", "")
		assert.Equal(t, 3, up.count(&up.lists))
		pass(missEvery)
		up.set(func() { up.fault = failure(unreachable, "down") })
		_, err := w.resolve(source, "none", "")
		assertReason(t, chartNotFound, err)
	})
}

func TestDigestsThatTheIndexLacksAreLearnedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		digest := up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL})
		revision := w.state(source).Revision.Name
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				r, err := w.resolve(source, "web", "")
				assert.NoError(t, err)
				assert.Equal(t, digest, r.Entry.Digest)
			})
		}
		callers.Wait()
		assert.Equal(t, 1, up.count(&up.fetches))
		assert.Equal(t, revision, w.state(source).Revision.Name, "learning is no change of content")
		list, err := w.Versions(context.Background(), source, VersionQuery{Chart: "web"})
		require.NoError(t, err)
		assert.Equal(t, digest, list.Versions[0].Digest)
		charts, err := w.Charts(context.Background(), source, ChartQuery{})
		require.NoError(t, err)
		assert.Equal(t, digest, charts.Charts[0].Latest.Digest)
	})
}

func TestALaterDifferenceOfALearnedDigestIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		first := up.push(t, "web", "1.0.0", "first")
		source := w.put(Spec{URL: httpURL})
		resolved := w.mustResolve(source, "web", "")
		assert.Equal(t, first, resolved.Entry.Digest)

		// Upstream replaces the tarball behind the same entry, and the cache lost its copy.
		second := up.push(t, "web", "1.0.0", "second")
		up.set(func() { up.fetches = 0 })
		w.mustSync(source)
		w.loseBlobs()
		resolved = w.mustResolve(source, "web", "")
		assert.Equal(t, first, resolved.Entry.Digest, "the digest outlives the tarball")
		_, _, err := w.Fetch(context.Background(), source, resolved)
		assertReason(t, digestMismatch, err)
		assert.ErrorContains(t, err, first)

		// An entry that says that it changed was published anew.
		up.set(func() {
			up.text = "apiVersion: v1\nentries:\n  web:\n  - {name: web, version: 1.0.0, created: 2026-01-01T00:00:00Z, urls: [x]}\n"
		})
		w.mustSync(source)
		resolved = w.mustResolve(source, "web", "")
		assert.Equal(t, second, resolved.Entry.Digest)
		w.mustFetch(source, resolved)
	})
}

func TestAPinnedDigestWinsOverTheVersion(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		listed, bare := w.internet.add(httpURL), w.internet.add(httpURL+"/bare")
		listed.set(func() { listed.withDigests = true })
		one := listed.push(t, "web", "1.0.0", "")
		listed.push(t, "web", "2.0.0", "")
		other := bare.push(t, "web", "1.0.0", "bare")
		bare.push(t, "web", "2.0.0", "bare")
		with, without := w.put(Spec{URL: httpURL}), w.put(Spec{Ref: Ref{Namespace: "n", Name: "bare"}, URL: httpURL + "/bare"})
		pin := func(source Source, version, digest string) (Resolved, error) {
			return w.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Version: version, Digest: digest})
		}
		for _, version := range []string{"", "1.0.0", "2.0.0", ">5"} {
			r, err := pin(with, version, one)
			require.NoError(t, err, version)
			assert.Equal(t, "1.0.0", r.Entry.Version)
		}
		r, err := pin(with, "", one[len("sha256:"):])
		require.NoError(t, err, "bare digits are accepted")
		assert.Equal(t, one, r.Entry.Digest)
		_, err = pin(with, "1.0.0", other)
		assertReason(t, versionNotFound, err)
		assert.ErrorContains(t, err, other)

		// Where the index names no digests, the version says where to look.
		_, err = pin(without, "2.0.0", other)
		assertReason(t, versionNotFound, err)
		r, err = pin(without, "1.0.0", other)
		require.NoError(t, err)
		assert.Equal(t, "1.0.0", r.Entry.Version)
		r, err = pin(without, "", other)
		require.NoError(t, err, "and once it is known, it is found without")
		assert.Equal(t, "1.0.0", r.Entry.Version)
	})
}

func TestFetchGivesTheBytesThatWereResolved(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.withDigests = true })
		up.push(t, "web", "1.0.0", "hello")
		source := w.put(Spec{URL: httpURL})
		resolved := w.mustResolve(source, "web", "")
		at := now()
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				reader, info, err := w.Fetch(context.Background(), source, resolved)
				if !assert.NoError(t, err) {
					return
				}
				data, err := io.ReadAll(reader)
				assert.NoError(t, err)
				assert.NoError(t, reader.Close())
				assert.Equal(t, resolved.Entry.Digest, digestOf(data))
				assert.Equal(t, int64(len(data)), info.SizeBytes)
				assert.Equal(t, at, info.CachedAt)
			})
		}
		callers.Wait()
		assert.Equal(t, 1, up.count(&up.fetches), "upstream is asked once")
		w.mustFetch(source, resolved)
		_, _, hits := w.metrics.all()
		assert.True(t, hits[len(hits)-1])
		assert.Contains(t, hits, false)
	})
}

func TestADownloadGoesOnWhenItsCallerGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.withDigests = true })
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL})
		resolved := w.mustResolve(source, "web", "")
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, err := w.Fetch(short, source, resolved)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		close(gate)
		w.settle()
		w.mustFetch(source, resolved)
		assert.Equal(t, 1, up.count(&up.fetches))
	})
}

func TestABadTarballIsNeverGivenOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		good := up.push(t, "web", "1.0.0", "good")
		entry := func(digest string) string {
			return "apiVersion: v1\nentries:\n  web:\n  - {name: web, version: 1.0.0, urls: [x], digest: \"" + digest + "\"}\n"
		}
		up.set(func() { up.text = entry(good) })
		source := w.put(Spec{URL: httpURL})
		resolved := w.mustResolve(source, "web", "")

		up.push(t, "web", "1.0.0", "evil")
		_, _, err := w.Fetch(context.Background(), source, resolved)
		assertReason(t, digestMismatch, err)
		assert.ErrorContains(t, err, "chart web 1.0.0 of repository default/repo")

		up.set(func() { up.charts["web"]["1.0.0"] = tarball(t, "other", "1.0.0", ""); up.text = entry("") })
		w.mustSync(source)
		_, err = w.resolve(source, "web", "")
		assertReason(t, chartInvalid, err)

		up.set(func() { up.text = entry("md5:x") })
		w.mustSync(source)
		_, err = w.resolve(source, "web", "")
		assertReason(t, digestMismatch, err)
		_, blobs := w.blobs.Usage()
		assert.Zero(t, blobs)
	})
}

func TestARateLimitedDownloadWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		limited := failure(rateLimitedReason, "too many requests")
		limited.RetryAfter = time.Minute
		up.set(func() { up.fetchFault = limited })
		source := w.put(Spec{URL: httpURL})
		for range 3 {
			_, err := w.resolve(source, "web", "")
			assertReason(t, rateLimitedReason, err)
			assert.Equal(t, time.Minute, retryAfterOf(err))
		}
		assert.Equal(t, 1, up.count(&up.fetches))
		assert.Equal(t, synced, w.mustSync(source).State, "the index may come from another host")
		up.set(func() { up.fetchFault = nil })
		pass(time.Minute)
		w.mustResolve(source, "web", "")
	})
}

func TestListingsArePaged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		for _, chart := range []string{"alpha", "beta", "delta", "gamma"} {
			for _, version := range []string{"1.0.0", "1.1.0", "1.2.0-rc.1"} {
				up.push(t, chart, version, "")
			}
		}
		source := w.put(Spec{URL: httpURL})
		for _, c := range []struct {
			name  string
			query ChartQuery
			want  []string
			more  bool
		}{
			{"all", ChartQuery{}, []string{"alpha", "beta", "delta", "gamma"}, false},
			{"the first page", ChartQuery{Limit: 3}, []string{"alpha", "beta", "delta"}, true},
			{"the last page", ChartQuery{Offset: 3, Limit: 3}, []string{"gamma"}, false},
			{"a full last page", ChartQuery{Offset: 2, Limit: 2}, []string{"delta", "gamma"}, false},
			{"behind the end", ChartQuery{Offset: 9, Limit: 2}, nil, false},
			{"a text in the name", ChartQuery{Text: "LTA"}, []string{"delta"}, false},
			{"a text in the description", ChartQuery{Text: "about b"}, []string{"beta"}, false},
			{"a page of matches", ChartQuery{Text: "a", Offset: 1, Limit: 2}, []string{"beta", "delta"}, true},
		} {
			list, err := w.Charts(context.Background(), source, c.query)
			require.NoError(t, err)
			var names []string
			for _, s := range list.Charts {
				names = append(names, s.Name)
				assert.Equal(t, "1.1.0", s.Latest.Version)
				assert.Equal(t, 3, s.VersionCount)
			}
			assert.Equal(t, c.want, names, c.name)
			assert.Equal(t, c.more, list.More, c.name)
		}
		list, err := w.Versions(context.Background(), source, VersionQuery{Chart: "beta", Prereleases: true, Offset: 1, Limit: 1})
		require.NoError(t, err)
		require.Len(t, list.Versions, 1)
		assert.Equal(t, "1.1.0", list.Versions[0].Version)
		assert.True(t, list.More)
		list, err = w.Versions(context.Background(), source, VersionQuery{Chart: "beta", Constraint: ">5"})
		require.NoError(t, err)
		assert.Empty(t, list.Versions)
		_, err = w.Versions(context.Background(), source, VersionQuery{Chart: "beta", Constraint: "><"})
		assertReason(t, constraintInvalid, err)
		_, err = w.Versions(context.Background(), source, VersionQuery{Chart: "none"})
		assertReason(t, chartNotFound, err)
	})
}

func TestAMinimumRevisionMakesAnInstanceThatLacksItSync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL, Interval: time.Hour})
		have := w.state(source).Revision
		charts := func(least Revision) (ChartList, error) {
			return w.Charts(context.Background(), source, ChartQuery{Min: least})
		}
		pass(time.Minute)
		for _, satisfied := range []Revision{have, {Name: have.Name, ObservedAt: now()}, {Name: "other", ObservedAt: have.ObservedAt}, {Name: "other"}} {
			_, err := charts(satisfied)
			require.NoError(t, err)
		}
		assert.Equal(t, 1, up.count(&up.lists))

		list, err := charts(Revision{Name: "other", ObservedAt: now()})
		require.NoError(t, err)
		assert.Equal(t, now(), list.Revision.ObservedAt)
		assert.Equal(t, 2, up.count(&up.lists))

		// Another instance's clock may be ahead: two syncs that began after the call are all that can be done.
		_, err = charts(Revision{Name: "other", ObservedAt: now().Add(time.Hour)})
		require.NoError(t, err)
		assert.LessOrEqual(t, up.count(&up.lists), 4)

		// A sync that began before the call may have missed what the caller knows of.
		gate := make(chan struct{})
		up.set(func() { up.gate, up.lists = gate, 0 })
		go func() { _, _, _ = w.Sync(context.Background(), source) }()
		w.settle()
		pass(time.Second)
		result := make(chan error, 1)
		least := Revision{Name: "other", ObservedAt: now()}
		go func() {
			_, err := charts(least)
			result <- err
		}()
		w.settle()
		close(gate)
		require.NoError(t, <-result)
		assert.Equal(t, 2, up.count(&up.lists))

		up.set(func() { up.fault = failure(unreachable, "down") })
		pass(time.Second)
		_, err = charts(Revision{Name: "other", ObservedAt: now()})
		assertReason(t, unreachable, err)
	})
}

func TestReadsWaitForTheFirstSyncAndSayWhyThereIsNone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		gate := make(chan struct{})
		up.set(func() { up.gate, up.fault = gate, failure(unreachable, "the host refuses connections") })
		source := w.put(Spec{URL: httpURL})
		result := make(chan error, 1)
		go func() {
			_, err := w.resolve(source, "web", "")
			result <- err
		}()
		w.settle()
		close(gate)
		err := <-result
		assertReason(t, repositoryNotSynced, err)
		assert.ErrorContains(t, err, "the host refuses connections")
		_, err = w.resolve(source, "web", "")
		assertReason(t, repositoryNotSynced, err)
		assert.Equal(t, firstBackoff, retryAfterOf(err))
		assert.Equal(t, 1, up.count(&up.lists))
	})
}

// loseBlobs makes the store forget everything, as eviction does.
func (w *world) loseBlobs() {
	w.t.Helper()
	w.stop()
	require.NoError(w.t, w.blobs.Close())
	w.removeBlobs()
	w.start()
	w.put(Spec{URL: httpURL})
}
