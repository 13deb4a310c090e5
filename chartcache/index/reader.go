package index

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// The file of a generation:
//
//	magic
//	one block per chart: a JSON array of its entries, newest first
//	table of contents: JSON of contents
//	footer: offset and length of the table (8 bytes each, big endian), its sha256, magic
//
// The hash of a block is the chart's revision, so equal revisions are equal bytes.
const (
	magic      = "CCINDEX1"
	footerSize = 8 + 8 + sha256.Size + len(magic)
)

// ErrCorrupt says that a file is not an undamaged generation. Whoever gets it should act as if the file were not there.
var ErrCorrupt = errors.New("the index file is damaged")

// contents is the table of contents.
type contents struct {
	Revision string        `json:"revision"`
	Stats    Stats         `json:"stats"`
	Charts   []chartRecord `json:"charts"` // by name
}

// chartRecord says where the block of a chart is.
type chartRecord struct {
	Name     string `json:"name"`
	Revision string `json:"revision"`
	Versions int    `json:"versions"`
	Offset   int64  `json:"offset"`
	Length   int64  `json:"length"`
	// LatestOffset and LatestLength are of the entry inside the block that Summary shows.
	LatestOffset int64 `json:"latestOffset"`
	LatestLength int64 `json:"latestLength"`
}

// Reader reads one generation. Its methods may be called concurrently, but not after Close. Errors are ErrCorrupt, or wrap
// it or that of the file.
type Reader struct {
	file *os.File
	toc  contents
}

// Open opens a generation and verifies all of it once, which reads the file from start to end.
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
func (r *Reader) Revision() string { return r.toc.Revision }

// Stats returns the figures of the generation.
func (r *Reader) Stats() Stats { return r.toc.Stats }

// Charts returns the names of the charts, sorted.
func (r *Reader) Charts() ([]string, error) {
	names := make([]string, len(r.toc.Charts))
	for i, c := range r.toc.Charts {
		names[i] = c.Name
	}
	return names, nil
}

// ChartRevision names the content of one chart; ok is false when there is no such chart.
func (r *Reader) ChartRevision(chart string) (revision string, ok bool) {
	record, ok := r.record(chart)
	return record.Revision, ok
}

// Summary describes a chart; ok is false when there is no such chart.
func (r *Reader) Summary(chart string) (s Summary, ok bool, err error) {
	record, ok := r.record(chart)
	if !ok {
		return Summary{}, false, nil
	}
	encoded := make([]byte, record.LatestLength)
	if _, err := r.file.ReadAt(encoded, record.Offset+record.LatestOffset); err != nil {
		return Summary{}, false, readError(err)
	}
	s = Summary{Name: record.Name, VersionCount: record.Versions, Revision: record.Revision}
	if err := json.Unmarshal(encoded, &s.Latest); err != nil {
		return Summary{}, false, fmt.Errorf("%w: summary of a chart: %w", ErrCorrupt, err)
	}
	return s, true, nil
}

// Versions returns the versions of a chart, newest first in semantic version order; ok is false when there is no such
// chart.
func (r *Reader) Versions(chart string) (entries []Entry, ok bool, err error) {
	record, ok := r.record(chart)
	if !ok {
		return nil, false, nil
	}
	block, err := r.block(record)
	if err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(block, &entries); err != nil {
		return nil, false, fmt.Errorf("%w: versions of a chart: %w", ErrCorrupt, err)
	}
	return entries, true, nil
}

// Lookup returns the entry whose version is spelled exactly so; ok is false when there is none.
func (r *Reader) Lookup(chart, version string) (e Entry, ok bool, err error) {
	entries, ok, err := r.Versions(chart)
	if !ok || err != nil {
		return Entry{}, false, err
	}
	for _, e := range entries {
		if e.Version == version {
			return e, true, nil
		}
	}
	return Entry{}, false, nil
}

// Diff returns the names of the charts that differ between two generations, those that only one of them has included,
// sorted. A nil Reader has no charts.
func Diff(before, after *Reader) []string {
	var a, b []chartRecord
	if before != nil {
		a = before.toc.Charts
	}
	if after != nil {
		b = after.toc.Charts
	}
	var changed []string
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			changed, a = append(changed, a[0].Name), a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			changed, b = append(changed, b[0].Name), b[1:]
		default:
			if a[0].Revision != b[0].Revision {
				changed = append(changed, a[0].Name)
			}
			a, b = a[1:], b[1:]
		}
	}
	return changed
}

func (r *Reader) record(chart string) (chartRecord, bool) {
	i, ok := slices.BinarySearchFunc(r.toc.Charts, chart, func(c chartRecord, name string) int { return cmp.Compare(c.Name, name) })
	if !ok {
		return chartRecord{}, false
	}
	return r.toc.Charts[i], true
}

// block reads and verifies the block of a chart: the disk may have damaged it since Open.
func (r *Reader) block(record chartRecord) ([]byte, error) {
	block := make([]byte, record.Length)
	if _, err := r.file.ReadAt(block, record.Offset); err != nil {
		return nil, readError(err)
	}
	if revisionOf(block) != record.Revision {
		return nil, fmt.Errorf("%w: the checksum of a chart does not fit", ErrCorrupt)
	}
	return block, nil
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
	footer := make([]byte, footerSize)
	if _, err := r.file.ReadAt(footer, size-int64(footerSize)); err != nil {
		return readError(err)
	}
	offset, length := binary.BigEndian.Uint64(footer), binary.BigEndian.Uint64(footer[8:])
	// Unsigned sums of two numbers below 2^63 do not overflow.
	if !bytes.HasSuffix(footer, []byte(magic)) || offset > uint64(size) || length > uint64(size) ||
		offset+length+uint64(footerSize) != uint64(size) {
		return fmt.Errorf("%w: its end is not that of an index", ErrCorrupt)
	}
	encoded := make([]byte, length)
	if _, err := r.file.ReadAt(encoded, int64(offset)); err != nil {
		return readError(err)
	}
	if sum := sha256.Sum256(encoded); !bytes.Equal(sum[:], footer[16:16+sha256.Size]) {
		return fmt.Errorf("%w: the checksum of its table of contents does not fit", ErrCorrupt)
	}
	if err := json.Unmarshal(encoded, &r.toc); err != nil {
		return fmt.Errorf("%w: table of contents: %w", ErrCorrupt, err)
	}
	return r.verify(int64(offset))
}

// verify checks that the table makes sense and every block is as it was written; end is where the blocks end.
func (r *Reader) verify(end int64) error {
	var previous string
	var versions int64
	for _, c := range r.toc.Charts {
		if c.Name <= previous || c.Versions < 1 || !within(c.Offset, c.Length, end) || !within(c.LatestOffset, c.LatestLength, c.Length) {
			return fmt.Errorf("%w: its table of contents makes no sense", ErrCorrupt)
		}
		if _, err := r.block(c); err != nil {
			return err
		}
		previous, versions = c.Name, versions+int64(c.Versions)
	}
	if r.toc.Stats.Charts != int64(len(r.toc.Charts)) || r.toc.Stats.Versions != versions || r.toc.Revision != revisionOfAll(r.toc.Charts) {
		return fmt.Errorf("%w: its figures do not fit its charts", ErrCorrupt)
	}
	return nil
}

func within(offset, length, end int64) bool {
	return offset >= 0 && length >= 0 && offset <= end && length <= end-offset
}

func readError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends early", ErrCorrupt)
	}
	return fmt.Errorf("read index file: %w", err)
}
