package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/services/bench/measured"
)

// web is an index with one chart; app is a chart to append to it.
const (
	web = "apiVersion: v1\nentries:\n  web:\n  - apiVersion: v2\n    name: web\n    urls:\n    - web.tgz\n    version: 1.2.3\n"
	app = "  app:\n  - apiVersion: v2\n    name: app\n    urls:\n    - app.tgz\n    version: 0.1.0\n"
)

func TestARebuildGivesTheSameAsABuild(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(at("one.yaml"), []byte(web), 0o600))
	require.NoError(t, os.WriteFile(at("two.yaml"), []byte(web+app), 0o600))
	for _, args := range [][]string{
		{"nothing"},
		{"build", at("one.yaml"), at("one")},
		{"build", at("two.yaml"), at("cold")},
		{"build-again", at("two.yaml"), at("again")},
		{"rebuild", at("two.yaml"), at("warm"), at("one")},
	} {
		require.Zero(t, measured.Main(args, tasks(), io.Discard, os.Stderr), args)
	}
	revisions := map[string]bool{}
	for _, name := range []string{"cold", "again", "warm"} {
		r, err := index.Open(at(name))
		require.NoError(t, err)
		revisions[r.Revision()] = true
		assert.Equal(t, int64(2), r.Stats().Versions)
		require.NoError(t, r.Close())
	}
	assert.Len(t, revisions, 1)
}

func TestWhatCannotBeBuiltIsAnError(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.yaml")
	require.NoError(t, os.WriteFile(page, []byte("<html>"), 0o600))
	for name, args := range map[string][]string{
		"no index":          {"build", filepath.Join(dir, "missing"), filepath.Join(dir, "out")},
		"not an index":      {"build", page, filepath.Join(dir, "out")},
		"nowhere to write":  {"build", page, filepath.Join(dir, "missing", "out")},
		"no generation yet": {"rebuild", page, filepath.Join(dir, "out"), filepath.Join(dir, "missing")},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, 1, measured.Main(args, tasks(), io.Discard, io.Discard)) })
	}
}
