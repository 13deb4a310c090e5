package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// build makes a generation and returns the name of its file.
func build(t testing.TB, fill func(*Builder) error) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "generation.index")
	f, err := os.Create(name)
	require.NoError(t, err)
	b := NewBuilder(f)
	require.NoError(t, fill(b))
	_, _, err = b.Finish()
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return name
}

func open(t testing.TB, name string) *Reader {
	t.Helper()
	r, err := Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func fromHelm(t testing.TB, text string) *Reader {
	t.Helper()
	return open(t, build(t, func(b *Builder) error { return ReadHelm(strings.NewReader(text), nil, b) }))
}

func versionsOf(t testing.TB, r *Reader, chart string) []string {
	t.Helper()
	entries, ok, err := r.Versions(chart)
	require.NoError(t, err)
	require.True(t, ok, "chart %s is there", chart)
	var versions []string
	for _, e := range entries {
		versions = append(versions, e.Version)
	}
	return versions
}
