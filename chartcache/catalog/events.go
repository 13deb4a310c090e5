package catalog

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

const (
	// keptChanges is how many changes a watch may be behind before it starts again with all states.
	keptChanges = 4096
	// namedCharts is how many changed charts are named one by one, as the contract has it.
	namedCharts = 1000
)

// events remembers the newest changes of all repositories, in order. Catalog.mu guards it.
type events struct {
	instance string
	// sequence is the number of the newest change; log holds the changes up to it without gaps.
	sequence uint64
	log      []change
	// happened is closed, and replaced, when there is a new change.
	happened chan struct{}
}

// change says that something about a repository changed. What it is now is read when it is told.
type change struct {
	sequence uint64
	source   Source
	charts   []string // sorted
	all      bool     // any chart may have changed; charts is empty then
}

func newEvents(instance string) events {
	return events{instance: instance, happened: make(chan struct{})}
}

// publish appends a change and wakes the watches. charts must be sorted and is not copied.
func (e *events) publish(source Source, charts []string, all bool) {
	if all || len(charts) > namedCharts {
		charts, all = nil, true
	}
	e.sequence++
	if len(e.log) == keptChanges {
		// Half at a time, so that moving costs little per change.
		e.log = slices.Clone(e.log[keptChanges/2:])
	}
	e.log = append(e.log, change{sequence: e.sequence, source: source, charts: charts, all: all})
	close(e.happened)
	e.happened = make(chan struct{})
}

// since returns the changes behind a sequence number; ok is false when some of them are forgotten.
func (e *events) since(sequence uint64) (changes []change, ok bool) {
	behind := e.sequence - sequence
	if behind > uint64(len(e.log)) {
		return nil, false
	}
	return e.log[uint64(len(e.log))-behind:], true
}

// token names a place in the log of this instance.
func (e *events) token(sequence uint64) string {
	return e.instance + "." + strconv.FormatUint(sequence, 10)
}

// parse reads a token; ok is false for one of another instance, of the future, or that is none.
func (e *events) parse(token string) (sequence uint64, ok bool) {
	instance, number, found := strings.Cut(token, ".")
	if !found || instance != e.instance {
		return 0, false
	}
	sequence, err := strconv.ParseUint(number, 10, 64)
	// 0 is before everything: full state is the same, and says when it is complete.
	return sequence, err == nil && sequence > 0 && sequence <= e.sequence
}

// merge returns the charts that changed in any of the changes, sorted; all says that any chart may have.
func merge(changes []change) (charts []string, all bool) {
	for _, c := range changes {
		if c.all {
			return nil, true
		}
		charts = append(charts, c.charts...)
	}
	slices.Sort(charts)
	charts = slices.Compact(charts)
	if len(charts) > namedCharts {
		return nil, true
	}
	return charts, false
}

// bySource orders repositories: configured ones by namespace and name, then URLs.
func bySource(a, b Source) int {
	switch {
	case a.Ref != nil && b.Ref != nil:
		return cmp.Or(cmp.Compare(a.Ref.Namespace, b.Ref.Namespace), cmp.Compare(a.Ref.Name, b.Ref.Name))
	case a.Ref != nil:
		return -1
	case b.Ref != nil:
		return 1
	default:
		return cmp.Compare(a.URL, b.URL)
	}
}
