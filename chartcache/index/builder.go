package index

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"
)

// maxNameBytes bounds the name of a chart. Registries allow 255 characters; names of HTTP repositories are shorter.
const maxNameBytes = 512

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
// that of the stream.
func (b *Builder) Add(chart string, entries []Entry) error {
	if _, again := b.charts[chart]; again || !validName(chart) {
		b.Reject(len(entries))
		return b.err
	}
	sorted := sortVersions(entries)
	b.Reject(len(entries) - len(sorted))
	if len(sorted) == 0 {
		return b.err
	}
	record := chartRecord{Name: chart, Versions: len(sorted), Offset: b.offset}
	latest := newestStable(sorted)
	block := []byte{'['}
	for i, v := range sorted {
		if i > 0 {
			block = append(block, ',')
		}
		v.entry.Chart = chart
		encoded, err := json.Marshal(v.entry)
		if err != nil { // strings, a flag and a time from year 0 to 9999 cannot fail
			return fmt.Errorf("encode version %s of chart %s: %w", v.entry.Version, chart, err)
		}
		if i == latest {
			record.LatestOffset, record.LatestLength = int64(len(block)), int64(len(encoded))
		}
		block = append(block, encoded...)
	}
	block = append(block, ']')
	record.Length, record.Revision = int64(len(block)), revisionOf(block)
	b.put(record, block)
	return b.err
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

// Copy writes a chart as r has it. A chart that r lacks is left out. The error is that of the stream, or ErrCorrupt.
func (b *Builder) Copy(r *Reader, chart string) error {
	record, ok := r.record(chart)
	if !ok {
		return b.err
	}
	block, err := r.block(record)
	if err != nil {
		return err
	}
	record.Offset = b.offset
	b.put(record, block)
	return b.err
}

// Reject counts n entries that are left out.
func (b *Builder) Reject(n int) { b.stats.Rejected += int64(n) }

// SetSourceBytes notes the size of the index.yaml that the generation is made from.
func (b *Builder) SetSourceBytes(n int64) { b.stats.SourceBytes = n }

// Finish writes the table of contents. Nothing may be added after it. It returns the revision and the figures.
func (b *Builder) Finish() (revision string, stats Stats, err error) {
	toc := contents{Stats: b.stats, Charts: make([]chartRecord, 0, len(b.charts))}
	for _, record := range b.charts {
		toc.Charts = append(toc.Charts, record)
	}
	slices.SortFunc(toc.Charts, func(a, b chartRecord) int { return cmp.Compare(a.Name, b.Name) })
	toc.Stats.Charts = int64(len(toc.Charts))
	toc.Revision = revisionOfAll(toc.Charts)

	encoded, err := json.Marshal(toc)
	if err != nil {
		return "", Stats{}, fmt.Errorf("encode table of contents: %w", err)
	}
	sum := sha256.Sum256(encoded)
	footer := binary.BigEndian.AppendUint64(nil, uint64(b.offset))
	footer = binary.BigEndian.AppendUint64(footer, uint64(len(encoded)))
	footer = append(footer, sum[:]...)
	footer = append(footer, magic...)
	b.write(encoded)
	b.write(footer)
	if b.err == nil {
		b.err = b.w.Flush()
	}
	return toc.Revision, toc.Stats, b.err
}

func (b *Builder) put(record chartRecord, block []byte) {
	b.charts[record.Name] = record
	b.stats.Versions += int64(record.Versions)
	b.write(block)
}

func (b *Builder) write(p []byte) {
	if b.err != nil {
		return
	}
	n, err := b.w.Write(p)
	b.offset += int64(n)
	b.err = err
}

// validName refuses what no chart can be called and what would make logs unreadable.
func validName(name string) bool {
	// JSON would change what is not UTF-8.
	return name != "" && len(name) <= maxNameBytes && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

type sortable struct {
	entry   Entry
	version *semver.Version
}

// sortVersions returns the entries that have a semantic version, newest first, each version once. Of entries with the
// same version the first counts, as in Helm.
func sortVersions(entries []Entry) []sortable {
	sorted := make([]sortable, 0, len(entries))
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		v, err := semver.NewVersion(e.Version)
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

// newestStable is the position of the newest version that is no prerelease; that of the newest one when there is none.
func newestStable(sorted []sortable) int {
	i := slices.IndexFunc(sorted, func(v sortable) bool { return v.version.Prerelease() == "" })
	return max(i, 0)
}

// revisionBytes is how much of a sha256 names a revision; 160 bits are beyond accident and attack, and halve the tokens.
const revisionBytes = 20

func revisionOf(block []byte) string {
	sum := sha256.Sum256(block)
	return hex.EncodeToString(sum[:revisionBytes])
}

func revisionOfAll(charts []chartRecord) string {
	h := sha256.New()
	for _, c := range charts {
		// A name holds no control characters, so the separators cannot be part of it.
		_, _ = io.WriteString(h, c.Name+"\x00"+c.Revision+"\n")
	}
	return hex.EncodeToString(h.Sum(nil)[:revisionBytes])
}
