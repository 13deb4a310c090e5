package index

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const digits = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const sample = `apiVersion: v1
generated: "2026-01-02T03:04:05Z"
entries:
  web:
  - apiVersion: v2
    appVersion: 1.10
    created: "2026-01-02T03:04:05.123456789+02:00"
    description: |
      Serves pages.
    digest: ` + digits + `
    icon: https://example.com/icon.png
    name: web
    type: application
    urls:
    - web-1.2.0.tgz
    - https://mirror.example.com/web-1.2.0.tgz
    version: 1.2.0
  - name: web
    version: 1.10.0
    deprecated: true
    urls: [web-1.10.0.tgz]
  - name: web
    version: 2.0.0-rc.1
    urls: [web-2.0.0-rc.1.tgz]
  db:
  - {name: db, version: v0.1.0, urls: [db.tgz], digest: "SHA256-looks-odd"}
  none:
  empty: []
`

func TestReadHelmKeepsWhatAnIndexSays(t *testing.T) {
	r := fromHelm(t, sample)

	charts, err := r.Charts()
	require.NoError(t, err)
	assert.Equal(t, []string{"db", "web"}, charts)
	assert.Equal(t, Stats{Charts: 2, Versions: 4, SourceBytes: int64(len(sample))}, r.Stats())
	assert.Equal(t, []string{"2.0.0-rc.1", "1.10.0", "1.2.0"}, versionsOf(t, r, "web"), "newest first, by semantic version")

	e, ok, err := r.Lookup("web", "1.2.0")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, Entry{
		Chart: "web", Version: "1.2.0", AppVersion: "1.1", Digest: "sha256:" + digits, Description: "Serves pages. ",
		Icon: "https://example.com/icon.png", Type: "application",
		Created: time.Date(2026, 1, 2, 1, 4, 5, 123456789, time.UTC),
		URLs:    []string{"web-1.2.0.tgz", "https://mirror.example.com/web-1.2.0.tgz"},
	}, e)

	e, _, err = r.Lookup("db", "v0.1.0")
	require.NoError(t, err)
	assert.Equal(t, "SHA256-looks-odd", e.Digest, "what is no digest is kept, and will match nothing")

	summary, ok, err := r.Summary("web")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "1.10.0", summary.Latest.Version, "the newest stable version stands for the chart")
	assert.True(t, summary.Latest.Deprecated)
	assert.Equal(t, 3, summary.VersionCount)

	_, ok, err = r.Lookup("web", "9.9.9")
	require.NoError(t, err)
	assert.False(t, ok)
	_, ok, err = r.Summary("nothing")
	require.NoError(t, err)
	assert.False(t, ok)
}

func TestReadHelmLeavesOutBadEntriesAndCountsThem(t *testing.T) {
	cases := map[string]struct {
		entries  string
		versions []string
		rejected int64
	}{
		"a version that is not semantic":                    {"  c:\n  - {name: c, version: one}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"no name":                                           {"  c:\n  - {version: 1.0.1}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"no version":                                        {"  c:\n  - {name: c}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"an unknown type":                                   {"  c:\n  - {name: c, version: 1.0.1, type: thing}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"a time that is none":                               {"  c:\n  - {name: c, version: 1.0.1, created: yesterday}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"a flag that is none":                               {"  c:\n  - {name: c, version: 1.0.1, deprecated: perhaps}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"a field of another shape":                          {"  c:\n  - {name: c, version: [1]}\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"an entry that is null":                             {"  c:\n  -\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"an entry that is text":                             {"  c:\n  - text\n  - {name: c, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"a version that is there twice":                     {"  c:\n  - {name: c, version: 1.0.0, urls: [a]}\n  - {name: c, version: 1.0.0, urls: [b]}\n", []string{"1.0.0"}, 1},
		"a chart that is there twice":                       {"  c:\n  - {name: c, version: 1.0.0}\n  c:\n  - {name: c, version: 2.0.0}\n", []string{"1.0.0"}, 1},
		"a chart that is no list":                           {"  c:\n  - {name: c, version: 1.0.0}\n  d: text\n", []string{"1.0.0"}, 1},
		"a chart whose name holds control characters":       {"  c:\n  - {name: c, version: 1.0.0}\n  \"d\\n\":\n  - {name: d, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"a chart whose name holds other control characters": {"  c:\n  - {name: c, version: 1.0.0}\n  \"d\\u009b\":\n  - {name: d, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"a chart whose name holds marks of direction":       {"  c:\n  - {name: c, version: 1.0.0}\n  \"d\\u202e\":\n  - {name: d, version: 1.0.0}\n", []string{"1.0.0"}, 1},
		"aliases and merges are followed":                   {"  c:\n  - &a {name: c, version: 1.0.0}\n  - {<<: *a, version: 1.1.0}\n", []string{"1.1.0", "1.0.0"}, 0},
		"unknown fields are ignored":                        {"  c:\n  - {name: c, version: 1.0.0, later: [1, {a: b}]}\n", []string{"1.0.0"}, 0},
		"a number is a version, as Helm reads it":           {"  c:\n  - {name: c, version: 1.10}\n", []string{"1.1"}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := fromHelm(t, "apiVersion: v1\nentries:\n"+c.entries)
			assert.Equal(t, c.versions, versionsOf(t, r, "c"))
			assert.Equal(t, c.rejected, r.Stats().Rejected)
			assert.Equal(t, int64(1), r.Stats().Charts)
		})
	}
}

func TestReadHelmReadsJSON(t *testing.T) {
	r := fromHelm(t, "{\n\t\"apiVersion\": \"v1\",\n\t\"entries\": {\"c\": [null, {\"name\": \"c\", \"version\": \"1.0.0\", \"created\": \"2026-01-02T03:04:05Z\"}]}\n}")
	assert.Equal(t, []string{"1.0.0"}, versionsOf(t, r, "c"))
	assert.Equal(t, int64(1), r.Stats().Rejected)
}

func TestReadHelmAcceptsEmptyRepositories(t *testing.T) {
	for _, text := range []string{"apiVersion: v1\n", "apiVersion: v1\nentries:\n", "apiVersion: v1\nentries: {}\n", `{"apiVersion": "v1"}`} {
		assert.Equal(t, int64(0), fromHelm(t, text).Stats().Charts, text)
	}
}

func TestReadHelmRejectsWhatIsNoIndex(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":              "",
		"a comment":            "# nothing\n",
		"a web page":           "\n <!DOCTYPE html><html></html>",
		"text":                 "not found",
		"a list":               "- a\n- b\n",
		"broken YAML":          "apiVersion: v1\nentries: {a: [",
		"no apiVersion":        "entries: {}\n",
		"apiVersion is a map":  "apiVersion: {a: b}\nentries: {}\n",
		"entries are a list":   "apiVersion: v1\nentries: [a]\n",
		"JSON of another kind": `{"apiVersion": "v1", "entries": "none"}`,
		"JSON without version": `{"entries": {}}`,
		"a JSON number":        "5",
		"binary":               "\x1f\x8b\x08\x00",
	} {
		t.Run(name, func(t *testing.T) {
			err := ReadHelm(strings.NewReader(text), nil, NewBuilder(io.Discard))
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, cacheerr.ReasonOf(err), "%v", err)
		})
	}
}

func TestReadHelmSaysWhereAnIndexIsBroken(t *testing.T) {
	err := ReadHelm(strings.NewReader("apiVersion: v1\nentries:\n  a:\n  - name: a\n    secret: \"text\n"), nil, NewBuilder(io.Discard))
	require.ErrorContains(t, err, "near line")
	assert.NotContains(t, err.Error(), "secret", "text of upstream stays out of the message")

	large := "apiVersion: v1\nentries:\n" + section("a", wholeBytes/500)
	line := strings.Count(large, "\n") + 1
	err = ReadHelm(strings.NewReader(large+"  b:\n  - *a\n"), nil, NewBuilder(io.Discard))
	require.ErrorContains(t, err, fmt.Sprintf("near line %d)", line))
}

func TestReadHelmBoundsWhatAliasesExpandTo(t *testing.T) {
	var text strings.Builder
	text.WriteString("apiVersion: v1\nentries:\n  c0: &all\n")
	for range 1100 {
		text.WriteString("  - x\n")
	}
	for i := range 1000 {
		text.WriteString("  c" + strings.Repeat("i", i+1) + ": *all\n")
	}
	err := ReadHelm(strings.NewReader(text.String()), nil, NewBuilder(io.Discard))
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, cacheerr.ReasonOf(err))
}

func TestReadHelmPassesErrorsOfTheStreamOn(t *testing.T) {
	broken := cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE, "too large")
	err := ReadHelm(io.MultiReader(strings.NewReader("apiVersion: v1\n"), iotest.ErrReader(broken)), nil, NewBuilder(io.Discard))
	assert.ErrorIs(t, err, broken)
}

func FuzzReadHelm(f *testing.F) {
	for _, seed := range []string{sample, "", "{}", `{"apiVersion":"v1","entries":{"c":[{"name":"c","version":"1.0.0"}]}}`, "apiVersion: v1\nentries: &a\n  b: *a\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), "index")
		file, err := os.Create(name)
		require.NoError(t, err)
		defer func() { _ = file.Close() }()
		b := NewBuilder(file)
		if err := ReadHelm(strings.NewReader(text), nil, b); err != nil {
			var known *cacheerr.Error
			require.ErrorAs(t, err, &known)
			return
		}
		revision, stats, err := b.Finish()
		require.NoError(t, err)
		r, err := Open(name)
		require.NoError(t, err, "what was built can be opened")
		defer func() { _ = r.Close() }()
		assert.Equal(t, revision, r.Revision())
		assert.Equal(t, stats, r.Stats())
		charts, err := r.Charts()
		require.NoError(t, err)
		for _, chart := range charts {
			entries, ok, err := r.Versions(chart)
			require.NoError(t, err)
			require.True(t, ok)
			for _, e := range entries {
				assert.Equal(t, chart, e.Chart)
			}
			_, ok, err = r.Summary(chart)
			require.NoError(t, err)
			require.True(t, ok)
		}
	})
}
