package catalog

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChartsOfARegistryAreFoundWhenTheyAreAskedForAndThenListed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		digest := up.push(t, "team/web", "1.0.0", "")
		up.push(t, "db", "1.0.0", "")
		spec := Spec{URL: ociURL, Interval: time.Hour}
		source := w.put(spec)
		s := w.state(source)
		assert.Equal(t, synced, s.State, "it answered")
		assert.Zero(t, s.Charts)

		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				r, err := w.resolve(source, "team/web", "")
				if assert.NoError(t, err) {
					assert.Equal(t, digest, r.Entry.Digest)
					assert.NotEmpty(t, r.Entry.ManifestDigest)
				}
			})
		}
		callers.Wait()
		assert.Equal(t, 1, up.count(&up.versionCalls))
		assert.Equal(t, 1, up.count(&up.describes))
		assert.Zero(t, up.count(&up.fetches), "the manifest tells the digest")
		assert.Equal(t, []string{"team/web"}, w.chartNames(source))

		up.push(t, "team/web", "1.1.0", "")
		pass(time.Hour)
		assert.Equal(t, "1.1.0", w.mustResolve(source, "team/web", "").Entry.Version, "the sync listed it again")
		assert.Equal(t, 1, up.count(&up.versionCalls))

		up.set(func() { up.fault = failure(unreachable, "down") })
		w.restart()
		w.put(spec)
		assert.Equal(t, "1.1.0", w.mustResolve(source, "team/web", "").Entry.Version)
		up.set(func() { up.fault = nil })
		w.mustSync(source)
		assert.Equal(t, []string{"team/web"}, w.chartNames(source), "what was asked for is remembered")
	})
}

func TestARegistryIsAskedAboutAMissingChartOnceInAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		source := w.put(Spec{URL: ociURL})
		for range 5 {
			_, err := w.resolve(source, "web", "")
			assertReason(t, chartNotFound, err)
		}
		assert.Equal(t, 1, up.count(&up.versionCalls))
		up.push(t, "web", "latest", "")
		pass(missEvery)
		_, err := w.resolve(source, "web", "")
		assertReason(t, chartNotFound, err)
		up.push(t, "web", "1.0.0", "")
		pass(missEvery)
		w.mustResolve(source, "web", "")
		_, err = w.resolve(source, "web", "2.0.0")
		assertReason(t, versionNotFound, err)
		up.push(t, "web", "2.0.0", "")
		pass(missEvery)
		w.mustResolve(source, "web", "2.0.0")
		assert.Equal(t, int64(2), w.state(source).Versions)
	})
}

func TestARegistryThatIsDownIsNotTakenForOneWithoutTheChart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: ociURL})
		w.state(source)
		up.set(func() { up.fault = failure(unreachable, "down") })
		_, err := w.resolve(source, "web", "")
		assertReason(t, unreachable, err)
		up.set(func() { up.fault = nil })
		w.mustResolve(source, "web", "")
		up.set(func() { up.fault = failure(unreachable, "down") })
		_, err = w.resolve(source, "web", "2.0.0")
		assertReason(t, versionNotFound, err)
	})
}

func TestAChartThatIsAskedForDuringASyncIsNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: ociURL})
		w.state(source)
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		done := make(chan error, 1)
		go func() {
			_, _, err := w.Sync(context.Background(), source)
			done <- err
		}()
		w.settle()
		up.set(func() { up.gate = nil })
		w.mustResolve(source, "web", "")
		close(gate)
		require.NoError(t, <-done)
		assert.Equal(t, []string{"web"}, w.chartNames(source))
		assert.NoError(t, func() error { _, err := w.resolve(source, "web", "1.0.0"); return err }())
		w.mustSync(source)
		assert.Equal(t, []string{"web"}, w.chartNames(source))
	})
}

func TestARegistryWithACatalogueListsAllCharts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		up.set(func() { up.catalogue = true })
		up.push(t, "web", "1.0.0", "")
		up.push(t, "db", "1.0.0", "")
		up.push(t, "db", "sha256-abc.sig", "")
		source := w.put(Spec{URL: ociURL})
		s := w.state(source)
		assert.Equal(t, int64(2), s.Charts)
		assert.Equal(t, int64(2), s.Versions)
		assert.Equal(t, int64(1), s.Rejected)
		assert.Zero(t, s.IndexBytes)
	})
}

func TestATagThatMovesIsNoticedByTheNextSync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		first := up.push(t, "web", "1.0.0", "first")
		spec := Spec{URL: ociURL, Interval: time.Hour}
		source := w.put(spec)
		before := w.mustResolve(source, "web", "")
		assert.Equal(t, first, before.Entry.Digest)
		w.mustFetch(source, before)
		watch := w.Watch(context.Background(), "")
		w.drain(watch)

		second := up.push(t, "web", "1.0.0", "second")
		pass(time.Hour)
		events := w.drain(watch)
		require.NotEmpty(t, events)
		assert.Equal(t, []string{"web"}, events[len(events)-1].Charts)
		after := w.mustResolve(source, "web", "")
		assert.Equal(t, second, after.Entry.Digest)
		assert.NotEqual(t, before.Entry.ManifestDigest, after.Entry.ManifestDigest)
		_, _, err := w.Fetch(context.Background(), source, before)
		assertReason(t, versionNotFound, err)
		w.mustFetch(source, after)

		revision := w.state(source).Revision.Name
		pass(time.Hour)
		w.restart()
		w.put(spec)
		w.mustSync(source)
		assert.Equal(t, revision, w.state(source).Revision.Name, "it moved once")
		assert.Equal(t, second, w.mustResolve(source, "web", "").Entry.Digest)
	})
}

func TestAnOCIChartIsFoundByEitherDigest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		old := up.push(t, "web", "1.0.0", "old")
		up.push(t, "web", "2.0.0", "new")
		source := w.put(Spec{URL: ociURL})
		pin := func(version, digest string) (Resolved, error) {
			return w.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Version: version, Digest: digest})
		}
		r, err := pin("", old)
		require.NoError(t, err)
		assert.Equal(t, "1.0.0", r.Entry.Version)
		r, err = pin("2.0.0", r.Entry.ManifestDigest)
		require.NoError(t, err)
		assert.Equal(t, "1.0.0", r.Entry.Version)
		_, err = pin("", digestOf([]byte("none")))
		assertReason(t, versionNotFound, err)
	})
}

func TestADownloadFromARegistryTellsMoreThanItsTags(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		up.push(t, "web", "1.0.0", "")
		spec := Spec{URL: ociURL}
		source := w.put(spec)
		info := w.mustFetch(source, w.mustResolve(source, "web", ""))
		assert.Equal(t, []byte("signed"), info.Provenance)
		w.restart()
		w.put(spec)
		r := w.mustResolve(source, "web", "")
		assert.Equal(t, "app-1.0.0", r.Entry.AppVersion)
		assert.Equal(t, info, w.mustFetch(source, r))
	})
}

func TestASyncAsksWithoutABodyWhetherTagsMovedAndDescribesOnlyThoseThatDid(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		source := w.put(Spec{URL: ociURL, Interval: time.Hour})
		for _, version := range []string{"1.0.0", "2.0.0", "3.0.0", "4.0.0"} {
			up.push(t, "web", version, "first")
		}
		for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
			w.mustResolve(source, "web", version)
		}
		second := up.push(t, "web", "2.0.0", "second")
		up.set(func() { up.describes, up.heads = 0, 0 })
		w.mustSync(source)
		assert.Equal(t, 3, up.count(&up.heads), "those that were learned")
		assert.Equal(t, 1, up.count(&up.describes), "the one that moved")
		assert.Equal(t, second, w.mustResolve(source, "web", "2.0.0").Entry.Digest)
		up.set(func() { up.describes, up.heads = 0, 0 })
		w.mustSync(source)
		assert.Equal(t, 3, up.count(&up.heads))
		assert.Zero(t, up.count(&up.describes))
	})
}

func TestARateLimitWhileLookingForMovedTagsEndsTheLookingNotTheSync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		source := w.put(Spec{URL: ociURL, Interval: time.Hour})
		for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
			up.push(t, "web", version, "first")
			w.mustResolve(source, "web", version)
			pass(missEvery)
		}
		up.push(t, "web", "4.0.0", "")
		limited := failure(rateLimitedReason, "too many requests")
		limited.RetryAfter = time.Minute
		up.set(func() { up.headFault, up.heads, up.versionCalls = limited, 0, 0 })
		assert.Equal(t, int64(4), w.mustSync(source).Versions, "the registry listed its tags")
		assert.Equal(t, 1, up.count(&up.heads), "and is not asked for more")
		_, err := w.resolve(source, "web", "4.0.0")
		assertReason(t, rateLimitedReason, err)
		_, err = w.resolve(source, "other", "")
		assertReason(t, rateLimitedReason, err)
		assert.Equal(t, time.Minute, retryAfterOf(err), "nor for charts that are not known")
		assert.Zero(t, up.count(&up.versionCalls))

		second := up.push(t, "web", "1.0.0", "second")
		up.set(func() { up.headFault = nil })
		pass(time.Minute)
		w.mustSync(source)
		assert.Equal(t, second, w.mustResolve(source, "web", "1.0.0").Entry.Digest, "a later sync looks")
		w.mustResolve(source, "web", "4.0.0")
	})
}
