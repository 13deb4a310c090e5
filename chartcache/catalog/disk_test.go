package catalog

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/upstream"
)

func TestARestartServesFromDiskBeforeAnySync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		digest := up.push(t, "web", "1.0.0", "")
		spec := Spec{URL: httpURL, Generation: 4, Interval: time.Hour}
		source := w.put(spec)
		resolved := w.mustResolve(source, "web", "")
		w.mustFetch(source, resolved)
		before := w.state(source)

		pass(10 * time.Minute)
		up.set(func() { up.fault = failure(unreachable, "down") })
		w.restart()
		w.put(spec)
		assert.Equal(t, before, w.state(source))
		assert.Equal(t, 1, up.count(&up.lists), "the next sync is due when it was")
		again := w.mustResolve(source, "web", "^1.0.0")
		assert.Equal(t, digest, again.Entry.Digest, "what was learned outlives a restart")
		assert.Equal(t, "application/gzip", w.mustFetch(source, again).MediaType)
		assert.Equal(t, 1, up.count(&up.fetches))

		pass(50 * time.Minute)
		s := w.state(source)
		assert.Equal(t, 2, up.count(&up.lists))
		assert.Equal(t, failed, s.State)
		assert.Equal(t, before.Revision, s.Revision)

		w.restart()
		w.put(spec)
		assert.Equal(t, s, w.state(source), "an outcome outlives a restart too")
	})
}

func TestARestartSyncsAtOnceWhenItsTimeHasComeOrTheSpecChanged(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"overdue": func(*Spec) { time.Sleep(2 * time.Hour) },
		"edited":  func(s *Spec) { s.Generation++ },
		// The clock was set back: the stored time is further away than an interval.
		"shorter interval": func(s *Spec) { s.Interval = 10 * time.Second; time.Sleep(10 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t)
				up := w.internet.add(httpURL)
				spec := Spec{URL: httpURL, Generation: 4, Interval: time.Hour}
				source := w.put(spec)
				w.state(source)
				w.stop()
				change(&spec)
				w.start()
				w.put(spec)
				pass(10 * time.Second)
				assert.GreaterOrEqual(t, up.count(&up.lists), 2)
				assert.Equal(t, spec.Generation, w.state(source).ObservedGeneration)
			})
		})
	}
}

func TestWhatACrashLeavesIsRemovedAndNothingIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		spec := Spec{URL: httpURL}
		source := w.put(spec)
		before := w.state(source)
		w.stop()
		folder := w.store.path(w.store.folder(source, httpURL, false))
		whole := w.files(repositoriesFolder)

		// Killed while it wrote a generation or a state, between the rename of a generation and that of its state, and
		// before it removed the generation before.
		temp := filepath.Join(w.dir, "catalog", tempFolder)
		for _, name := range []string{filepath.Join(temp, "1.index"), filepath.Join(temp, "2.index"), filepath.Join(folder, "new.index"), filepath.Join(folder, "old.index")} {
			require.NoError(t, os.WriteFile(name, []byte("half"), 0o600))
		}
		w.start()
		w.put(spec)
		assert.Equal(t, before, w.state(source))
		assert.Equal(t, whole, w.files(repositoriesFolder))
		assert.Empty(t, w.files(tempFolder))
	})
}

func TestADamagedFileIsAMiss(t *testing.T) {
	garbage := map[string]string{"empty": "", "cut JSON": `{"format":1,"ind`, "another format": `{"format":99,"outcome":2}`, "text": "hello"}
	for file := range map[string]bool{stateFile: true, learnedFile: true, indexSuffix: true} {
		for name, content := range garbage {
			t.Run(file+" is "+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					w := newWorld(t)
					up := w.internet.add(httpURL)
					digest := up.push(t, "web", "1.0.0", "")
					spec := Spec{URL: httpURL}
					source := w.put(spec)
					w.mustResolve(source, "web", "")
					w.stop()
					damaged := 0
					for _, f := range w.files(repositoriesFolder) {
						if strings.HasSuffix(f, file) {
							require.NoError(t, os.WriteFile(f, []byte(content), 0o600))
							damaged++
						}
					}
					require.Equal(t, 1, damaged)
					w.start()
					w.put(spec)
					resolved := w.mustResolve(source, "web", "")
					assert.Equal(t, digest, resolved.Entry.Digest)
					w.mustFetch(source, resolved)
					assert.Equal(t, synced, w.state(source).State)
					assert.Len(t, w.files(repositoriesFolder), 3, "state, knowledge and one generation")
				})
			})
		}
	}
}

func TestDamageWhileServingMakesTheRepositorySyncAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		up.set(func() { up.etag = `"1"` })
		source := w.put(Spec{URL: httpURL})
		w.state(source)
		for _, f := range w.files(repositoriesFolder) {
			if strings.HasSuffix(f, indexSuffix) {
				require.NoError(t, os.Truncate(f, 10))
			}
		}
		_, err := w.resolve(source, "web", "")
		assertReason(t, repositoryNotSynced, err)
		w.settle()
		assert.Equal(t, synced, w.state(source).State)
		w.mustResolve(source, "web", "")
	})
}

func TestAFullDiskFailsTheSyncAndKeepsWhatIsServed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL})
		before := w.state(source)
		up.push(t, "web", "2.0.0", "")
		// Nothing can be created any more.
		temp := filepath.Join(w.dir, "catalog", tempFolder)
		require.NoError(t, os.RemoveAll(temp))
		require.NoError(t, os.WriteFile(temp, nil, 0o600))
		_, _, err := w.Sync(context.Background(), source)
		require.Error(t, err)
		s := w.state(source)
		assert.Equal(t, failed, s.State)
		assert.Equal(t, before.Revision, s.Revision)
		assert.Equal(t, "1.0.0", func() string {
			list, err := w.Versions(context.Background(), source, VersionQuery{Chart: "web"})
			require.NoError(t, err)
			return list.Versions[0].Version
		}())
		require.NoError(t, os.Remove(temp))
		require.NoError(t, os.Mkdir(temp, 0o750))
		assert.Equal(t, synced, w.mustSync(source).State)
		assert.Equal(t, "2.0.0", w.mustResolve(source, "web", "").Entry.Version)
	})
}

func TestDeleteRemovesWhatIsOnDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL})
		resolved := w.mustResolve(source, "web", "")
		require.NotEmpty(t, w.files(repositoriesFolder))
		w.Delete(*source.Ref)
		w.Delete(*source.Ref)
		assert.Empty(t, w.files(repositoriesFolder))
		_, err := w.Repository(context.Background(), source)
		assertReason(t, repositoryNotFound, err)
		_, _, err = w.Fetch(context.Background(), source, resolved)
		assertReason(t, repositoryNotFound, err)
		_, removed, _ := w.metrics.all()
		assert.Equal(t, []Source{source}, removed)

		// The same name again is another repository.
		w.put(Spec{URL: httpURL})
		assert.Equal(t, synced, w.state(source).State)
		assert.Equal(t, 2, up.count(&up.lists))
	})
}

func TestDeleteDuringASyncLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		source := w.put(Spec{URL: httpURL})
		result := make(chan error, 1)
		go func() {
			_, _, err := w.Sync(context.Background(), source)
			result <- err
		}()
		w.settle()
		w.Delete(*source.Ref)
		assertReason(t, repositoryNotFound, <-result)
		close(gate)
		w.settle()
		assert.Empty(t, w.files(repositoriesFolder))
		reports, _, _ := w.metrics.all()
		assert.Empty(t, reports)
	})
}

func TestPruneRemovesRepositoriesThatWereDeletedWhileTheProcessWasDown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		kept, gone := Ref{Namespace: "n", Name: "kept"}, Ref{Namespace: "n", Name: "gone"}
		w.put(Spec{Ref: kept, URL: httpURL})
		w.put(Spec{Ref: gone, URL: httpURL})
		_, err := w.Repository(context.Background(), ByURL(httpURL))
		require.NoError(t, err)
		w.settle()
		w.restart()
		w.put(Spec{Ref: kept, URL: httpURL})
		require.NoError(t, w.Prune())
		assert.DirExists(t, w.store.path(w.store.home(Source{Ref: &kept})))
		assert.NoDirExists(t, w.store.path(w.store.home(Source{Ref: &gone})))
		assert.DirExists(t, w.store.path(w.store.home(ByURL(httpURL))))
	})
}

func TestAnotherURLIsNeverServedUnderTheNewOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const otherURL = "https://other.example.com"
		w := newWorld(t)
		one, other := w.internet.add(httpURL), w.internet.add(otherURL)
		one.push(t, "web", "1.0.0", "one")
		other.push(t, "db", "1.0.0", "other")
		spec := Spec{URL: httpURL, Generation: 1}
		source := w.put(spec)
		resolved := w.mustResolve(source, "web", "")
		before := w.state(source)

		gate := make(chan struct{})
		other.set(func() { other.gate = gate })
		spec.URL, spec.Generation = otherURL, 2
		w.put(spec)
		s := w.state(source)
		assert.Equal(t, pending, s.State)
		assert.Equal(t, int64(2), s.ObservedGeneration)
		assert.Equal(t, Revision{}, s.Revision)
		assert.Equal(t, otherURL, s.URL)
		assert.Equal(t, 1, other.count(&other.lists), "it syncs at once")
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := w.Charts(short, source, ChartQuery{})
		assert.ErrorIs(t, err, context.DeadlineExceeded, "reads wait for the first sync")

		// The typo is mended before the new URL ever answered: what was there is there again.
		spec.URL, spec.Generation = httpURL, 3
		one.set(func() { one.fault = failure(unreachable, "down") })
		w.put(spec)
		assert.Equal(t, before.Revision, w.state(source).Revision)
		assert.Equal(t, []string{"web"}, w.chartNames(source))

		close(gate)
		spec.URL, spec.Generation = otherURL, 4
		w.put(spec)
		assert.Equal(t, []string{"db"}, w.chartNames(source))
		_, _, err = w.Fetch(context.Background(), source, resolved)
		assertReason(t, versionNotFound, err)
		w.settle()
		assert.NoDirExists(t, w.store.path(w.store.folder(source, httpURL, false)), "the old URL's state goes when the new one stands")
		assert.DirExists(t, w.store.path(w.store.folder(source, otherURL, false)))
	})
}

func TestADownloadThatAURLChangeOvertakesDoesNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const otherURL = "https://other.example.com"
		w := newWorld(t)
		one, other := w.internet.add(httpURL), w.internet.add(otherURL)
		one.push(t, "web", "1.0.0", "one")
		other.push(t, "web", "1.0.0", "other")
		source := w.put(Spec{URL: httpURL, Generation: 1})
		w.state(source)
		gate := make(chan struct{})
		one.set(func() { one.gate = gate })
		result := make(chan error, 1)
		go func() {
			_, err := w.resolve(source, "web", "")
			result <- err
		}()
		w.settle()
		w.put(Spec{URL: otherURL, Generation: 2})
		w.settle()
		close(gate)
		assertReason(t, repositoryNotSynced, <-result)
		assert.NotEqual(t, digestOf(tarball(t, "web", "1.0.0", "one")), w.mustResolve(source, "web", "").Entry.Digest)
	})
}

func TestNoCredentialIsEverOnDisk(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		const secretURL = httpURL + "/?token=hunter2"
		up := w.internet.add(secretURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: secretURL, CredentialsID: "hunter2", Credentials: func(context.Context) (upstream.Credentials, error) {
			return upstream.Credentials{Username: "u", Password: "hunter2"}, nil
		}})
		w.mustFetch(source, w.mustResolve(source, "web", ""))
		assert.Equal(t, httpURL+"/", w.state(source).URL)
		for _, f := range w.files(repositoriesFolder) {
			data, err := os.ReadFile(f)
			require.NoError(t, err)
			assert.NotContains(t, string(data), "hunter2", f)
			assert.NotContains(t, f, "hunter2")
		}
	})
}
