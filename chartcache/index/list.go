package index

// List is the versions of one chart, newest first in semantic version order, held as they are on disk: an entry is decoded
// when it is asked for. It was verified as a whole, so that nothing can fail. It is safe for concurrent use, and stays
// valid when its Reader is closed.
type List struct {
	chart  string
	shared []string
	// data holds the entries, without what comes before the first; ends says where each one ends.
	data string
	ends []uint32
	// block is the number of bytes that data and shared are parts of, all of which they keep in memory.
	block int
}

// List reads the versions of a chart; ok is false when there is no such chart.
func (r *Reader) List(chart string) (l *List, ok bool, err error) {
	d, ok, err := r.list(chart)
	if !ok {
		return nil, false, err
	}
	block := len(d.data)
	shared, count := d.list()
	l = &List{chart: chart, block: block, shared: shared, data: d.data, ends: make([]uint32, 0, count)}
	for range count {
		one := decoder{data: d.text()}
		one.entry(chart, shared)
		if d.bad || one.bad {
			return nil, false, errMeaningless
		}
		l.ends = append(l.ends, uint32(len(l.data)-len(d.data)))
	}
	return l, true, nil
}

// Chart is the name of the chart.
func (l *List) Chart() string { return l.chart }

// Len is the number of versions, at least one.
func (l *List) Len() int { return len(l.ends) }

// Entry returns the i-th version.
func (l *List) Entry(i int) Entry {
	one := l.at(i)
	return one.entry(l.chart, l.shared)
}

// Version returns how the i-th version is spelled.
func (l *List) Version(i int) string {
	one := l.at(i)
	return one.text()
}

// SizeBytes is about how much memory the list holds.
func (l *List) SizeBytes() int64 {
	const header = 128 // this struct and what the allocator adds
	return header + int64(l.block) + 4*int64(len(l.ends)) + 16*int64(len(l.shared))
}

func (l *List) at(i int) decoder {
	from := uint32(0)
	if i > 0 {
		from = l.ends[i-1]
	}
	outer := decoder{data: l.data[from:l.ends[i]]}
	return decoder{data: outer.text()}
}
