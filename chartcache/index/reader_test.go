package index

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func diff(t testing.TB, before, after *Reader) []string {
	t.Helper()
	changed, err := Diff(before, after)
	require.NoError(t, err)
	return changed
}

func none(string) Entry { return Entry{} }

func TestEqualContentHasEqualRevisionsWhateverItsOrder(t *testing.T) {
	a := open(t, build(t, func(b *Builder) error {
		return errors.Join(b.AddTags("x", []string{"1.0.0", "2.0.0"}, none), b.AddTags("y", []string{"1.0.0"}, none))
	}))
	b := open(t, build(t, func(b *Builder) error {
		b.SetSourceBytes(7)
		return errors.Join(b.AddTags("y", []string{"1.0.0"}, none), b.AddTags("x", []string{"2.0.0", "1.0.0", "latest"}, none))
	}))
	assert.Equal(t, a.Revision(), b.Revision(), "figures about the source are not content")
	assert.Equal(t, int64(1), b.Stats().Rejected)
	assert.Empty(t, diff(t, a, b))
}

func TestDiffNamesChartsThatWereAddedChangedOrRemoved(t *testing.T) {
	before := open(t, build(t, func(b *Builder) error {
		return errors.Join(b.AddTags("changed", []string{"1.0.0"}, none), b.AddTags("gone", []string{"1.0.0"}, none), b.AddTags("same", []string{"1.0.0"}, none))
	}))
	after := open(t, build(t, func(b *Builder) error {
		return errors.Join(b.AddTags("changed", []string{"1.0.0", "1.1.0"}, none), b.AddTags("new", []string{"1.0.0"}, none), b.AddTags("same", []string{"1.0.0"}, none))
	}))
	assert.Equal(t, []string{"changed", "gone", "new"}, diff(t, before, after))
	assert.Equal(t, []string{"changed", "new", "same"}, diff(t, nil, after))
	assert.Equal(t, []string{"changed", "gone", "same"}, diff(t, before, nil))
	was, ok, err := before.ChartRevision("changed")
	require.NoError(t, err)
	assert.True(t, ok)
	is, _, err := after.ChartRevision("changed")
	require.NoError(t, err)
	assert.NotEqual(t, was, is)
}

func TestVersionsAreSortedAsHelmSortsThem(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	r := open(t, build(t, func(b *Builder) error {
		return b.Add("c", []Entry{
			{Version: "1.0.0-rc.2"}, {Version: "1.0.0-rc.10"}, {Version: "v1.0.1"}, {Version: "1.0.0"}, {Version: "1.0.0+b.1", Created: day(2)},
			{Version: "1.0.0+b.2", Created: day(1)}, {Version: "10.0.0"}, {Version: "9.0.0"}, {Version: "1.2"},
		})
	}))
	assert.Equal(t, []string{"10.0.0", "9.0.0", "1.2", "v1.0.1", "1.0.0+b.1", "1.0.0+b.2", "1.0.0", "1.0.0-rc.10", "1.0.0-rc.2"}, versionsOf(t, r, "c"))
}

func TestAChartWithoutStableVersionsIsDescribedByItsNewest(t *testing.T) {
	r := open(t, build(t, func(b *Builder) error { return b.AddTags("c", []string{"1.0.0-a", "1.0.0-b"}, none) }))
	s, ok, err := r.Summary("c")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "1.0.0-b", s.Latest.Version)
}

func TestCopyKeepsAChartAsItIs(t *testing.T) {
	from := fromHelm(t, sample)
	to := open(t, build(t, func(b *Builder) error {
		return errors.Join(b.AddTags("new", []string{"1.0.0"}, none), b.Copy(from, "web"), b.Copy(from, "nothing"))
	}))
	assert.Equal(t, []string{"db", "new"}, diff(t, from, to))
	summary, _, err := to.Summary("web")
	require.NoError(t, err)
	assert.Equal(t, "1.10.0", summary.Latest.Version)
}

func TestADamagedFileIsCorruptWhereverItIsDamaged(t *testing.T) {
	whole, err := os.ReadFile(build(t, func(b *Builder) error { return b.AddTags("c", []string{"1.0.0", "1.1.0"}, none) }))
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "damaged")
	refused := func(data []byte, what string, at int) {
		require.NoError(t, os.WriteFile(name, data, 0o600))
		assert.ErrorIs(t, readAll(name), ErrCorrupt, "%s at %d", what, at)
	}
	// A prime step meets every field without writing a file per byte.
	for i := 0; i < len(whole); i += 5 {
		refused(whole[:i], "cut", i)
		if i < len(magic) {
			continue // nothing is read from there
		}
		flipped := append([]byte{}, whole...)
		flipped[i] ^= 0x20
		refused(flipped, "flipped", i)
	}
	_, err = Open(filepath.Join(t.TempDir(), "missing"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// readAll reads everything that a file holds.
func readAll(name string) error {
	r, err := Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	charts, err := r.Charts()
	for _, chart := range charts {
		_, _, versionsErr := r.Versions(chart)
		err = errors.Join(err, versionsErr)
	}
	return err
}

func TestDamageAfterOpeningIsNoticed(t *testing.T) {
	name := build(t, func(b *Builder) error { return b.AddTags("c", []string{"1.0.0"}, none) })
	r := open(t, name)
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), int64(len(magic))+2)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	_, _, err = r.Versions("c")
	assert.ErrorIs(t, err, ErrCorrupt)
	_, _, err = r.Lookup("c", "1.0.0")
	assert.ErrorIs(t, err, ErrCorrupt)
	_, ok, err := r.Summary("c")
	require.NoError(t, err, "what describes the chart is in another place")
	assert.True(t, ok)
	require.NoError(t, os.Truncate(name, 1))
	_, _, err = r.Versions("c")
	assert.ErrorIs(t, err, ErrCorrupt)
	_, _, err = r.Summary("c")
	assert.ErrorIs(t, err, ErrCorrupt)
	_, err = r.Charts()
	assert.ErrorIs(t, err, ErrCorrupt)
}

type fullDisk struct{ left int }

var errDiskFull = errors.New("disk full")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errDiskFull
	}
	return len(p), nil
}

func TestAFullDiskFailsTheGeneration(t *testing.T) {
	b := NewBuilder(&fullDisk{left: 100})
	for range 3 {
		_ = b.AddTags("c", []string{"1.0.0"}, none)
	}
	_, _, err := b.Finish()
	assert.ErrorIs(t, err, errDiskFull)
}

func FuzzOpen(f *testing.F) {
	whole, err := os.ReadFile(build(f, func(b *Builder) error { return b.AddTags("c", []string{"1.0.0", "1.1.0"}, none) }))
	require.NoError(f, err)
	f.Add(whole)
	f.Add([]byte(magic + magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "index")
		require.NoError(t, os.WriteFile(name, data, 0o600))
		r, err := Open(name)
		if err != nil {
			assert.ErrorIs(t, err, ErrCorrupt)
			return
		}
		defer func() { _ = r.Close() }()
		charts, err := r.Charts()
		require.NoError(t, err)
		for _, chart := range charts {
			if _, _, err := r.Versions(chart); err != nil {
				assert.ErrorIs(t, err, ErrCorrupt)
			}
		}
	})
}
