package index

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// ErrCorrupt says that a file is not an undamaged generation. Whoever gets it should act as if the file were not there.
var ErrCorrupt = errors.New("the index file is damaged")

// Reader reads one generation. It holds one open file and a small part of its table of contents, and reads the rest when it
// is asked for. Its methods may be called concurrently, but not after Close. Errors are ErrCorrupt, or wrap it or that of
// the file.
type Reader struct {
	file *os.File
	root root
	// end is where the blocks and pages end.
	end int64
}

// Open opens a generation and verifies its table of contents. A chart's versions are verified whenever they are read.
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open index file: %w", err)
	}
	r := &Reader{file: f}
	if err := r.load(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

// Revision names the content of the generation: its charts and versions. Equal content has equal names, everywhere.
func (r *Reader) Revision() string { return hex.EncodeToString(r.root.revision[:]) }

// Stats returns the figures of the generation.
func (r *Reader) Stats() Stats { return r.root.stats }

// Charts returns the names of the charts, sorted.
func (r *Reader) Charts() ([]string, error) {
	names := make([]string, 0, r.root.stats.Charts)
	for record, err := range r.records(0) {
		if err != nil {
			return nil, err
		}
		names = append(names, record.name)
	}
	return names, nil
}

// ChartRevision names the content of one chart; ok is false when there is no such chart.
func (r *Reader) ChartRevision(chart string) (revision string, ok bool, err error) {
	record, ok, err := r.record(chart)
	if !ok {
		return "", false, err
	}
	return hex.EncodeToString(record.revision[:]), true, nil
}

// Summary describes a chart; ok is false when there is no such chart.
func (r *Reader) Summary(chart string) (s Summary, ok bool, err error) {
	record, ok, err := r.record(chart)
	if !ok {
		return Summary{}, false, err
	}
	s, err = record.summary()
	return s, err == nil, err
}

// Summaries describes the charts by name, without the first skip ones. It ends with the first error.
func (r *Reader) Summaries(skip int) iter.Seq2[Summary, error] {
	return func(yield func(Summary, error) bool) {
		for record, err := range r.records(skip) {
			var s Summary
			if err == nil {
				s, err = record.summary()
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// Versions returns the versions of a chart, newest first in semantic version order; ok is false when there is no such
// chart.
func (r *Reader) Versions(chart string) (entries []Entry, ok bool, err error) {
	d, ok, err := r.list(chart)
	if !ok {
		return nil, false, err
	}
	shared, count := d.list()
	entries = make([]Entry, 0, count)
	for range count {
		one := decoder{data: d.text()}
		entries = append(entries, one.entry(chart, shared))
		d.bad = d.bad || one.bad
	}
	if d.bad {
		return nil, false, errMeaningless
	}
	return entries, true, nil
}

// Lookup returns the entry whose version is spelled exactly so; ok is false when there is none.
func (r *Reader) Lookup(chart, version string) (e Entry, ok bool, err error) {
	d, ok, err := r.list(chart)
	if !ok {
		return Entry{}, false, err
	}
	shared, count := d.list()
	for range count {
		one := decoder{data: d.text()}
		if spelled := one; spelled.text() != version {
			continue
		}
		e, ok = one.entry(chart, shared), !one.bad
		if !ok {
			return Entry{}, false, errMeaningless
		}
		return e, true, nil
	}
	if d.bad {
		return Entry{}, false, errMeaningless
	}
	return Entry{}, false, nil
}

// Diff returns the names of the charts that differ between two generations, those that only one of them has included,
// sorted. A nil Reader has no charts.
func Diff(before, after *Reader) ([]string, error) {
	nextBefore, stopBefore := iter.Pull2(before.records(0))
	defer stopBefore()
	nextAfter, stopAfter := iter.Pull2(after.records(0))
	defer stopAfter()
	var changed []string
	a, errA, moreA := nextBefore()
	b, errB, moreB := nextAfter()
	for moreA || moreB {
		if err := errors.Join(errA, errB); err != nil {
			return nil, err
		}
		order := cmp.Compare(a.name, b.name)
		switch {
		case !moreB, moreA && order < 0:
			changed = append(changed, a.name)
			a, errA, moreA = nextBefore()
		case !moreA, order > 0:
			changed = append(changed, b.name)
			b, errB, moreB = nextAfter()
		default:
			if a.revision != b.revision {
				changed = append(changed, a.name)
			}
			a, errA, moreA = nextBefore()
			b, errB, moreB = nextAfter()
		}
	}
	return changed, nil
}

var errMeaningless = fmt.Errorf("%w: what it says about a chart makes no sense", ErrCorrupt)

func (c *chartRecord) summary() (Summary, error) {
	d := decoder{data: string(c.latest)}
	shared, count := d.list()
	latest := decoder{data: d.text()}
	s := Summary{Name: c.name, VersionCount: c.versions, Revision: hex.EncodeToString(c.revision[:])}
	s.Latest = latest.entry(c.name, shared)
	if d.bad || latest.bad || count != 1 {
		return Summary{}, errMeaningless
	}
	return s, nil
}

// records reads the records by name, without the first skip ones. A nil Reader has none.
func (r *Reader) records(skip int) iter.Seq2[chartRecord, error] {
	return func(yield func(chartRecord, error) bool) {
		if r == nil {
			return
		}
		for _, p := range r.root.pages {
			if p.before+p.charts <= skip {
				continue
			}
			d, err := r.page(p)
			if err != nil {
				yield(chartRecord{}, err)
				return
			}
			for i := range p.charts {
				record, ok := d.record(r.end)
				if !ok {
					yield(chartRecord{}, errMeaningless)
					return
				}
				if p.before+i >= skip && !yield(record, nil) {
					return
				}
			}
		}
	}
}

// record finds the record of a chart; ok is false when there is none.
func (r *Reader) record(chart string) (c chartRecord, ok bool, err error) {
	at, exact := slices.BinarySearchFunc(r.root.pages, chart, func(p page, name string) int { return cmp.Compare(p.first, name) })
	if !exact {
		at-- // the page before the first one that begins behind chart
	}
	if at < 0 {
		return chartRecord{}, false, nil
	}
	d, err := r.page(r.root.pages[at])
	if err != nil {
		return chartRecord{}, false, err
	}
	for range r.root.pages[at].charts {
		record, ok := d.record(r.end)
		switch {
		case !ok:
			return chartRecord{}, false, errMeaningless
		case record.name == chart:
			return record, true, nil
		}
	}
	return chartRecord{}, false, nil
}

// page reads and verifies a page.
func (r *Reader) page(p page) (decoder, error) {
	data, err := r.read(p.offset, p.length, p.checksum)
	return decoder{data: string(data)}, err
}

// list reads the list of a chart's versions.
func (r *Reader) list(chart string) (d decoder, ok bool, err error) {
	record, ok, err := r.record(chart)
	if !ok {
		return decoder{}, false, err
	}
	block, err := r.block(record)
	if err != nil {
		return decoder{}, false, err
	}
	return decoder{data: string(block)}, true, nil
}

// block reads and verifies the block of a chart.
func (r *Reader) block(record chartRecord) ([]byte, error) {
	return r.read(record.offset, record.length, record.checksum)
}

func (r *Reader) read(offset, length int64, checksum uint32) ([]byte, error) {
	return r.readInto(nil, offset, length, checksum)
}

// readInto is read with a buffer that may be large enough.
func (r *Reader) readInto(buffer []byte, offset, length int64, checksum uint32) ([]byte, error) {
	data := slices.Grow(buffer[:0], int(length))[:length]
	if _, err := r.file.ReadAt(data, offset); err != nil {
		return nil, readError(err)
	}
	if checksumOf(data) != checksum {
		return nil, fmt.Errorf("%w: a checksum does not fit", ErrCorrupt)
	}
	return data, nil
}

func (r *Reader) load() error {
	info, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("open index file: %w", err)
	}
	size := info.Size()
	if size < int64(len(magic)+footerSize) {
		return fmt.Errorf("%w: it is too short", ErrCorrupt)
	}
	end := make([]byte, footerSize)
	if _, err := r.file.ReadAt(end, size-int64(footerSize)); err != nil {
		return readError(err)
	}
	offset, length, checksum, err := readFooter(end, size)
	if err != nil {
		return err
	}
	encoded, err := r.read(offset, length, checksum)
	if err != nil {
		return err
	}
	r.end = offset
	if r.root, err = decodeRoot(encoded, offset); err != nil {
		return err
	}
	return r.verify()
}

// verify reads the table of contents once.
func (r *Reader) verify() error {
	var previous string
	var versions int64
	for record, err := range r.records(0) {
		if err != nil {
			return err
		}
		if record.name <= previous {
			return errMeaningless
		}
		previous, versions = record.name, versions+int64(record.versions)
	}
	if versions != r.root.stats.Versions {
		return errMeaningless
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends early", ErrCorrupt)
	}
	return fmt.Errorf("read index file: %w", err)
}
