package toolbox

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/deploy/local/internal/console"
)

func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module m\n\ngo 1.26.0\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), nil, 0o600))
	return dir
}

func TestTheStampChangesWithTheModule(t *testing.T) {
	dir := module(t)
	first, err := stampOf(t.Context(), dir)
	require.NoError(t, err)
	same, err := stampOf(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, first, same)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), []byte("x v1 h1:\n"), 0o600))
	other, err := stampOf(t.Context(), dir)
	require.NoError(t, err)
	assert.NotEqual(t, first, other)
}

func TestNothingIsBuiltWhenEverythingIsThere(t *testing.T) {
	dir, bin := module(t), t.TempDir()
	stamp, err := stampOf(t.Context(), dir)
	require.NoError(t, err)
	for _, name := range Programs() {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), nil, 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(bin, stampFile), []byte(stamp), 0o600))
	locked := errors.New("the lock was asked for")
	cfg := Config{
		Module: dir, Bin: bin, Now: time.Now, Console: &console.Console{Out: io.Discard, Now: time.Now},
		Lock: func() (func(), error) { return nil, locked },
	}
	require.NoError(t, Build(t.Context(), cfg))

	require.NoError(t, os.Remove(filepath.Join(bin, "kwok")))
	require.ErrorIs(t, Build(t.Context(), cfg), locked, "a missing program is built")
	require.NoError(t, os.WriteFile(filepath.Join(bin, "kwok"), nil, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bin, stampFile), []byte("older"), 0o600))
	require.ErrorIs(t, Build(t.Context(), cfg), locked, "outdated programs are built")
}

func TestProgressCountsPackagesAndKeepsProblems(t *testing.T) {
	p := &progress{}
	for _, part := range []string{"k8s.io/api/core/v1\nk8s.io/kube", "rnetes/cmd\ngo: downloading x v1\n", "a/b.go:1:2: broken thing\n# a/b\n"} {
		n, err := p.Write([]byte(part))
		require.NoError(t, err)
		assert.Equal(t, len(part), n)
	}
	assert.EqualValues(t, 2, p.packages.Load())
	assert.Equal(t, "  a/b.go:1:2: broken thing\n  # a/b", p.problems())
}
