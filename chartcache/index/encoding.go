package index

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// How entries are written. All numbers are variable-length integers, a string is its length and its bytes.
//
//	list:   number of shared strings, those strings, number of entries, then each entry: its length and its bytes
//	entry:  version, flags, app version, description, icon, type, time, digest, digest of the manifest, number of URLs, URLs
//
// The fields that most versions of a chart share are written as their place in the list of shared strings, counted from one;
// zero is the empty string. A time is seconds and nanoseconds; a usual digest is its 32 bytes.
const (
	flagDeprecated byte = 1 << iota
	flagCreated
	flagDigest         // a usual digest, not text
	flagManifestDigest // likewise
)

const (
	digestPrefix = "sha256:"
	digestBytes  = 32
)

// encodeList writes entries in their order. Equal entries are equal bytes. The result is no part of room.
func encodeList(entries []sortable, room []byte) []byte {
	var d dictionary
	var one []byte
	body := slices.Grow(room[:0], 160*len(entries))
	for i := range entries {
		one = appendEntry(one[:0], entries[i].entry, d.place)
		body = appendString(body, one)
	}
	size := binary.MaxVarintLen64
	for _, s := range d.strings {
		size += len(s) + binary.MaxVarintLen32
	}
	list := make([]byte, 0, size+binary.MaxVarintLen64+len(body))
	list = binary.AppendUvarint(list, uint64(len(d.strings)))
	for _, s := range d.strings {
		list = appendString(list, s)
	}
	list = binary.AppendUvarint(list, uint64(len(entries)))
	return append(list, body...)
}

// dictionary numbers strings in the order of their first use, from one.
type dictionary struct {
	places  map[string]uint64
	strings []string
}

func (d *dictionary) place(s string) uint64 {
	if s == "" {
		return 0
	}
	if place, ok := d.places[s]; ok {
		return place
	}
	if d.places == nil {
		d.places = map[string]uint64{}
	}
	d.strings = append(d.strings, s)
	d.places[s] = uint64(len(d.strings))
	return uint64(len(d.strings))
}

func appendEntry(to []byte, e *Entry, place func(string) uint64) []byte {
	digest, manifest := rawDigest(e.Digest), rawDigest(e.ManifestDigest)
	var flags byte
	if e.Deprecated {
		flags |= flagDeprecated
	}
	if !e.Created.IsZero() {
		flags |= flagCreated
	}
	if digest != nil {
		flags |= flagDigest
	}
	if manifest != nil {
		flags |= flagManifestDigest
	}
	to = appendString(to, e.Version)
	to = append(to, flags)
	for _, shared := range []string{e.AppVersion, e.Description, e.Icon, e.Type} {
		to = binary.AppendUvarint(to, place(shared))
	}
	if !e.Created.IsZero() {
		to = binary.AppendVarint(to, e.Created.Unix())
		to = binary.AppendUvarint(to, uint64(e.Created.Nanosecond()))
	}
	to = appendDigest(to, digest, e.Digest)
	to = appendDigest(to, manifest, e.ManifestDigest)
	to = binary.AppendUvarint(to, uint64(len(e.URLs)))
	for _, u := range e.URLs {
		to = appendString(to, u)
	}
	return to
}

func appendDigest(to, raw []byte, text string) []byte {
	if raw != nil {
		return append(to, raw...)
	}
	return appendString(to, text)
}

func appendString[T string | []byte](to []byte, s T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// rawDigest returns the bytes of a digest in its usual form; nil for anything else.
func rawDigest(digest string) []byte {
	digits, ok := strings.CutPrefix(digest, digestPrefix)
	if !ok || len(digits) != 2*digestBytes || strings.ToLower(digits) != digits {
		return nil
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return nil
	}
	return raw
}

// decoder reads what was written. It never fails in the middle: what is missing is zero, and bad says so in the end. Strings
// are parts of data, so whatever is read keeps it in memory.
type decoder struct {
	data string
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	var n uint64
	for shift := uint(0); shift < 64 && len(d.data) > 0; shift += 7 {
		b := d.data[0]
		d.data = d.data[1:]
		if b < 0x80 {
			return n | uint64(b)<<shift
		}
		n |= uint64(b&0x7f) << shift
	}
	d.bad = true
	return 0
}

func (d *decoder) varint() int64 {
	n := d.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads how many things follow, each of which takes at least one byte.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) string {
	if n > len(d.data) {
		d.bad = true
		return ""
	}
	s := d.data[:n]
	d.data = d.data[n:]
	return s
}

func (d *decoder) text() string { return d.bytes(d.count()) }

func (d *decoder) digest(usual bool) string {
	if !usual {
		return d.text()
	}
	const hexDigits = "0123456789abcdef"
	raw := d.bytes(digestBytes)
	digits := make([]byte, 0, len(digestPrefix)+2*digestBytes)
	digits = append(digits, digestPrefix...)
	for i := range len(raw) {
		digits = append(digits, hexDigits[raw[i]>>4], hexDigits[raw[i]&0xf])
	}
	return string(digits)
}

// list reads the head of a list: the shared strings and the number of entries.
func (d *decoder) list() (shared []string, entries int) {
	shared = make([]string, d.count())
	for i := range shared {
		shared[i] = d.text()
	}
	return shared, d.count()
}

func (d *decoder) entry(chart string, shared []string) Entry {
	e := Entry{Chart: chart, Version: d.text()}
	var flags byte
	if f := d.bytes(1); f != "" {
		flags = f[0]
	}
	e.Deprecated = flags&flagDeprecated != 0
	for _, field := range []*string{&e.AppVersion, &e.Description, &e.Icon, &e.Type} {
		*field = d.shared(shared)
	}
	if flags&flagCreated != 0 {
		seconds, nanoseconds := d.varint(), d.uvarint()
		e.Created = time.Unix(seconds, int64(nanoseconds%uint64(time.Second))).UTC()
	}
	e.Digest = d.digest(flags&flagDigest != 0)
	e.ManifestDigest = d.digest(flags&flagManifestDigest != 0)
	if urls := d.count(); urls > 0 {
		e.URLs = make([]string, urls)
		for i := range e.URLs {
			e.URLs[i] = d.text()
		}
	}
	return e
}

func (d *decoder) shared(shared []string) string {
	place := d.uvarint()
	switch {
	case place == 0:
		return ""
	case place <= uint64(len(shared)):
		return shared[place-1]
	default:
		d.bad = true
		return ""
	}
}
