package catalog

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
)

// stepLog records operations.
type stepLog struct{ ops []string }

func (l *stepLog) hooks() disk.Hooks {
	return disk.Hooks{Step: func(op, _ string) error {
		l.ops = append(l.ops, op)
		return nil
	}}
}

func newTestStore(t testing.TB, hooks disk.Hooks) store {
	t.Helper()
	s, err := openStore(t.TempDir(), hooks)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.disk.Close() })
	return s
}

// learnedFact is a fact of an HTTP repository whose index names no digests.
func learnedFact(i int) fact {
	digest := digestOf(fmt.Append(nil, i))
	return fact{
		Chart: "web", Version: fmt.Sprintf("1.0.%d", i), Learned: &learned{Listed: hashName(digest), Digest: digest, LearnedAt: now()},
		Digest: digest, Download: &download{MediaType: "application/gzip", CachedAt: now()},
	}
}

const testFolder = "repositories/a/b"

func TestLearningOneThingCostsTheSameHoweverMuchIsKnown(t *testing.T) {
	steps := &stepLog{}
	s := newTestStore(t, steps.hooks())
	k := newKnowledge()
	facts := make([]fact, 0, 5000)
	for i := range 5000 {
		facts = append(facts, learnedFact(i))
	}
	require.NoError(t, s.learn(testFolder, k, facts))
	size := func() int64 {
		info, err := os.Stat(s.path(path.Join(testFolder, learnedFile)))
		require.NoError(t, err)
		return info.Size()
	}

	before := size()
	steps.ops = nil
	require.NoError(t, s.learn(testFolder, k, []fact{learnedFact(5000)}))
	assert.Equal(t, []string{disk.OpWrite, disk.OpSync}, steps.ops, "a new digest is given out, so it must last")
	assert.Less(t, size()-before, int64(600))

	before = size()
	steps.ops = nil
	require.NoError(t, s.learn(testFolder, k, []fact{learnedFact(5000)}))
	require.NoError(t, s.learn(testFolder, k, []fact{{Digest: digestOf(nil), Download: &download{CachedAt: now()}}}))
	assert.Equal(t, []string{disk.OpWrite, disk.OpWrite}, steps.ops, "the rest can be learned again")
	assert.Less(t, size()-before, int64(1000))

	again := s.loadKnowledge(testFolder)
	assert.Equal(t, 5001, again.count)
	assert.LessOrEqual(t, len(again.downloads), maxDownloads)
	l, ok := again.version("web", "1.0.77")
	assert.True(t, ok)
	assert.Equal(t, learnedFact(77).Learned.Digest, l.Digest)
}

func TestALogThatHoldsMostlyOldFactsIsWrittenAnew(t *testing.T) {
	s := newTestStore(t, disk.Hooks{})
	k := newKnowledge()
	for range 2 * slackFacts {
		require.NoError(t, s.learn(testFolder, k, []fact{learnedFact(1)}))
	}
	data, err := os.ReadFile(s.path(path.Join(testFolder, learnedFile)))
	require.NoError(t, err)
	assert.LessOrEqual(t, strings.Count(string(data), "\n"), slackFacts+10)
	assert.Equal(t, 1, s.loadKnowledge(testFolder).count)
}

func TestAFactThatIsDamagedOrCutIsNotLearnedAndSpoilsNoOther(t *testing.T) {
	s := newTestStore(t, disk.Hooks{})
	k := newKnowledge()
	require.NoError(t, s.learn(testFolder, k, []fact{learnedFact(1), learnedFact(2)}))
	name := s.path(path.Join(testFolder, learnedFile))
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	for at := range data {
		flip(t, name, int64(at))
		found := s.loadKnowledge(testFolder)
		assert.GreaterOrEqual(t, found.count, 0)
		for version, l := range found.versions["web"] {
			want := learnedFact(int(version[len(version)-1] - '0'))
			assert.Equal(t, want.Learned.Digest, l.Digest)
		}
		require.NoError(t, os.WriteFile(name, data, 0o600))
	}
	// Killed in the middle of a line; the next one is whole.
	require.NoError(t, os.Truncate(name, int64(len(data)-9)))
	k = s.loadKnowledge(testFolder)
	assert.Equal(t, 1, k.count)
	require.NoError(t, s.learn(testFolder, k, []fact{learnedFact(3)}))
	k = s.loadKnowledge(testFolder)
	_, first := k.version("web", "1.0.1")
	_, third := k.version("web", "1.0.3")
	assert.True(t, first && third)
}

func TestALogThatCannotBeReadIsNotOverwritten(t *testing.T) {
	s := newTestStore(t, disk.Hooks{})
	require.NoError(t, s.learn(testFolder, newKnowledge(), []fact{learnedFact(1)}))
	name := s.path(path.Join(testFolder, learnedFile))
	require.NoError(t, os.Rename(name, name+".whole"))
	require.NoError(t, os.Symlink(learnedFile, name)) // a link to itself: "too many links", not "not there"
	k := s.loadKnowledge(testFolder)
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.Rename(name+".whole", name))
	require.NoError(t, s.learn(testFolder, k, []fact{learnedFact(2)}))
	require.NoError(t, s.rewrite(testFolder, k))
	assert.Equal(t, 2, s.loadKnowledge(testFolder).count)
}

func TestWhatIsNotListedAnyMoreIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		for i := range 5 {
			up.push(t, "web", fmt.Sprintf("1.0.%d", i), "")
		}
		db := up.push(t, "db", "1.0.0", "")
		spec := Spec{URL: httpURL, Interval: time.Hour}
		source := w.put(spec)
		for i := range 5 {
			w.mustResolve(source, "web", fmt.Sprintf("1.0.%d", i))
		}
		w.mustResolve(source, "db", "")
		log := withSuffix(w.files(repositoriesFolder), learnedFile)[0]
		before, err := os.ReadFile(log)
		require.NoError(t, err)
		up.set(func() {
			for i := range 4 {
				delete(up.charts["web"], fmt.Sprintf("1.0.%d", i))
			}
		})
		w.mustSync(source)
		after, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.Equal(t, 6, strings.Count(string(before), `"listed"`))
		assert.Equal(t, 2, strings.Count(string(after), `"listed"`))
		fetches := up.count(&up.fetches)
		w.restart()
		w.put(spec)
		assert.Equal(t, db, w.mustResolve(source, "db", "").Entry.Digest)
		assert.Equal(t, fetches, up.count(&up.fetches), "what is listed is still known")
	})
}

func TestATarballWhoseProvenanceWasEvictedIsDownloadedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(ociURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: ociURL, Interval: time.Hour})
		resolved := w.mustResolve(source, "web", "")
		assert.Equal(t, []byte("signed"), w.mustFetch(source, resolved).Provenance)
		_, blobs := w.blobs.Usage()
		assert.Equal(t, 2, blobs, "the file is a blob of its own")
		log, err := os.ReadFile(withSuffix(w.files(repositoriesFolder), learnedFile)[0])
		require.NoError(t, err)
		assert.NotContains(t, string(log), "c2lnbmVk", "it is not in the log")

		digits := strings.TrimPrefix(digestOf([]byte("signed")), "sha256:")
		require.NoError(t, os.Remove(filepath.Join(w.dir, "blobs", "sha256", digits[:2], digits)))
		assert.Equal(t, []byte("signed"), w.mustFetch(source, resolved).Provenance)
		assert.Equal(t, 2, up.count(&up.fetches))
		w.mustFetch(source, resolved)
		assert.Equal(t, 2, up.count(&up.fetches))
	})
}

func TestADifferenceFromADigestThatWasGivenOutIsReportedAfterARestartToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		first := up.push(t, "web", "1.0.0", "first")
		spec := Spec{URL: httpURL, Interval: time.Hour}
		source := w.put(spec)
		assert.Equal(t, first, w.mustResolve(source, "web", "").Entry.Digest)
		up.push(t, "web", "1.0.0", "second")
		w.stop()
		w.removeBlobs()
		w.start()
		w.put(spec)
		resolved := w.mustResolve(source, "web", "")
		assert.Equal(t, first, resolved.Entry.Digest)
		_, _, err := w.Fetch(context.Background(), source, resolved)
		assertReason(t, digestMismatch, err)
		assert.ErrorContains(t, err, "the one before had digest "+first)
		assert.ErrorContains(t, err, "publish it under another version")
	})
}

func TestTextsOfAChartThatAreTooLongAreNotRemembered(t *testing.T) {
	m := bounded(blob.Metadata{Name: "web", Description: strings.Repeat("x", maxMetadataBytes+1), AppVersion: "1"})
	assert.Equal(t, &blob.Metadata{Name: "web", AppVersion: "1"}, m)
}

func FuzzFactsAreReadBackOrRefused(f *testing.F) {
	line, err := encodeFact(learnedFact(1))
	require.NoError(f, err)
	f.Add(line[1:])
	f.Add(line)
	f.Add([]byte("00000000 {}"))
	f.Add([]byte("2ab20b0a null"))
	f.Fuzz(func(t *testing.T, line []byte) {
		found, ok := decodeFact(line)
		k := newKnowledge()
		k.take(found)
		if !ok {
			assert.Zero(t, k.count+len(k.downloads), "nothing is learned from it")
			return
		}
		again, err := encodeFact(found)
		require.NoError(t, err)
		back, ok := decodeFact(again[1:])
		require.True(t, ok)
		assert.Equal(t, found, back)
	})
}

func BenchmarkLearnBesideFiveThousandVersions(b *testing.B) {
	s := newTestStore(b, disk.Hooks{})
	k := newKnowledge()
	facts := make([]fact, 0, 5000)
	for i := range 5000 {
		facts = append(facts, learnedFact(i))
	}
	require.NoError(b, s.learn(testFolder, k, facts))
	for i := 0; b.Loop(); i++ {
		require.NoError(b, s.learn(testFolder, k, []fact{learnedFact(i % 10000)}))
	}
}
