package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/services/bench/fixture"
)

// TestMain makes the test binary the children that need Helm.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(runChild(os.Args[2:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, args := range map[string][]string{
		"an unknown flag":             {"-fast"},
		"no runs":                     {"-runs", "0"},
		"no charts":                   {"-charts", "0"},
		"no versions":                 {"-versions", "0"},
		"no repositories":             {"-repositories", "0"},
		"an interval that is refused": {"-interval", "9s"},
		"no time to be idle":          {"-interval", "20s", "-idle", "19s"},
		"no workers":                  {"-workers", "0"},
		"no time for calls":           {"-lasts", "0"},
		"no regular expression":       {"-only", "("},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseFlags(args, io.Discard)
			assert.Error(t, err)
			assert.Equal(t, 1, run(args, io.Discard, io.Discard))
		})
	}
	o, err := parseFlags(nil, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, fixture.Bitnami(), o.shape)
}

// newBench is a small one, with children of its own.
func newBench(t *testing.T) *bench {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return &bench{
		options: options{runs: 2, shape: fixture.Config{Charts: 3, Versions: 4}, source: root, repositories: 3},
		self:    self, dir: t.TempDir(), log: t.Output(),
	}
}

func TestTheTableOfASmallIndex(t *testing.T) {
	b := newBench(t)
	b.runs, b.profiles, b.real = 1, filepath.Join(b.dir, "profiles"), b.dir
	plain := b.path("plain")
	_, err := fixture.WriteFile(plain, fixture.Canonical, b.shape)
	require.NoError(t, err)
	_, err = pack(plain, b.path("large.yaml.gz"), ownChart(1))
	require.NoError(t, err)

	require.NoError(t, b.measureIndex(t.Context()))
	require.NoError(t, b.measureReal(t.Context()))
	entries := map[string]string{}
	for _, r := range b.table.rows {
		if r.wanted == "the same" {
			require.True(t, *r.reached, r.what)
			entries[r.what] = r.ours
		}
	}
	assert.Equal(t, map[string]string{
		"canonical index, 3 charts x 4 versions, 0 MB: entries":          "12, each the same as Helm's",
		"same index, one chart changed: entries":                         "13, each the same as Helm's",
		"same content as JSON: entries":                                  "12, each the same as Helm's",
		"same content in flow style, which needs a YAML parser: entries": "12, each the same as Helm's",
		"same content as another tool lays it out: entries":              "12, each the same as Helm's",
		"real index large, 0.0 MB: entries":                              "13, each the same as Helm's",
	}, entries)
	assert.FileExists(t, filepath.Join(b.profiles, "canonical-build.cpu.pprof"))
	assert.FileExists(t, filepath.Join(b.profiles, "changed-rebuild.allocs.pprof"))
}

func TestEntriesThatDifferMissTheirRow(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.buildBuilder(t.Context()))
	one, err := b.write(fixture.Canonical, b.shape)
	require.NoError(t, err)
	released := b.shape
	released.Released = 1
	two, err := b.write(fixture.Canonical, released)
	require.NoError(t, err)
	_, err = b.child(t.Context(), b.byUs("build", one, b.path("generation")))
	require.NoError(t, err)

	require.NoError(t, b.sameEntries(t.Context(), "same", one, b.path("generation")))
	require.NoError(t, b.sameEntries(t.Context(), "other", two, b.path("generation")))
	assert.True(t, *b.table.rows[0].reached)
	assert.False(t, *b.table.rows[1].reached)
	assert.Equal(t, "they differ", b.table.rows[1].ours)
}

func TestRealIndexesAreAskedFor(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.measureReal(t.Context()))
	assert.Nil(t, b.table.rows[0].reached, "nothing is missed")
	b.real = t.TempDir()
	require.ErrorContains(t, b.measureReal(t.Context()), "there is no *.yaml.gz in")
	require.NoError(t, os.WriteFile(filepath.Join(b.real, "plain.yaml.gz"), []byte("apiVersion: v1"), 0o600))
	assert.ErrorContains(t, b.measureReal(t.Context()), "plain.yaml.gz")
}

func TestRepositoriesAreSyncedAskedAndServedAfterACrash(t *testing.T) {
	b := newBench(t)
	b.interval, b.idle = 10*time.Second, time.Second
	require.NoError(t, b.measureRepositories(t.Context()))
	rows := b.table.rows
	require.Len(t, rows, 4)
	assert.Contains(t, rows[0].ours, "3 requests")
	assert.Contains(t, rows[1].ours, ", 0 others")
	assert.True(t, *rows[3].reached, rows[3].ours)
}

func TestAFailureIsAnErrorBesideTheTable(t *testing.T) {
	var out, errs bytes.Buffer
	assert.Equal(t, 1, run([]string{"-only", "real", "-real", t.TempDir()}, &out, &errs))
	assert.Contains(t, out.String(), "| what | baseline | ours |")
	assert.Contains(t, errs.String(), "measure real: there is no")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o, err := parseFlags(nil, &errs)
	require.NoError(t, err)
	assert.ErrorIs(t, measureAll(ctx, o, &out, &errs), context.Canceled)
}

func TestAChildThatFailsIsNamed(t *testing.T) {
	b := newBench(t)
	_, err := b.child(t.Context(), b.byHelm("helm", b.path("missing")))
	require.ErrorContains(t, err, "helm: exit status 1")
	b.self = "/bin/echo"
	_, err = b.child(t.Context(), b.byHelm("helm", b.path("missing")))
	assert.ErrorContains(t, err, "read what the child printed")
	b.self = b.path("missing")
	_, err = b.child(t.Context(), b.byHelm("helm", b.path("missing")))
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.NotErrorIs(t, err, exec.ErrNotFound)
}
