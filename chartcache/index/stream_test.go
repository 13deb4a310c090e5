package index

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// section is a chart as Helm writes it, with n versions.
func section(chart string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s:\n", chart)
	for i := range n {
		fmt.Fprintf(&b, "  - annotations:\n      changes: |\n        - kind: \"fixed\n        # %s\n    apiVersion: v2\n    name: %s\n    urls:\n    - %s-1.%d.0.tgz\n    version: 1.%d.0\n",
			strings.Repeat("x", 500), chart, chart, i, i)
	}
	return b.String()
}

// jsonSection is the same in JSON.
func jsonSection(chart string, n int) string {
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf(`{"annotations":{"changes":%q},"name":%q,"urls":[%q],"version":"1.%d.0"}`,
			strings.Repeat("x", 500), chart, fmt.Sprintf("%s-1.%d.0.tgz", chart, i), i))
	}
	return fmt.Sprintf("%q:[%s]", chart, strings.Join(entries, ",\n"))
}

func TestALargeChartIsReadInParts(t *testing.T) {
	const n = 2 * partBytes / 500
	yaml := fromHelm(t, "apiVersion: v1\nentries:\n"+section("small", 2)+section("large", n)+section("small2", 1))
	json := fromHelm(t, `{"apiVersion":"v1","entries":{`+jsonSection("small", 2)+","+jsonSection("large", n)+","+jsonSection("small2", 1)+"}}")
	assert.Equal(t, yaml.Revision(), json.Revision(), "YAML and JSON say the same")
	assert.Len(t, versionsOf(t, yaml, "large"), n)
	assert.Equal(t, int64(n+3), yaml.Stats().Versions)
	assert.Zero(t, yaml.Stats().Rejected)
}

func TestALargePartIsReadInSharesOnlyWhereThatIsSure(t *testing.T) {
	const n = 3 * shareBytes / 500
	whole := section("a", n)
	divided := fromHelm(t, "apiVersion: v1\nentries:\n"+whole)
	assert.Len(t, versionsOf(t, divided, "a"), n)

	// What looks like entries is a quotation, longer than a share.
	quoted := "    home: \"open\n" + strings.ReplaceAll(strings.TrimPrefix(whole, "  a:\n"), `"`, "") + "    closed\"\n"
	r := fromHelm(t, "apiVersion: v1\nentries:\n"+section("b", 1)+"    icon: x\n"+quoted+section("c", 1))
	assert.Equal(t, []string{"1.0.0"}, versionsOf(t, r, "b"))
	assert.Equal(t, []string{"1.0.0"}, versionsOf(t, r, "c"))
}

func TestAChartWhoseTextIsAsBeforeIsCopied(t *testing.T) {
	for name, text := range map[string]string{
		"YAML":         "apiVersion: v1\nentries:\n" + section("a", 2) + section("b", 2),
		"quoted names": "apiVersion: v1\nentries:\n" + strings.ReplaceAll(section("a", 2)+section("b", 2), "  a:", "  \"a\":"),
		"CRLF":         strings.ReplaceAll("apiVersion: v1\nentries:\n"+section("a", 2)+section("b", 2), "\n", "\r\n"),
		"JSON":         `{"apiVersion":"v1","entries":{` + jsonSection("a", 2) + "," + jsonSection("b", 2) + "}}",
	} {
		t.Run(name, func(t *testing.T) {
			first := fromHelm(t, text)
			record, ok, err := first.record("a")
			require.NoError(t, err)
			require.True(t, ok)
			// What is copied can be told from what is parsed by a version that the text does not hold.
			before := open(t, build(t, func(b *Builder) error {
				c := encodeChart("a", []Entry{{Version: "9.9.9"}}, 7, nil)
				c.record.source = record.source
				return b.put(c, 1)
			}))
			after := open(t, build(t, func(b *Builder) error { return ReadHelm(strings.NewReader(text), before, b) }))
			assert.Equal(t, []string{"9.9.9"}, versionsOf(t, after, "a"), "the text is as before")
			assert.Equal(t, []string{"1.1.0", "1.0.0"}, versionsOf(t, after, "b"))
			assert.Equal(t, int64(7), after.Stats().Rejected, "what was left out of it is counted again")

			changed := strings.Replace(text, "1.1.0", "1.2.0", 2)
			after = open(t, build(t, func(b *Builder) error { return ReadHelm(strings.NewReader(changed), before, b) }))
			assert.Equal(t, []string{"1.2.0", "1.0.0"}, versionsOf(t, after, "a"), "the text is not as before")
		})
	}
}

func TestAChartThatIsDamagedOnDiskIsParsedAgain(t *testing.T) {
	text := "apiVersion: v1\nentries:\n" + section("a", 2)
	name := build(t, func(b *Builder) error { return ReadHelm(strings.NewReader(text), nil, b) })
	before := open(t, name)
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), int64(len(magic))+2)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	after := open(t, build(t, func(b *Builder) error { return ReadHelm(strings.NewReader(text), before, b) }))
	assert.Equal(t, []string{"1.1.0", "1.0.0"}, versionsOf(t, after, "a"))
}

func TestASmallIndexIsReadWholeWhereItIsNotLaidOutChartByChart(t *testing.T) {
	for name, text := range map[string]string{
		"anchors of another chart":         "apiVersion: v1\nentries:\n  a: &a\n  - {name: a, version: 1.0.0}\n  b: *a\n",
		"a quotation over charts":          "apiVersion: v1\nentries:\n  b:\n  - name: b\n    version: 1.0.0\n  a:\n  - name: a\n    version: 1.0.0\n    home: \"open\n  c:\n  - name: c\"\n",
		"brackets":                         "{apiVersion: v1, entries: {a: [{name: a, version: 1.0.0}], b: [{name: b, version: 1.0.0}]}}",
		"brackets behind entries":          "apiVersion: v1\nentries: {a: [{name: a, version: 1.0.0}], b: [{name: b, version: 1.0.0}]}\n",
		"a byte order mark":                "\ufeffapiVersion: v1\nentries:\n  a:\n  - {name: a, version: 1.0.0}\n  b:\n  - {name: b, version: 1.0.0}\n",
		"a byte order mark before JSON":    "\ufeff{\"apiVersion\":\"v1\",\"entries\":{\"a\":[{\"name\":\"a\",\"version\":\"1.0.0\"}],\"b\":[{\"name\":\"b\",\"version\":\"1.0.0\"}]}}",
		"a document that begins as marked": "%YAML 1.1\n---\napiVersion: v1\nentries:\n  a:\n  - {name: a, version: 1.0.0}\n  b:\n  - {name: b, version: 1.0.0}\n...\nno index: [\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := fromHelm(t, text)
			charts, err := r.Charts()
			require.NoError(t, err)
			assert.Equal(t, []string{"a", "b"}, charts)
			assert.Equal(t, []string{"1.0.0"}, versionsOf(t, r, "a"))
			assert.Zero(t, r.Stats().Rejected)
		})
	}
}

func TestWhatIsBetweenChartsDoesNotKeepALargeIndexFromBeingRead(t *testing.T) {
	large := section("large", wholeBytes/500)
	for name, text := range map[string]string{
		"a comment behind entries": "apiVersion: v1\nentries: # of all\n" + large,
		"quoted keys":              "\"apiVersion\": v1\n'entries':\n" + large,
		"a byte order mark":        "\ufeffentries:\n" + large + "apiVersion: v1\n",
		"comments":                 "# one\nentries:\n# two\n" + large + "# three\n  # four\n" + section("b", 1) + "# five\napiVersion: v1\n# six\n",
	} {
		t.Run(name, func(t *testing.T) {
			assert.Len(t, versionsOf(t, fromHelm(t, text), "large"), wholeBytes/500)
		})
	}
}

func TestALargeIndexThatIsNotLaidOutChartByChartIsRejected(t *testing.T) {
	filler := section("filler", wholeBytes/500)
	for name, text := range map[string]string{
		"anchors of another chart": "apiVersion: v1\nentries:\n  a: &a\n  - {name: a, version: 1.0.0}\n" + filler + "  b: *a\n",
		"brackets":                 "{apiVersion: v1, entries: {a: [" + strings.Repeat("{name: a, version: 1.0.0},\n", wholeBytes/20) + "]}}",
		"a line without end":       "apiVersion: v1\nentries:\n  a:\n  - name: " + strings.Repeat("a", maxPartBytes+1000),
		"JSON that is cut off":     `{"apiVersion":"v1","entries":{` + jsonSection("a", wholeBytes/500),
		"a value without end":      `{"apiVersion":"v1","entries":{"a":["` + strings.Repeat("a", maxPartBytes+1000),
	} {
		t.Run(name, func(t *testing.T) {
			err := ReadHelm(strings.NewReader(text), nil, NewBuilder(io.Discard))
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, cacheerr.ReasonOf(err), "%v", err)
		})
	}
}

func TestAliasesCannotMakeMuchOfLittle(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for name, text := range map[string]string{
		"of a long text in one chart": "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    home: &x " + long + "\n    sources: [" + strings.Repeat("*x, ", 10_000) + "]\n",
		"doubled again and again": "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 1.0.0\n    sources:\n    - &a [x, x, x, x, x, x, x, x, x, x]\n" +
			"    - &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n    - &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n    - &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n" +
			"    - &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n    - &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n    - &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\n",
		"of itself": "apiVersion: v1\nentries:\n  a: &a\n  - *a\n",
	} {
		t.Run(name, func(t *testing.T) {
			err := ReadHelm(strings.NewReader(text), nil, NewBuilder(io.Discard))
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, cacheerr.ReasonOf(err), "%v", err)
		})
	}
}

func TestLittleTextCannotTakeMuchMemory(t *testing.T) {
	many := strings.Repeat
	for name, test := range map[string]struct {
		text  string
		limit uint64
	}{
		"lists in brackets, in many charts": {"apiVersion: v1\nentries:\n" + func() (all string) {
			for i := range 4 {
				all += fmt.Sprintf("  c%d:\n  - {name: c, version: 1.0.0, keywords: [%s]}\n", i, many("a,", 3<<20))
			}
			return all
		}(), 64 << 20},
		"lists in brackets, in JSON":   {`{"apiVersion":"v1","entries":{"c":[{"name":"c","version":"1.0.0","keywords":[` + many(`"",`, 3<<20) + `""]}]}}`, 96 << 20},
		"URLs in JSON":                 {`{"apiVersion":"v1","entries":{"c":[{"name":"c","version":"1.0.0","urls":[` + many(`"",`, 3<<20) + `""]}]}}`, 400 << 20},
		"a document of nothing but []": {"apiVersion: v1\nx: [" + many("[],", 2<<20) + "]\n", 96 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = ReadHelm(strings.NewReader(test.text), nil, NewBuilder(io.Discard)) // whether it is an index does not matter
			runtime.ReadMemStats(&after)
			assert.Less(t, after.HeapSys-min(before.HeapSys, after.HeapSys), test.limit)
		})
	}
}

func TestTextsOfAnEntryAndOfAChartAreBounded(t *testing.T) {
	entry := func(version string, size int) string {
		return fmt.Sprintf("  - name: c\n    version: %s\n    description: %s\n", version, strings.Repeat("x", size))
	}
	r := fromHelm(t, "apiVersion: v1\nentries:\n  c:\n"+entry("1.0.0", 100)+entry("1.1.0", maxEntryBytes))
	assert.Equal(t, []string{"1.0.0"}, versionsOf(t, r, "c"), "an entry with too much is left out")
	assert.Equal(t, int64(1), r.Stats().Rejected)

	var large strings.Builder
	const n = maxChartBytes/(maxEntryBytes/2) + 10
	for i := range n {
		large.WriteString(entry(fmt.Sprintf("1.%d.0", i), maxEntryBytes/2))
	}
	r = fromHelm(t, "apiVersion: v1\nentries:\n  c:\n"+large.String())
	assert.Less(t, r.Stats().Versions, int64(n), "the versions over the bound are left out")
	assert.Equal(t, int64(n), r.Stats().Versions+r.Stats().Rejected)

	b := NewBuilder(io.Discard)
	var err error
	for i := 0; err == nil && i <= maxLatestBytes/maxEntryBytes+1; i++ {
		err = b.Add(fmt.Sprintf("c%d", i), []Entry{{Version: "1.0.0", Description: strings.Repeat("x", maxEntryBytes)}})
	}
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, cacheerr.ReasonOf(err), "%v", err)

	entries := make([]string, maxURLs+1)
	for i := range entries {
		entries[i] = fmt.Sprint(i)
	}
	e, ok := (&helmEntry{Name: "c", URLs: entries}).entry()
	require.True(t, ok)
	assert.Len(t, e.URLs, maxURLs)
}

// endless gives the sections of numbered charts, one after the other, without holding more than one.
type endless struct {
	left, next int
	body       string
	now        strings.Reader
}

func (e *endless) Read(p []byte) (int, error) {
	if e.now.Len() == 0 {
		if e.left == 0 {
			return 0, io.EOF
		}
		e.left--
		e.next++
		e.now.Reset(fmt.Sprintf("  chart-%06d:\n", e.next) + e.body)
	}
	return e.now.Read(p)
}

func TestAnIndexOf200MBTakesNoMoreMemoryThanASmallOne(t *testing.T) {
	_, body, _ := strings.Cut(section("c", 100), "\n")
	body = strings.ReplaceAll(body, "xxxx", strings.Repeat("text ", 4))
	charts := 200<<20/len(body) + 1
	grown := func(charts int) (heap uint64, stats Stats) {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b := NewBuilder(io.Discard)
		text := &endless{left: charts, body: body}
		require.NoError(t, ReadHelm(io.MultiReader(strings.NewReader("apiVersion: v1\nentries:\n"), text), nil, b))
		_, stats, err := b.Finish()
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		// What was taken from the system is never less than what was needed at the worst moment.
		return after.HeapSys - min(before.HeapSys, after.HeapSys), stats
	}
	small, _ := grown(charts / 10)
	large, stats := grown(charts)
	assert.Equal(t, int64(charts), stats.Charts)
	assert.Greater(t, stats.SourceBytes, int64(200<<20))
	assert.Less(t, large, small+32<<20, "ten times the index takes about as much memory")
	assert.Less(t, small+large, uint64(120<<20))
}

func TestAPanicOfAWorkerIsOneOfTheCaller(t *testing.T) {
	in := &reading{builder: NewBuilder(io.Discard)}
	broken := &task{part: part{pieces: [][]byte{[]byte("  a:\n")}, begins: true, ends: true}}
	in.parse(broken, parsers{})
	require.ErrorAs(t, broken.err, new(panicError))
	assert.Contains(t, broken.err.Error(), "lines.go", "where it was")
}
