package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/index"
)

// listOf is a list of a chart with some versions.
func listOf(t *testing.T, chart string, versions ...string) *index.List {
	t.Helper()
	return describedList(t, "", chart, versions...)
}

// describedList is listOf with a description that all versions share.
func describedList(t *testing.T, description, chart string, versions ...string) *index.List {
	t.Helper()
	name := filepath.Join(t.TempDir(), "index")
	f, err := os.Create(name)
	require.NoError(t, err)
	b := index.NewBuilder(f)
	require.NoError(t, b.AddTags(chart, versions, func(string) index.Entry { return index.Entry{Description: description} }))
	_, _, err = b.Finish()
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r, err := index.Open(name)
	require.NoError(t, err)
	defer r.Close()
	list, ok, err := r.List(chart)
	require.NoError(t, err)
	require.True(t, ok)
	return list
}

func TestTheListThatWasNotUsedForLongestGoesFirst(t *testing.T) {
	list := listOf(t, "web", "1.0.0", "1.1.0")
	each := (&chartList{List: list}).costs()
	l := newLists(3 * each)
	key := func(n int) listKey { return listKey{revision: "r", chart: fmt.Sprint(n)} }
	for n := range 3 {
		l.put(key(n), list)
	}
	require.NotNil(t, l.get(key(0)))
	l.put(key(3), list)
	for n, kept := range map[int]bool{0: true, 1: false, 2: true, 3: true} {
		assert.Equal(t, kept, l.get(key(n)) != nil, "list %d", n)
	}
	assert.Equal(t, 3*each, l.bytes)
	first := l.get(key(0))
	assert.Same(t, first, l.put(key(0), list), "all use the same one")
	assert.Equal(t, 3*each, l.bytes)
}

func TestAListThatIsLargerThanTheBoundIsUsedAndNotKept(t *testing.T) {
	l := newLists(1)
	c := l.put(listKey{chart: "web"}, listOf(t, "web", "1.0.0"))
	assert.Equal(t, "1.0.0", c.newestStable(false))
	assert.Nil(t, l.get(listKey{chart: "web"}))
	assert.Zero(t, l.bytes)
}

func TestWhatTheVersionsOfAChartShareCountsAgainstTheBound(t *testing.T) {
	const bound = 100_000
	l := newLists(bound)
	for _, test := range []struct {
		text int
		kept bool
	}{{bound / 2, true}, {bound, false}} {
		key := listKey{chart: fmt.Sprint(test.text)}
		l.put(key, describedList(t, strings.Repeat("d", test.text), "web", "1.0.0", "1.1.0"))
		assert.Equal(t, test.kept, l.get(key) != nil, "%d bytes", test.text)
	}
	assert.Greater(t, l.bytes, int64(bound/2))
}

func TestAListSearchesOnceAndRemembersUpToABound(t *testing.T) {
	c := &chartList{List: listOf(t, "web", "1.0.0", "2.0.0")}
	searches := 0
	search := func() []int32 { searches++; return []int32{1} }
	for range 2 {
		assert.Equal(t, []int32{1}, c.find(look{text: "^1"}, search))
	}
	assert.Equal(t, 1, searches)
	c.find(look{text: "^1", all: true}, search)
	c.find(look{text: "^1", all: true, prereleases: true}, search)
	assert.Equal(t, 3, searches, "a listing is another question")
	for n := range 1000 {
		c.find(look{text: fmt.Sprint(n)}, search)
		require.LessOrEqual(t, c.bytes, c.foundBytes())
	}
	long := look{text: fmt.Sprintf("%0*d", maxLookText+1, 1)}
	c.find(long, search)
	assert.NotContains(t, c.found, long)
}

func TestCallsAboutAChartReadItsIndexOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.withDigests = true })
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL})
		assert.Equal(t, "1.0.0", w.mustResolve(source, "web", "").Entry.Version)
		kept := w.lists.get(listKey{revision: w.state(source).Revision.Name, chart: "web"})
		require.NotNil(t, kept)
		list, err := w.Versions(t.Context(), source, VersionQuery{Chart: "web"})
		require.NoError(t, err)
		assert.Len(t, list.Versions, 1)
		assert.Len(t, kept.found, 2, "the newest, and all stable ones")

		up.push(t, "web", "1.1.0", "")
		w.mustSync(source)
		assert.Equal(t, "1.1.0", w.mustResolve(source, "web", "").Entry.Version, "another revision has another list")
		other := w.put(Spec{URL: httpURL, Ref: Ref{Namespace: "default", Name: "other"}})
		w.mustResolve(other, "web", "")
		assert.Len(t, w.lists.byKey, 2, "equal content is kept once")
	})
}
