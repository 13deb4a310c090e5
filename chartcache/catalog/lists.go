package catalog

import (
	"container/list"
	"sync"

	"github.com/ketches/helm-operator/chartcache/index"
)

// lists keeps the version lists that were asked for last, and what was found in them, so that a call about a chart that is
// asked for often reads no file and parses no version. It is bounded over all repositories together; the list that was not
// used for longest goes first, those of an index that was replaced too.
type lists struct {
	max int64

	// mu guards the fields below.
	mu    sync.Mutex
	bytes int64
	byKey map[listKey]*list.Element
	order list.List // of *chartList, the one that was used last in front
}

// listKey names the content of a chart: equal revisions hold the same charts, so repositories may share it.
type listKey struct{ revision, chart string }

func newLists(max int64) *lists { return &lists{max: max, byKey: map[listKey]*list.Element{}} }

// get returns a list that is kept; nil when there is none.
func (l *lists) get(key listKey) *chartList {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[key]
	if !ok {
		return nil
	}
	l.order.MoveToFront(e)
	return listIn(e)
}

// put keeps a list, and returns the one that others use when it was kept meanwhile.
func (l *lists) put(key listKey, versions *index.List) *chartList {
	c := &chartList{List: versions, key: key}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[key]; ok {
		return listIn(e)
	}
	if c.costs() > l.max {
		return c // it would push out all others
	}
	l.byKey[key] = l.order.PushFront(c)
	l.bytes += c.costs()
	for l.bytes > l.max {
		oldest := l.order.Back()
		gone := listIn(oldest)
		l.order.Remove(oldest)
		delete(l.byKey, gone.key)
		l.bytes -= gone.costs()
	}
	return c
}

// listIn is the list in an element of lists.order.
func listIn(e *list.Element) *chartList {
	kept, _ := e.Value.(*chartList)
	return kept
}

// chartList is the versions of a chart, and what was found in them.
type chartList struct {
	*index.List
	key listKey

	// mu guards the fields below.
	mu    sync.Mutex
	found map[look][]int32
	bytes int64
}

// look is something that is looked for in a list.
type look struct {
	text string
	// all finds every version that text means, and not only the best one; prereleases finds those too; registry finds as in a
	// registry.
	all, prereleases, registry bool
}

const (
	// maxLookText bounds the constraints whose outcome is remembered. Real ones are shorter; others cost what they cost.
	maxLookText = 64
	// lookBytes is about what one outcome costs besides its positions: the entry of the map and the text.
	lookBytes = 128
)

// foundBytes bounds what is remembered of a chart: some twenty constraints, and two listings of all its versions.
func (c *chartList) foundBytes() int64 { return 20*lookBytes + 8*int64(c.Len()) }

// costs is how much memory the list may take.
func (c *chartList) costs() int64 { return c.SizeBytes() + c.foundBytes() }

// find returns the positions that search finds, and searches once only. Nobody may change what it returns.
func (c *chartList) find(what look, search func() []int32) []int32 {
	c.mu.Lock()
	positions, ok := c.found[what]
	c.mu.Unlock()
	if ok {
		return positions
	}
	positions = search()
	size := lookBytes + 4*int64(len(positions))
	if len(what.text) > maxLookText || size > c.foundBytes() {
		return positions
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again := c.found[what]; again {
		return positions
	}
	if c.found == nil || c.bytes+size > c.foundBytes() {
		c.found, c.bytes = map[look][]int32{}, 0
	}
	c.found[what] = positions
	c.bytes += size
	return positions
}

// pick returns the position of the version that is wanted, of an index or of a registry; ok is false when there is none.
func (c *chartList) pick(w wanted, registry bool) (position int, ok bool) {
	positions := c.find(look{text: w.text, registry: registry}, func() []int32 {
		if i, ok := w.pick(c.Len(), c.Version, registry); ok {
			return []int32{int32(i)}
		}
		return nil
	})
	if len(positions) == 0 {
		return 0, false
	}
	return int(positions[0]), true
}

// newestStable is the newest version that is no prerelease; empty when there is none.
func (c *chartList) newestStable(registry bool) string {
	i, ok := c.pick(wanted{newest: true}, registry)
	if !ok {
		return ""
	}
	return c.Version(i)
}
