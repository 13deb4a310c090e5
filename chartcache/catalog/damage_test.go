package catalog

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
)

// flip changes one bit of a file in place, so that who has it open sees it.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	b[0] ^= 1 << (at % 8)
	_, err = f.WriteAt(b, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// generationFile is the file of the only repository's index.
func (w *world) generationFile() (name string, size int64) {
	w.t.Helper()
	names := withSuffix(w.files(repositoriesFolder), indexSuffix)
	require.Len(w.t, names, 1)
	info, err := os.Stat(names[0])
	require.NoError(w.t, err)
	return names[0], info.Size()
}

// answers asks for everything and fails when an answer is wrong. It returns the first refusal.
func (w *world) answers(source Source, want map[string]string) error {
	w.t.Helper()
	ctx := context.Background()
	charts, err := w.Charts(ctx, source, ChartQuery{})
	if err != nil {
		return err
	}
	assert.Len(w.t, charts.Charts, len(want))
	for chart, digest := range want {
		list, err := w.Versions(ctx, source, VersionQuery{Chart: chart})
		if err != nil {
			return err
		}
		assert.Len(w.t, list.Versions, 1)
		resolved, err := w.Resolve(ctx, source, ResolveQuery{Chart: chart})
		if err != nil {
			return err
		}
		assert.Equal(w.t, digest, resolved.Entry.Digest)
	}
	return nil
}

// damages are what can happen to an index file of a size, by name. A flipped bit hits blocks, table and footer in turn.
func damages(size int64) map[string]func(t *testing.T, name string) {
	all := map[string]func(t *testing.T, name string){
		"emptied": func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, 0)) },
		"halved":  func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, size/2)) },
		"cut":     func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, size-1)) },
	}
	for at := int64(0); at < size; at += 5 {
		all[fmt.Sprintf("bit flipped at %d of %d", at, size)] = func(t *testing.T, name string) { flip(t, name, at) }
	}
	return all
}

// newDamagedWorld serves two charts with digests.
func newDamagedWorld(t *testing.T) (w *world, up *fakeRepository, spec Spec, want map[string]string) {
	t.Helper()
	w = newWorld(t)
	up = w.internet.add(httpURL)
	up.set(func() { up.withDigests = true })
	want = map[string]string{"web": up.push(t, "web", "1.0.0", ""), "db": up.push(t, "db", "1.0.0", "")}
	up.set(func() { up.etag = `"1"` })
	spec = Spec{Ref: Ref{Namespace: "default", Name: "repo"}, URL: httpURL, Interval: time.Hour}
	return w, up, spec, want
}

func TestAnIndexThatIsDamagedWhileItIsServedIsNeverAWrongAnswerAndHeals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, _, spec, want := newDamagedWorld(t)
		source := w.put(spec)
		w.state(source)
		_, size := w.generationFile()
		refused := 0
		for how, damage := range damages(size) {
			name, _ := w.generationFile()
			damage(t, name)
			if err := w.answers(source, want); err != nil {
				assertReason(t, repositoryNotSynced, err)
				refused++
			}
			w.settle()
			require.NoError(t, w.answers(source, want), how)
			w.restart() // what was not read again, because it was in memory, is found to be damaged now
			w.put(spec)
			if err := w.answers(source, want); err != nil {
				assertReason(t, repositoryNotSynced, err)
				refused++
				w.settle()
			}
			require.NoError(t, w.answers(source, want), how)
		}
		assert.Greater(t, refused, 10)
	})
}

func TestAnIndexThatIsDamagedBeforeAStartIsNeverAWrongAnswerAndHeals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, up, spec, want := newDamagedWorld(t)
		source := w.put(spec)
		w.state(source)
		_, size := w.generationFile()
		for how, damage := range damages(size) {
			w.stop()
			name, _ := w.generationFile()
			damage(t, name)
			w.start()
			w.put(spec)
			if err := w.answers(source, want); err != nil {
				assertReason(t, repositoryNotSynced, err)
				w.settle()
			}
			require.NoError(t, w.answers(source, want), how)
		}
		assert.Greater(t, up.count(&up.lists), 10, "most of the damage was noticed")
	})
}

func TestADamagedIndexIsNotCopiedIntoTheNextOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w, up, spec, want := newDamagedWorld(t)
		source := w.put(spec)
		w.state(source)
		_, size := w.generationFile()
		version := 1
		for how, damage := range damages(size) {
			name, _ := w.generationFile()
			damage(t, name)
			// Only one of the charts changes; the other one would be taken from the damaged file.
			version++
			up.set(func() { delete(up.charts, "db") })
			want["db"] = up.push(t, "db", fmt.Sprintf("%d.0.0", version), "")
			_, _, err := w.Sync(context.Background(), source)
			require.NoError(t, err, how)
			require.NoError(t, w.answers(source, want), how)
		}
	})
}

func TestADamagedIndexOfARegistryHealsAndKeepsItsCharts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		want := map[string]string{"web": up.push(t, "web", "1.0.0", ""), "db": up.push(t, "db", "1.0.0", "")}
		source := w.put(Spec{URL: ociURL, Interval: time.Hour})
		for chart := range want {
			w.mustResolve(source, chart, "")
		}
		_, size := w.generationFile()
		for how, damage := range damages(size) {
			name, _ := w.generationFile()
			damage(t, name)
			// A chart that is asked for the first time would be put beside the damaged ones.
			chart := fmt.Sprintf("new-%d", len(want))
			digest := up.push(t, chart, "1.0.0", "")
			if _, err := w.resolve(source, chart, ""); err != nil {
				assertReason(t, repositoryNotSynced, err)
				w.settle()
				w.mustResolve(source, chart, "")
			}
			want[chart] = digest
			if err := w.answers(source, want); err != nil {
				assertReason(t, repositoryNotSynced, err)
			}
			w.settle()
			require.NoError(t, w.answers(source, want), how)
			w.mustSync(source)
			require.NoError(t, w.answers(source, want), how)
		}
	})
}

func TestADamagedTarballIsAMissAndIsDownloadedAgain(t *testing.T) {
	damages := map[string]func(t *testing.T, name string){
		"bit flipped": func(t *testing.T, name string) { flip(t, name, 40) },
		"truncated":   func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, 20)) },
		"emptied":     func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, 0)) },
		"removed":     func(t *testing.T, name string) { require.NoError(t, os.Remove(name)) },
	}
	for how, damage := range damages {
		for when, restart := range map[string]bool{"while serving": false, "before a start": true} {
			t.Run(how+" "+when, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					w := newWorld(t)
					up := w.internet.add(httpURL)
					digest := up.push(t, "web", "1.0.0", "")
					spec := Spec{URL: httpURL, Interval: time.Hour}
					source := w.put(spec)
					resolved := w.mustResolve(source, "web", "")
					w.mustFetch(source, resolved)
					stored := filesBelow(t, filepath.Join(w.dir, "blobs"))
					require.Len(t, stored, 1)
					damage(t, stored[0])
					if restart {
						w.restart()
						w.put(spec)
					}
					// Upstream cannot replace it now: a miss, not a wrong answer.
					up.set(func() { up.fetchFault = failure(unreachable, "down") })
					_, _, err := w.Fetch(context.Background(), source, resolved)
					assert.Equal(t, unreachable, cacheerr.ReasonOf(err))
					up.set(func() { up.fetchFault = nil })
					reader, _, err := w.Fetch(context.Background(), source, w.mustResolve(source, "web", ""))
					require.NoError(t, err)
					data, err := io.ReadAll(reader)
					require.NoError(t, err)
					require.NoError(t, reader.Close())
					assert.Equal(t, digest, digestOf(data))
					assert.Equal(t, 3, up.count(&up.fetches))
				})
			})
		}
	}
}
