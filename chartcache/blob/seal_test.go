package blob

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sealed is a store with one blob that was changed some time ago and opened since.
func sealed(t *testing.T, changed time.Duration) (s *Store, c *clock, digest, name string) {
	t.Helper()
	c = newClock()
	dir := t.TempDir()
	s = open(t, Config{Dir: dir, Now: c.Now})
	digest = ingest(t, s, "content")
	name = filepath.Join(dir, filepath.FromSlash(blobName(digest)))
	require.NoError(t, os.Chtimes(name, c.Now(), c.Now().Add(-changed)))
	require.True(t, holds(t, s, digest))
	return s, c, digest, name
}

// rot changes a file behind the back of the file system's clock.
func rot(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, []byte("CONTENT"), 0o600))
	require.NoError(t, os.Chtimes(name, info.ModTime(), info.ModTime()))
}

func TestABlobThatNobodyChangedIsNotReadAgainForAWhile(t *testing.T) {
	s, c, digest, name := sealed(t, time.Minute)
	rot(t, name)
	assert.True(t, holds(t, s, digest), "only reading it all would tell")
	c.Add(sealLasts)
	assert.False(t, holds(t, s, digest), "a medium that rots is noticed")
}

func TestABlobIsReadAgainWhenItCouldHaveChanged(t *testing.T) {
	for what, test := range map[string]struct {
		changed time.Duration
		then    func(t *testing.T, c *clock, name string)
	}{
		"it was changed": {time.Minute, func(t *testing.T, _ *clock, name string) {
			require.NoError(t, os.WriteFile(name, []byte("CONTENT"), 0o600))
		}},
		"it was replaced": {time.Minute, func(t *testing.T, _ *clock, name string) {
			info, err := os.Stat(name)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(name+".new", []byte("CONTENT"), 0o600))
			require.NoError(t, os.Chtimes(name+".new", info.ModTime(), info.ModTime()))
			require.NoError(t, os.Rename(name+".new", name))
		}},
		"it was verified just after it was changed": {sealSettles - 1, func(t *testing.T, _ *clock, name string) { rot(t, name) }},
		"the clock was set back": {time.Minute, func(t *testing.T, c *clock, name string) {
			rot(t, name)
			c.Add(-time.Second)
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s, c, digest, name := sealed(t, test.changed)
			test.then(t, c, name)
			assert.False(t, holds(t, s, digest))
		})
	}
}
