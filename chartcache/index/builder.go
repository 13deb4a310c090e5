package index

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxNameBytes bounds the name of a chart. Registries allow 255 characters; names of HTTP repositories are shorter.
const maxNameBytes = 512

// maxLatestBytes bounds what a generation says about the newest versions of all charts: 200 thousand charts of an ordinary size.
const maxLatestBytes = 64 << 20

// Stats are figures of a generation.
type Stats struct {
	// Charts is the number of charts that have at least one version.
	Charts int64 `json:"charts"`
	// Versions is the number of versions of all charts.
	Versions int64 `json:"versions"`
	// Rejected is the number of entries that were left out because they are invalid.
	Rejected int64 `json:"rejected"`
	// SourceBytes is the size of the index.yaml it was made from, uncompressed; 0 for OCI.
	SourceBytes int64 `json:"sourceBytes"`
}

// Builder writes one generation to a stream. The caller syncs and renames the file. It is not safe for concurrent use.
type Builder struct {
	w      *bufio.Writer
	offset int64
	charts map[string]chartRecord
	stats  Stats
	// latestBytes is the size of the newest versions of all charts, which stay in memory until the end.
	latestBytes int
	// err is the first write error. Everything after it would be at a wrong offset.
	err error
}

// NewBuilder returns a Builder that writes to w, starting with its current position as offset 0.
func NewBuilder(w io.Writer) *Builder {
	b := &Builder{w: bufio.NewWriterSize(w, 64<<10), charts: map[string]chartRecord{}}
	b.write([]byte(magic))
	return b
}

// Add writes the versions of one chart, sorted. Entries without a semantic version and further entries of the same
// version are left out and counted; so is the whole chart when it was added before or its name cannot be one. The error is
// that of the stream, or INDEX_REJECTED when there is too much.
func (b *Builder) Add(chart string, entries []Entry) error {
	return b.put(encodeChart(chart, entries, 0, nil), len(entries))
}

// AddTags writes the versions of an OCI chart. known returns what else is known about a version: a digest, for one whose
// tag moved.
func (b *Builder) AddTags(chart string, versions []string, known func(version string) Entry) error {
	entries := make([]Entry, 0, len(versions))
	for _, v := range versions {
		e := known(v)
		e.Version = v
		entries = append(entries, e)
	}
	return b.Add(chart, entries)
}

// Copy writes a chart as r has it. A chart that r lacks is left out. The error is that of the stream, or one of r.
func (b *Builder) Copy(r *Reader, chart string) error {
	record, ok, err := r.record(chart)
	if err != nil {
		return err
	}
	if !ok {
		return b.err
	}
	block, err := r.block(record)
	if err != nil {
		return err
	}
	// What was left out is counted by whoever copies all of r, or again when the chart is read again.
	record.rejected = 0
	return b.put(encodedChart{record: record, block: block}, record.versions)
}

// Reject counts n entries that are left out.
func (b *Builder) Reject(n int) { b.stats.Rejected += int64(n) }

// SetSourceBytes notes the size of the index.yaml that the generation is made from.
func (b *Builder) SetSourceBytes(n int64) { b.stats.SourceBytes = n }

// Finish writes the table of contents. Nothing may be added after it. It returns the revision and the figures.
func (b *Builder) Finish() (revision string, stats Stats, err error) {
	names := make([]string, 0, len(b.charts))
	for name := range b.charts {
		names = append(names, name)
	}
	slices.Sort(names)
	r := root{stats: b.stats}
	r.stats.Charts = int64(len(names))
	content := sha256.New()
	var records []byte
	current := page{}
	flush := func() {
		if current.charts == 0 {
			return
		}
		current.offset, current.length, current.checksum = b.offset, int64(len(records)), checksumOf(records)
		b.write(records)
		r.pages = append(r.pages, current)
		current, records = page{}, records[:0]
	}
	for _, name := range names {
		record := b.charts[name]
		if current.charts == 0 {
			current.first = name
		}
		records = record.append(records)
		current.charts++
		if len(records) >= pageBytes {
			flush()
		}
		// A name holds no control characters, so the zero cannot be part of it.
		_, _ = io.WriteString(content, name+"\x00")
		_, _ = content.Write(record.revision[:])
	}
	flush()
	copy(r.revision[:], content.Sum(nil))
	encoded, offset := r.encode(), b.offset
	b.write(encoded)
	b.write(footer(offset, encoded))
	if b.err == nil {
		b.err = b.w.Flush()
	}
	return hex.EncodeToString(r.revision[:]), r.stats, b.err
}

// encodedChart is a chart that is ready to be written. Its record lacks the offset. Without versions there is nothing to write.
type encodedChart struct {
	record chartRecord
	block  []byte
	// borrowed says that somebody wants the block back once it is written.
	borrowed bool
}

// encodeChart sorts and encodes a chart. rejected is the number of entries that were left out already, room what may be written to
// meanwhile.
func encodeChart(chart string, entries []Entry, rejected int, room []byte) encodedChart {
	sorted := sortVersions(entries)
	c := encodedChart{record: chartRecord{name: chart, versions: len(sorted), rejected: rejected + len(entries) - len(sorted)}}
	if len(sorted) == 0 {
		return c
	}
	c.block = encodeList(sorted, room)
	sum := sha256.Sum256(c.block)
	copy(c.record.revision[:], sum[:])
	c.record.length, c.record.checksum = int64(len(c.block)), checksumOf(c.block)
	latest := newestStable(sorted)
	c.record.latest = encodeList(sorted[latest:latest+1], room)
	return c
}

// put writes a chart, unless it is there already or cannot be: then all its entries are left out.
func (b *Builder) put(c encodedChart, entries int) error {
	if _, again := b.charts[c.record.name]; again || !validName(c.record.name) {
		b.Reject(max(entries, c.record.versions+c.record.rejected))
		return b.err
	}
	b.Reject(c.record.rejected)
	if c.record.versions == 0 {
		return b.err
	}
	if b.latestBytes += len(c.record.latest); b.latestBytes > maxLatestBytes {
		return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED,
			"the newest versions of its charts have more than %d bytes of text together", maxLatestBytes)
	}
	c.record.offset = b.offset
	b.charts[c.record.name] = c.record
	b.stats.Versions += int64(c.record.versions)
	b.write(c.block)
	return b.err
}

// drop forgets a chart, so that another one may take its name. What was left out of it is not counted any more.
func (b *Builder) drop(chart string) {
	if record, ok := b.charts[chart]; ok {
		b.stats.Versions -= int64(record.versions)
		b.stats.Rejected -= int64(record.rejected)
		delete(b.charts, chart)
	}
}

// dropAll forgets all that was added or counted. What was written stays in the file, unused.
func (b *Builder) dropAll() {
	clear(b.charts)
	b.stats, b.latestBytes = Stats{}, 0
}

func (b *Builder) write(p []byte) {
	if b.err != nil {
		return
	}
	n, err := b.w.Write(p)
	b.offset += int64(n)
	b.err = err
}

// validName refuses what no chart can be called and what would make logs and terminals unreadable, such as control characters,
// marks of direction and spaces of all kinds.
func validName(name string) bool {
	return name != "" && len(name) <= maxNameBytes && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
}

// sortable is an entry with its version, parsed.
type sortable struct {
	entry   *Entry
	version *semver.Version
}

// sortVersions returns the entries that have a semantic version, newest first, each version once. Of entries with the
// same version the first counts, as in Helm.
func sortVersions(entries []Entry) []sortable {
	sorted := make([]sortable, 0, len(entries))
	seen := make(map[string]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		v, err := parseVersion(e.Version)
		// A year of more than four digits cannot be written as JSON.
		if err != nil || seen[e.Version] || e.Created.Year() < 0 || e.Created.Year() > 9999 {
			continue
		}
		seen[e.Version] = true
		sorted = append(sorted, sortable{entry: e, version: v})
	}
	slices.SortStableFunc(sorted, func(a, b sortable) int {
		return cmp.Or(
			b.version.Compare(a.version),
			// Build metadata has no precedence; the later build is the better guess, and names make the order total.
			b.entry.Created.Compare(a.entry.Created),
			cmp.Compare(b.entry.Version, a.entry.Version),
		)
	})
	return sorted
}

// parseVersion is semver.NewVersion, which is slower for versions that need no help.
func parseVersion(version string) (*semver.Version, error) {
	if v, err := semver.StrictNewVersion(version); err == nil {
		return v, nil
	}
	return semver.NewVersion(version)
}

// newestStable is the position of the newest version that is no prerelease; that of the newest one when there is none.
func newestStable(sorted []sortable) int {
	i := slices.IndexFunc(sorted, func(v sortable) bool { return v.version.Prerelease() == "" })
	return max(i, 0)
}
