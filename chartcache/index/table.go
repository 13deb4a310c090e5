package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The file of a generation:
//
//	magic
//	one block per chart: a list of its entries, newest first
//	pages: the records of the charts by name, several to a page
//	root: figures, revision, and for each page its first name, its number of records, its place and checksum
//	footer: offset and length of the root (8 bytes each, big endian), its checksum (4 bytes), magic
//
// Only the root stays in memory, about one name per thirty charts. The checksums (CRC-32C) find damage, not malice: who can
// write the file can serve anything anyway.
const (
	magic      = "CCINDEX2"
	footerSize = 8 + 8 + 4 + len(magic)
	// pageBytes is how large a page grows before the next one begins: a look-up reads one page.
	pageBytes = 8 << 10
	// revisionBytes is how much of a sha256 names a revision; 160 bits are beyond accident and attack, and halve the tokens.
	revisionBytes = 20
	// sourceBytes is how much of a sha256 recognises what a chart was read from.
	sourceBytes = 16
)

// chartRecord describes a chart and says where its block is.
type chartRecord struct {
	name string
	// versions is the number of entries, rejected that of those that were left out.
	versions, rejected int
	offset, length     int64
	checksum           uint32
	revision           [revisionBytes]byte
	// source recognises the text that the chart was read from; zero when it cannot be recognised.
	source [sourceBytes]byte
	// latest is the entry that a summary shows, encoded as a list of its own.
	latest []byte
}

func (c *chartRecord) append(to []byte) []byte {
	one := appendString(nil, c.name)
	one = binary.AppendUvarint(one, uint64(c.versions))
	one = binary.AppendUvarint(one, uint64(c.rejected))
	one = binary.AppendUvarint(one, uint64(c.offset))
	one = binary.AppendUvarint(one, uint64(c.length))
	one = binary.BigEndian.AppendUint32(one, c.checksum)
	one = append(one, c.revision[:]...)
	one = append(one, c.source[:]...)
	one = append(one, c.latest...)
	return appendString(to, one)
}

// record reads a record. end is where the blocks end.
func (d *decoder) record(end int64) (c chartRecord, ok bool) {
	inner := decoder{data: d.text()}
	c.name = inner.text()
	c.versions, c.rejected = int(inner.uvarint()), int(inner.uvarint())
	c.offset, c.length = int64(inner.uvarint()), int64(inner.uvarint())
	if sum := inner.bytes(4); sum != "" {
		c.checksum = binary.BigEndian.Uint32([]byte(sum))
	}
	copy(c.revision[:], inner.bytes(revisionBytes))
	copy(c.source[:], inner.bytes(sourceBytes))
	c.latest = []byte(inner.data)
	d.bad = d.bad || inner.bad
	return c, !d.bad && c.versions > 0 && c.rejected >= 0 && within(c.offset, c.length, end)
}

// page is a run of records.
type page struct {
	// first is the name of its first chart; before is the number of charts on the pages before it, charts that on this one.
	first          string
	before, charts int
	offset, length int64
	checksum       uint32
}

// root is the part of the file that stays in memory.
type root struct {
	stats    Stats
	revision [revisionBytes]byte
	pages    []page
}

func (r *root) encode() []byte {
	var to []byte
	for _, n := range []int64{r.stats.Charts, r.stats.Versions, r.stats.Rejected, r.stats.SourceBytes} {
		to = binary.AppendUvarint(to, uint64(n))
	}
	to = append(to, r.revision[:]...)
	to = binary.AppendUvarint(to, uint64(len(r.pages)))
	for _, p := range r.pages {
		to = appendString(to, p.first)
		to = binary.AppendUvarint(to, uint64(p.charts))
		to = binary.AppendUvarint(to, uint64(p.offset))
		to = binary.AppendUvarint(to, uint64(p.length))
		to = binary.BigEndian.AppendUint32(to, p.checksum)
	}
	return to
}

// decodeRoot reads a root; end is where it begins in the file, behind all pages.
func decodeRoot(data []byte, end int64) (root, error) {
	d := decoder{data: string(data)}
	var r root
	for _, n := range []*int64{&r.stats.Charts, &r.stats.Versions, &r.stats.Rejected, &r.stats.SourceBytes} {
		*n = int64(d.uvarint())
	}
	copy(r.revision[:], d.bytes(revisionBytes))
	r.pages = make([]page, d.count())
	charts := 0
	for i := range r.pages {
		p := &r.pages[i]
		p.first, p.before, p.charts = d.text(), charts, int(d.uvarint())
		p.offset, p.length = int64(d.uvarint()), int64(d.uvarint())
		if sum := d.bytes(4); sum != "" {
			p.checksum = binary.BigEndian.Uint32([]byte(sum))
		}
		if d.bad || p.charts < 1 || p.charts > int(p.length) || !within(p.offset, p.length, end) || i > 0 && p.first <= r.pages[i-1].first {
			return root{}, fmt.Errorf("%w: its table of contents makes no sense", ErrCorrupt)
		}
		charts += p.charts
	}
	if d.bad || r.stats.Charts != int64(charts) || r.stats.Rejected < 0 || r.stats.SourceBytes < 0 || r.stats.Versions < r.stats.Charts {
		return root{}, fmt.Errorf("%w: its figures make no sense", ErrCorrupt)
	}
	return r, nil
}

// footer is the end of the file, for a root of these bytes at an offset.
func footer(offset int64, root []byte) []byte {
	to := binary.BigEndian.AppendUint64(nil, uint64(offset))
	to = binary.BigEndian.AppendUint64(to, uint64(len(root)))
	to = binary.BigEndian.AppendUint32(to, checksumOf(root))
	return append(to, magic...)
}

// readFooter finds the root in a file of a size by its end.
func readFooter(end []byte, size int64) (offset, length int64, checksum uint32, err error) {
	from, long := binary.BigEndian.Uint64(end), binary.BigEndian.Uint64(end[8:])
	// Unsigned sums of two numbers below 2^63 do not overflow.
	if !bytes.HasSuffix(end, []byte(magic)) || from > uint64(size) || long > uint64(size) || from+long+uint64(footerSize) != uint64(size) {
		return 0, 0, 0, fmt.Errorf("%w: its end is not that of an index", ErrCorrupt)
	}
	return int64(from), int64(long), binary.BigEndian.Uint32(end[16:]), nil
}

func checksumOf(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

func within(offset, length, end int64) bool {
	return offset >= 0 && length >= 0 && offset <= end && length <= end-offset
}
