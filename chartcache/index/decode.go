package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sigs.k8s.io/yaml"
)

// helmEntry is the part of an entry that is kept, and what Helm checks beside it. The name is only checked: Helm finds charts
// by the key of the map.
type helmEntry struct {
	Name         string            `json:"name"`
	Version      string            `json:"version"`
	AppVersion   string            `json:"appVersion"`
	Digest       string            `json:"digest"`
	Description  string            `json:"description"`
	Icon         string            `json:"icon"`
	Type         string            `json:"type"`
	Deprecated   bool              `json:"deprecated"`
	Created      string            `json:"created"`
	URLs         []string          `json:"urls"`
	Maintainers  []*struct{}       `json:"maintainers"`
	Dependencies []*helmDependency `json:"dependencies"`
}

type helmDependency struct {
	Alias string `json:"alias"`
}

// Bounds of one entry. What has more is left out and counted, and further URLs are not kept: nobody tries them.
const (
	// maxEntryBytes bounds the texts that are kept, such as an icon in a data URL.
	maxEntryBytes = 256 << 10
	maxURLs       = 100
)

// validAlias says whether Helm allows a text as an alias of a dependency.
func validAlias[T string | []byte](alias T) bool {
	for i := range len(alias) {
		c := alias[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(alias) > 0
}

// entry converts h; ok is false for what Helm does not accept. The version is checked where entries are sorted.
func (h *helmEntry) entry() (e Entry, ok bool) {
	if h == nil {
		return Entry{}, false
	}
	name := sanitized(h.Name)
	if name == "" || name == "." || name == ".." || name != filepath.Base(name) ||
		!slices.Contains([]string{"", "application", "library"}, h.Type) {
		return Entry{}, false
	}
	if slices.Contains(h.Maintainers, nil) {
		return Entry{}, false
	}
	for _, d := range h.Dependencies {
		if d == nil || d.Alias != "" && !validAlias(d.Alias) {
			return Entry{}, false
		}
	}
	e = Entry{
		Version: h.Version, AppVersion: sanitized(h.AppVersion), Digest: normalDigest(h.Digest),
		Description: sanitized(h.Description), Icon: sanitized(h.Icon), Type: h.Type, Deprecated: h.Deprecated,
	}
	if len(h.URLs) > 0 {
		e.URLs = h.URLs[:min(len(h.URLs), maxURLs)]
	}
	if e.bytes() > maxEntryBytes {
		return Entry{}, false
	}
	if h.Created != "" {
		// As encoding/json reads times, which is stricter than time.Parse.
		if e.Created.UnmarshalText([]byte(h.Created)) != nil {
			return Entry{}, false
		}
		e.Created = e.Created.UTC()
		if e.Created.IsZero() {
			e.Created = time.Time{}
		}
	}
	return e, true
}

// bytes is the size of the texts of an entry.
func (e *Entry) bytes() int {
	n := len(e.Version) + len(e.AppVersion) + len(e.Digest) + len(e.ManifestDigest) + len(e.Description) + len(e.Icon) + len(e.Type)
	for _, u := range e.URLs {
		n += len(u)
	}
	return n
}

// sanitized is text as Helm cleans it: any space becomes a plain one, and what cannot be printed is dropped.
func sanitized(text string) string {
	if plainText(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r):
			return r
		default:
			return -1
		}
	}, text)
}

func plainText(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// normalDigest gives the bare digits that Helm writes, in any case, their usual form. Anything else stays as it is.
func normalDigest(digest string) string {
	digits := strings.TrimPrefix(digest, digestPrefix)
	if len(digits) != 2*digestBytes {
		return digest
	}
	upper := false
	for i := range len(digits) {
		switch c := digits[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		case c >= 'A' && c <= 'F':
			upper = true
		default:
			return digest
		}
	}
	if upper {
		digits = strings.ToLower(digits)
	}
	return digestPrefix + digits
}

// parsedChart is what one part of an index says about a chart.
type parsedChart struct {
	name     string
	entries  []Entry
	rejected int
}

func (p *parsedChart) add(h *helmEntry) {
	e, ok := h.entry()
	if !ok {
		p.rejected++
		return
	}
	p.entries = append(p.entries, e)
}

// document is an index as Helm reads it. Decoding it converts numbers to text where text is wanted,
// exactly as Helm does.
type document struct {
	APIVersion string                  `json:"apiVersion"`
	Entries    map[string][]*helmEntry `json:"entries"`
}

// looseDocument is a document some of whose entries are not what they should be.
type looseDocument struct {
	APIVersion text                       `json:"apiVersion"`
	Entries    map[string]json.RawMessage `json:"entries"`
}

// looseEntry is an entry in which a number or a flag may stand for text.
type looseEntry struct {
	helmEntry
	Name        text   `json:"name"`
	Version     text   `json:"version"`
	AppVersion  text   `json:"appVersion"`
	Digest      text   `json:"digest"`
	Description text   `json:"description"`
	Icon        text   `json:"icon"`
	Type        text   `json:"type"`
	Created     text   `json:"created"`
	URLs        []text `json:"urls"`
}

func (l *looseEntry) strict() *helmEntry {
	h := l.helmEntry
	h.Name, h.Version, h.AppVersion, h.Digest = string(l.Name), string(l.Version), string(l.AppVersion), string(l.Digest)
	h.Description, h.Icon, h.Type, h.Created = string(l.Description), string(l.Icon), string(l.Type), string(l.Created)
	h.URLs = nil
	for _, u := range l.URLs {
		h.URLs = append(h.URLs, string(u))
	}
	return &h
}

// text is a scalar of YAML that became JSON, as text.
type text string

// UnmarshalJSON accepts strings, numbers, flags and null.
func (t *text) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	switch v := value.(type) {
	case nil:
		*t = ""
	case string:
		*t = text(v)
	case bool:
		*t = text(strconv.FormatBool(v))
	case float64:
		*t = text(data)
	default:
		return errors.New("not a scalar")
	}
	return nil
}

// errSyntax says that text is neither YAML nor JSON, or not such that it can be read safely.
var errSyntax = errors.New("not valid YAML")

const (
	// sectionNodes bounds the nodes that a YAML parser makes of a part of a chart, each of which takes some hundred bytes. Real
	// ones have 60 thousand per MiB.
	sectionNodes = 150_000
	// sectionBytes bounds what it is given of one.
	sectionBytes = 4 << 20
	// wholeNodes is for what is read at once, by one parser at a time.
	wholeNodes = 500_000
)

// nodesOf says how many nodes YAML has at most, or nearly so.
func nodesOf(data []byte) int {
	n := 0
	for _, sign := range []string{",", "\n", ": ", "[", "{", "- "} {
		n += bytes.Count(data, []byte(sign))
	}
	return n
}

// decodeYAML reads a whole document. hasEntries says whether it names entries, even none. Errors wrap errSyntax, or say that it
// is no index.
func decodeYAML(data []byte) (apiVersion string, charts []parsedChart, hasEntries bool, err error) {
	if nodesOf(data) > wholeNodes {
		return "", nil, false, errors.Join(errSyntax, errors.New("it has too many parts to be read at once"))
	}
	if err := checkAliases(data); err != nil {
		return "", nil, false, err
	}
	var strict document
	if yaml.Unmarshal(data, &strict) == nil {
		for name, list := range strict.Entries {
			p := parsedChart{name: name}
			for _, h := range list {
				p.add(h)
			}
			charts = append(charts, p)
		}
		return strict.APIVersion, charts, strict.Entries != nil, nil
	}
	encoded, err := yaml.YAMLToJSON(data)
	if err != nil {
		return "", nil, false, errors.Join(errSyntax, err)
	}
	var loose looseDocument
	if err := json.Unmarshal(encoded, &loose); err != nil {
		return "", nil, false, err
	}
	for name, list := range loose.Entries {
		charts = append(charts, decodeLoose(name, list))
	}
	return string(loose.APIVersion), charts, loose.Entries != nil, nil
}

// decodeSection reads the section of one chart: a mapping of its name to its entries. ok is false when it is anything else.
func decodeSection(data []byte) (p parsedChart, ok bool) {
	if len(data) > sectionBytes || nodesOf(data) > sectionNodes || checkAliases(data) != nil {
		return parsedChart{}, false
	}
	var strict map[string][]*helmEntry
	if yaml.Unmarshal(data, &strict) == nil {
		for name, list := range strict {
			p.name = name
			for _, h := range list {
				p.add(h)
			}
		}
		return p, len(strict) == 1
	}
	encoded, err := yaml.YAMLToJSON(data)
	if err != nil {
		return parsedChart{}, false
	}
	var loose map[string]json.RawMessage
	if json.Unmarshal(encoded, &loose) != nil {
		return parsedChart{}, false
	}
	for name, list := range loose {
		p = decodeLoose(name, list)
	}
	return p, len(loose) == 1
}

// decodeLoose reads a list of entries one by one; what is no list is left out as one entry.
func decodeLoose(name string, list json.RawMessage) parsedChart {
	p := parsedChart{name: name}
	var entries []json.RawMessage
	if json.Unmarshal(list, &entries) != nil {
		p.rejected++
		return p
	}
	for _, encoded := range entries {
		var e *looseEntry
		if json.Unmarshal(encoded, &e) != nil || e == nil {
			p.rejected++
			continue
		}
		p.add(e.strict())
	}
	return p
}

// decodeJSONList reads a list of entries of a JSON index; what is no list is left out as one entry. ok is false when it is no JSON.
func decodeJSONList(name string, list []byte) (p parsedChart, ok bool) {
	p = parsedChart{name: name}
	var strict []*helmEntry
	if json.Unmarshal(list, &strict) == nil {
		for _, h := range strict {
			p.add(h)
		}
		return p, true
	}
	if !json.Valid(list) {
		return p, false
	}
	var entries []json.RawMessage
	if json.Unmarshal(list, &entries) != nil {
		p.rejected++
		return p, true
	}
	for _, encoded := range entries {
		var h *helmEntry
		if json.Unmarshal(encoded, &h) != nil {
			p.rejected++
			continue
		}
		p.add(h)
	}
	return p, true
}
