package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const digestMismatch = chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func ingest(t *testing.T, s *Store, content string) string {
	t.Helper()
	info, err := s.Ingest(t.Context(), strings.NewReader(content), "", 0)
	require.NoError(t, err)
	return info.Digest
}

func holds(t *testing.T, s *Store, digest string) bool {
	t.Helper()
	r, ok, err := s.Open(digest)
	require.NoError(t, err)
	if ok {
		require.NoError(t, r.Close())
	}
	return ok
}

// files lists the files below dir, as paths relative to it.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, name)
			names = append(names, rel)
		}
		return err
	}))
	return names
}

func TestIngestedContentIsReadBack(t *testing.T) {
	s := open(t, Config{})
	content := []byte("some tarball")
	info, err := s.Ingest(t.Context(), bytes.NewReader(content), "", 0)
	require.NoError(t, err)
	assert.Equal(t, Info{Digest: digestOf(content), SizeBytes: 12}, info)

	r, ok, err := s.Open(info.Digest)
	require.NoError(t, err)
	require.True(t, ok)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, content, got)
	assert.Equal(t, int64(12), r.Size())
	part := make([]byte, 7)
	_, err = r.ReadAt(part, 5)
	require.NoError(t, err)
	assert.Equal(t, "tarball", string(part))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "closing twice is harmless")

	size, blobs := s.Usage()
	assert.Equal(t, int64(12), size)
	assert.Equal(t, 1, blobs)
}

func TestIngestRefuses(t *testing.T) {
	broken := errors.New("connection lost")
	content := "some tarball"
	tests := []struct {
		name   string
		r      io.Reader
		want   string
		limit  int64
		reason chartcachev1.ErrorReason
		is     error
		says   string
	}{
		{name: "content that has another digest", r: strings.NewReader("other"), want: digestOf([]byte(content)), reason: digestMismatch, says: "has digest sha256:"},
		{name: "content whose digest is of another kind", r: strings.NewReader(content), want: "md5:abc", reason: digestMismatch, says: "not a sha256"},
		{name: "content that is over the caller's limit", r: strings.NewReader(content), limit: 11, reason: tooLargeReason, says: "11 bytes (limit --max-chart-bytes)"},
		{name: "content that is larger than the store", r: strings.NewReader(strings.Repeat("x", 101)), limit: 1000, reason: tooLargeReason, says: "100 bytes (limit --blob-cache-bytes)"},
		{name: "content whose source breaks", r: io.MultiReader(strings.NewReader(content), iotest.ErrReader(broken)), is: broken, reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL},
		{
			name: "content whose source breaks with a reason, which stays", reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE,
			r: iotest.ErrReader(cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, "gone")),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir, MaxBytes: 100})
			_, err := s.Ingest(t.Context(), tt.r, tt.want, tt.limit)
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, tt.reason, cacheerr.ReasonOf(err), "%v", err)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			assert.Empty(t, files(t, dir), "nothing stays")
			_, blobs := s.Usage()
			assert.Zero(t, blobs)
		})
	}
}

func TestIngestEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("shutting down")
	cancel(cause)
	_, err := s.Ingest(ctx, strings.NewReader("x"), "", 0)
	require.ErrorIs(t, err, cause)
	assert.Empty(t, files(t, dir))
}

func TestIngestAcceptsDigestsAsIndexesWriteThem(t *testing.T) {
	content := []byte("x")
	digest := digestOf(content)
	digits := strings.TrimPrefix(digest, "sha256:")
	for _, want := range []string{digest, digits, strings.ToUpper(digits), "sha256:" + strings.ToUpper(digits)} {
		t.Run(want, func(t *testing.T) {
			info, err := open(t, Config{}).Ingest(t.Context(), bytes.NewReader(content), want, 0)
			require.NoError(t, err)
			assert.Equal(t, digest, info.Digest)
		})
	}
}

func TestIngestChartKeepsOnlyTheChartThatWasAskedFor(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	chart := demoChart(t)

	_, _, err := s.IngestChart(t.Context(), bytes.NewReader(chart), "", 0, "demo", "2.0.0", ChartLimits{})
	assert.Equal(t, chartInvalid, cacheerr.ReasonOf(err))
	_, _, err = s.IngestChart(t.Context(), strings.NewReader("<html>"), "", 0, "demo", "1.2.3", ChartLimits{})
	assert.Equal(t, chartInvalid, cacheerr.ReasonOf(err))
	assert.Empty(t, files(t, dir), "nothing stays")

	info, m, err := s.IngestChart(t.Context(), bytes.NewReader(chart), digestOf(chart), 0, "demo", "1.2.3", ChartLimits{})
	require.NoError(t, err)
	assert.Equal(t, "demo", m.Name)
	assert.Equal(t, digestOf(chart), info.Digest)
	assert.True(t, holds(t, s, info.Digest))
}

func TestARestartFindsWholeBlobsAndRemovesInterruptedWrites(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	digest := ingest(t, s, "kept")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tmp", "LEFTOVER"), []byte("half"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sha256", "stray"), []byte("not ours"), 0o600))

	again := open(t, Config{Dir: dir})
	assert.True(t, holds(t, again, digest))
	size, blobs := again.Usage()
	assert.Equal(t, int64(4), size)
	assert.Equal(t, 1, blobs)
	assert.Len(t, files(t, dir), 2, "the blob and the stray file")
}

func TestADamagedBlobIsAMissAndCanBeIngestedAgain(t *testing.T) {
	damages := []struct {
		name   string
		damage func(t *testing.T, name string)
	}{
		{"removed", func(t *testing.T, name string) { require.NoError(t, os.Remove(name)) }},
		{"changed", func(t *testing.T, name string) { require.NoError(t, os.WriteFile(name, []byte("CONTENT"), 0o600)) }},
		{"truncated", func(t *testing.T, name string) { require.NoError(t, os.Truncate(name, 3)) }},
		{"extended", func(t *testing.T, name string) { require.NoError(t, os.WriteFile(name, []byte("content!"), 0o600)) }},
		{"replaced by a link out of the store", func(t *testing.T, name string) {
			outside := filepath.Join(t.TempDir(), "outside")
			require.NoError(t, os.WriteFile(outside, []byte("content"), 0o600))
			require.NoError(t, os.Remove(name))
			require.NoError(t, os.Symlink(outside, name))
		}},
	}
	for _, tt := range damages {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir})
			digest := ingest(t, s, "content")
			tt.damage(t, filepath.Join(dir, filepath.FromSlash(blobName(digest))))

			_, ok, err := s.Open(digest)
			require.NoError(t, err)
			assert.False(t, ok)
			size, blobs := s.Usage()
			assert.Zero(t, size)
			assert.Zero(t, blobs)

			ingest(t, s, "content")
			assert.True(t, holds(t, s, digest))
		})
	}
}

func TestIngestHealsADamagedBlob(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	digest := ingest(t, s, "content")
	require.NoError(t, os.Truncate(filepath.Join(dir, filepath.FromSlash(blobName(digest))), 0))
	ingest(t, s, "content")
	assert.True(t, holds(t, s, digest))
	size, _ := s.Usage()
	assert.Equal(t, int64(7), size)
}

func TestNamesThatAreNoDigestsAreMisses(t *testing.T) {
	s := open(t, Config{})
	for _, digest := range []string{"", "sha256:", "../../etc/passwd", "sha256:" + strings.Repeat("g", 64), "sha256:" + strings.Repeat("a", 64)} {
		assert.False(t, holds(t, s, digest), digest)
	}
}

func TestEvictionTakesWhatWasUsedLeastRecently(t *testing.T) {
	s := open(t, Config{MaxBytes: 30})
	a, b, c := ingest(t, s, "aaaaaaaaaa"), ingest(t, s, "bbbbbbbbbb"), ingest(t, s, "cccccccccc")
	assert.True(t, holds(t, s, a), "a is used")
	d := ingest(t, s, "dddddddddd")
	assert.False(t, holds(t, s, b), "b was used least recently")
	for _, digest := range []string{a, c, d} {
		assert.True(t, holds(t, s, digest))
	}
	size, blobs := s.Usage()
	assert.Equal(t, int64(30), size)
	assert.Equal(t, 3, blobs)
	assert.Equal(t, int64(1), s.Evictions())
}

func TestWhatIsBeingReadIsNotEvictedUntilItIsClosed(t *testing.T) {
	s := open(t, Config{MaxBytes: 15})
	a := ingest(t, s, "aaaaaaaaaa")
	r, ok, err := s.Open(a)
	require.NoError(t, err)
	require.True(t, ok)

	b := ingest(t, s, "bbbbbbbbbb")
	size, blobs := s.Usage()
	assert.Equal(t, int64(20), size, "over the bound while it is read")
	assert.Equal(t, 2, blobs)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "aaaaaaaaaa", string(got))

	require.NoError(t, r.Close())
	assert.False(t, holds(t, s, a))
	assert.True(t, holds(t, s, b))
}

func TestTheOrderOfUseSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	s := open(t, Config{Dir: dir, MaxBytes: 30, Now: c.Now})
	digests := make([]string, 0, 3)
	for i := range 3 {
		digest := ingest(t, s, fmt.Sprintf("content-%d.", i))
		// New files have the disk's time; the test's clock sets theirs.
		c.Add(2 * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(dir, filepath.FromSlash(blobName(digest))), c.Now(), c.Now()))
		digests = append(digests, digest)
	}
	c.Add(2 * time.Hour)
	assert.True(t, holds(t, s, digests[0]), "the oldest is used again")

	again := open(t, Config{Dir: dir, MaxBytes: 30, Now: c.Now})
	ingest(t, again, "content-3.")
	assert.True(t, holds(t, again, digests[0]))
	assert.False(t, holds(t, again, digests[1]))
}

func TestALowerBoundEvictsAtStart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	ingest(t, s, "aaaaaaaaaa")
	ingest(t, s, "bbbbbbbbbb")
	size, blobs := open(t, Config{Dir: dir, MaxBytes: 10}).Usage()
	assert.Equal(t, int64(10), size)
	assert.Equal(t, 1, blobs)
}

func TestOpenRefusesANegativeBound(t *testing.T) {
	_, err := Open(Config{Dir: t.TempDir(), MaxBytes: -1})
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, cacheerr.ReasonOf(err))
}

func TestOpenFailsWhereAFileIsInTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(Config{Dir: file})
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, cacheerr.ReasonOf(err))
}

func TestConcurrentUseKeepsTheCountsRight(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, MaxBytes: 50})
	var group errgroup.Group
	for worker := range 8 {
		group.Go(func() error {
			for i := range 20 {
				if err := ingestAndRead(t.Context(), s, fmt.Sprintf("content-%d.", (worker+i)%8)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	size, blobs := s.Usage()
	assert.Equal(t, int64(50), size)
	assert.Equal(t, 5, blobs)
	assert.Len(t, files(t, dir), 5)
}

// ingestAndRead fails unless content reads back, or was pushed out by another blob.
func ingestAndRead(ctx context.Context, s *Store, content string) error {
	info, err := s.Ingest(ctx, strings.NewReader(content), "", 0)
	if err != nil {
		return err
	}
	r, ok, err := s.Open(info.Digest)
	if err != nil || !ok {
		return err
	}
	got, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if string(got) != content {
		return fmt.Errorf("read %q instead of %q", got, content)
	}
	return r.Close()
}
