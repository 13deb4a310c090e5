package catalog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatCannotBeReadAtAStartIsKeptForTheNextOne(t *testing.T) {
	for _, suffix := range []string{indexSuffix, stateFile, learnedFile} {
		t.Run(suffix, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(httpURL)
				first := up.push(t, "web", "1.0.0", "first")
				spec := Spec{URL: httpURL, Interval: time.Hour}
				source := w.put(spec)
				w.mustResolve(source, "web", "")
				_, err := w.resolve(ByURL(httpURL), "web", "")
				require.NoError(t, err)
				revision := w.state(source).Revision.Name
				w.stop()

				// A link to itself is an error of the system, as too many open files are: it says nothing about the content.
				files := append(w.files(repositoriesFolder), w.files(urlsFolder)...)
				unreadable := withSuffix(files, suffix)
				require.Len(t, unreadable, 2)
				aside := t.TempDir()
				for i, name := range unreadable {
					require.NoError(t, os.Rename(name, filepath.Join(aside, fmt.Sprint(i))))
					require.NoError(t, os.Symlink(filepath.Base(name), name))
				}
				c, err := New(w.config())
				require.NoError(t, err)
				c.Put(Spec{Ref: *source.Ref, URL: httpURL, Interval: time.Hour})
				for i, name := range unreadable {
					require.NoError(t, os.Remove(name))
					require.NoError(t, os.Rename(filepath.Join(aside, fmt.Sprint(i)), name))
				}
				require.ElementsMatch(t, files, append(w.files(repositoriesFolder), w.files(urlsFolder)...))

				up.set(func() { up.fault = failure(unreachable, "down") })
				w.start()
				w.put(spec)
				assert.Equal(t, revision, w.state(source).Revision.Name)
				assert.Equal(t, first, w.mustResolve(source, "web", "").Entry.Digest)
				assert.Equal(t, first, w.mustResolve(ByURL(httpURL), "web", "").Entry.Digest)
			})
		})
	}
}

func TestAWatchSaysThatItIsCompleteAlsoWhileRepositoriesKeepChanging(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		const repositories = 5
		spec := func(i int) Spec {
			return Spec{Ref: Ref{Namespace: "n", Name: fmt.Sprint(i)}, URL: fmt.Sprintf("%s/%d", httpURL, i), Interval: time.Hour}
		}
		for i := range repositories {
			w.internet.add(spec(i).URL)
			w.put(spec(i))
		}
		w.settle()
		watch := w.Watch(context.Background(), "")
		generation := int64(0)
		for told := 0; ; told++ {
			require.Less(t, told, 3*repositories, "it comes within a bounded number of events")
			event, err := watch.Next(context.Background())
			require.NoError(t, err)
			if event.InitialStateComplete {
				return
			}
			// Everything changes between any two events.
			generation++
			for i := range repositories {
				s := spec(i)
				s.Generation = generation
				w.put(s)
			}
			w.settle()
		}
	})
}

func TestAPinnedDigestIsFoundBesideBrokenVersions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		want := up.push(t, "web", "1.0.0", "")
		up.push(t, "web", "2.0.0", "")
		up.push(t, "web", "3.0.0", "")
		up.set(func() {
			up.broken = map[string]error{
				"2.0.0": failure(chartInvalid, "it is an image"), "3.0.0": failure(upstreamNotFound, "its manifest is gone"),
			}
		})
		source := w.put(Spec{URL: ociURL, Interval: time.Hour})
		resolved, err := w.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Version: "3.0.0", Digest: want})
		require.NoError(t, err)
		assert.Equal(t, "1.0.0", resolved.Entry.Version)
		// One that only cannot be read now may be the one that is pinned.
		up.set(func() { up.broken = map[string]error{"2.0.0": failure(unreachable, "down")} })
		_, err = w.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Digest: digestOf(nil)})
		assertReason(t, unreachable, err)
	})
}

func TestASpecThatIsInvalidIsNeverReadWithoutItsCredentials(t *testing.T) {
	for _, url := range []string{httpURL, ociURL} {
		t.Run(url, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(url)
				up.set(func() { up.catalogue = true })
				up.push(t, "web", "1.0.0", "")
				source := w.put(Spec{URL: url, Generation: 1, Interval: time.Hour})
				w.state(source)
				requests := func() int {
					up.mu.Lock()
					defer up.mu.Unlock()
					return up.lists + up.versionCalls + up.describes + up.heads + up.fetches
				}
				before := requests()
				invalid := failure(configurationInvalid, "its Secret has no password")
				w.put(Spec{URL: url, Generation: 2, Interval: time.Hour, Invalid: invalid})
				_, err := w.resolve(source, "web", "")
				assert.ErrorIs(t, err, invalid)
				_, err = w.resolve(source, "other", "")
				assertReason(t, chartNotFound, err)
				_, _, err = w.Sync(context.Background(), source)
				assert.ErrorIs(t, err, invalid)
				pass(10 * time.Hour)
				assert.Equal(t, before, requests())
			})
		})
	}
}

// Run with -race: the caller must not read what the sync is about to write.
func TestACallerMayGiveUpAtTheMomentTheSyncEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		source := w.put(Spec{URL: httpURL, Interval: time.Hour})
		w.state(source)
		for i := range 50 {
			up.push(t, "web", fmt.Sprintf("1.0.%d", i), "")
			gate := make(chan struct{})
			up.set(func() { up.gate = gate })
			ctx, cancel := context.WithCancel(context.Background())
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					if _, changed, err := w.Sync(ctx, source); err == nil {
						assert.True(t, changed)
					} else {
						assert.ErrorIs(t, err, context.Canceled)
					}
				})
			}
			w.settle()
			callers.Go(cancel)
			close(gate)
			callers.Wait()
			w.settle()
		}
		assert.Equal(t, int64(50), w.state(source).Versions)
	})
}
