package stack

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/deploy/local/internal/console"
	"github.com/ketches/helm-operator/deploy/local/internal/rundir"
)

func TestTailReturnsTheLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("a\nb\nc\n"), 0o600))
	assert.Equal(t, "b\nc", tail(path, 2))
	assert.Equal(t, "a\nb\nc", tail(path, 9))
	assert.Empty(t, tail(path+"x", 2))
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 1<<20)), 0o600))
	assert.Len(t, tail(path, 1), longestLine+len("..."))
}

func TestAStackThatCannotStartLeavesOnlyItsLogs(t *testing.T) {
	state := rundir.State{Root: t.TempDir()} // without programs
	_, err := Start(t.Context(), Config{
		Name: "broken", State: state, Now: time.Now, Console: &console.Console{Out: io.Discard, Now: time.Now},
	})
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.NoDirExists(t, state.RunFolder("broken"))
	assert.DirExists(t, state.KeptLogs("broken"))
}

func TestServicesNeedManifests(t *testing.T) {
	_, err := Start(t.Context(), Config{Name: "x", Services: "bin", State: rundir.State{Root: t.TempDir()}, Now: time.Now})
	require.ErrorContains(t, err, "folder to install")
}
