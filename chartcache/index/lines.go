package index

import (
	"bytes"
	"regexp"
	"slices"
	"unicode/utf8"

	"sigs.k8s.io/yaml"
)

// lineParser reads sections that are laid out as Helm writes them, line by line, without a YAML parser. It is certain of what it
// reads, or says that it is not; then a YAML parser has to read the section.
//
// Certain is what needs no more than this: a line that is indented deeper than the keys of an entry belongs to the key above it,
// unless a quotation, a bracket or a block of text is open, whose ends it follows; and a scalar that is plain text, or a
// quotation without escapes, on one line. Other scalars are given to a YAML parser alone, and since the versions of a chart
// mostly share them, the last one of each key is remembered.
//
// It is not safe for concurrent use.
type lineParser struct {
	// memo is what the last scalar of each wanted key was that was given to a YAML parser, and last the last one that was not.
	memo []remembered
	last []string

	// spare is room for entries that is not used any more.
	spare []Entry
	// parsed is the section that is being read, entry the entry in it.
	parsed  parsedChart
	entry   helmEntry
	inEntry bool
	// dash is the indent of the dashes before entries, keys that of their keys, items that of the list below urls; -1 before the
	// first one.
	dash, keys, items int
	// key is the one that the line belongs to, field its place in wanted or -1.
	key   string
	field int
	open  openValue
	// scalar is the value of a wanted key, while it may go on.
	scalar   []byte
	inScalar bool
}

// openValue says what the end of a line leaves open.
type openValue struct {
	// quote is the sign that ends a quotation; 0 for none.
	quote byte
	// block is the indent that the lines of a block of text are deeper than; -1 for none.
	block int
}

func nothingOpen() openValue { return openValue{block: -1} }

type remembered struct {
	text string
	h    helmEntry
}

func newLineParser() *lineParser {
	return &lineParser{memo: make([]remembered, len(wanted)), last: make([]string, len(wanted))}
}

// wanted are the keys whose values are kept, ignored those that are not looked at. Keys that are in neither may be misspelled
// ones, which Helm accepts.
var (
	wanted  = []string{"name", "version", "appVersion", "digest", "description", "icon", "type", "deprecated", "created"}                                                       //nolint:gochecknoglobals // constant
	ignored = []string{"apiVersion", "home", "sources", "keywords", "condition", "tags", "annotations", "kubeVersion", "removed", "checksum", "engine", "tillerVersion", "url"} //nolint:gochecknoglobals // constant
	checked = map[string][]string{                                                                                                                                              //nolint:gochecknoglobals // constant
		"maintainers":  {"name", "email", "url"},
		"dependencies": {"name", "version", "repository", "condition", "tags", "enabled", "import-values", "alias", "child", "parent"},
	}
)

var (
	chartLine  = regexp.MustCompile(`^( *)(?:([A-Za-z][A-Za-z0-9._-]*)|"([A-Za-z0-9._-]+)"|'([A-Za-z0-9._-]+)'):(?: *| +#.*)\n?$`)
	lineBreaks = [][]byte{{'\r'}, {'\t'}, []byte("\u0085"), []byte("\u2028"), []byte("\u2029"), []byte("\ufeff")} //nolint:gochecknoglobals // constant
)

// expect makes room for entries of the next section.
func (p *lineParser) expect(entries int) {
	if cap(p.spare) < entries {
		p.spare = make([]Entry, 0, entries)
	}
}

// parse reads a section, in pieces of whole lines, the first of which is that of the chart; ok is false when it is not certain.
func (p *lineParser) parse(pieces [][]byte) (parsed parsedChart, ok bool) {
	var least int
	for i, piece := range pieces {
		rest, ok := certain(piece)
		if !ok {
			return parsedChart{}, false
		}
		var line []byte
		if i == 0 {
			line, rest = cutLine(rest)
			var name string
			if name, least, ok = chartName(line); !ok {
				return parsedChart{}, false
			}
			p.begin(name)
		}
		for len(rest) > 0 {
			line, rest = cutLine(rest)
			if !p.take(line, least) {
				return parsedChart{}, false
			}
		}
	}
	if !p.endEntry() {
		return parsedChart{}, false
	}
	return p.parsed, true
}

// begin begins the section of a chart.
func (p *lineParser) begin(name string) {
	p.parsed, p.spare = parsedChart{name: name, entries: p.spare[:0]}, nil
	p.inEntry, p.inScalar, p.dash, p.keys, p.open = false, false, -1, -1, nothingOpen()
}

// certain returns text whose lines end with nothing but a line feed; ok is false for text that may have other ends of lines, or
// is not what it seems.
func certain(text []byte) (lines []byte, ok bool) {
	if bytes.IndexByte(text, '\r') >= 0 {
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	}
	return text, utf8.Valid(text) && !slices.ContainsFunc(lineBreaks, func(b []byte) bool { return bytes.Contains(text, b) })
}

// chartName returns the name in the first line of a section, and its indent; ok is false when it is not certain.
func chartName(line []byte) (name string, indent int, ok bool) {
	match := chartLine.FindSubmatch(line)
	if len(match) == 0 || len(match[2]) > 0 && notText(match[2]) {
		return "", 0, false
	}
	return string(match[2]) + string(match[3]) + string(match[4]), len(match[1]), true
}

func cutLine(text []byte) (line, rest []byte) {
	end := bytes.IndexByte(text, '\n')
	if end < 0 {
		return text, nil
	}
	return text[:end+1], text[end+1:]
}

// take reads a line. least is the smallest indent that it may have.
func (p *lineParser) take(line []byte, least int) bool {
	indent := indentOf(line)
	content := bytes.TrimRight(line[indent:], " \n")
	if len(content) == 0 {
		p.extend(line)
		return true
	}
	if p.open.block >= 0 {
		if indent > p.open.block {
			p.extend(line)
			return true
		}
		p.open.block = -1
	}
	if p.open.quote != 0 {
		if indent <= p.keys {
			return false
		}
		p.extend(line)
		return p.endQuote(content)
	}
	switch {
	case content[0] == '#':
		return p.endScalar() // no text goes on behind a comment
	case indent < least:
		return false
	case p.dash < 0 || indent == p.dash && content[0] == '-':
		return p.item(indent, content)
	case indent < p.keys:
		return false
	case indent == p.keys && !isItem(content):
		return p.keyLine(indent, content)
	case p.inScalar:
		p.extend(line) // another line of a scalar
		return indent > p.keys
	default:
		return p.below(indent, content)
	}
}

// extend adds a line to a scalar of several lines.
func (p *lineParser) extend(line []byte) {
	if p.inScalar {
		p.scalar = append(p.scalar, line...)
	}
}

// endQuote looks for the end of a quotation in a line.
func (p *lineParser) endQuote(content []byte) bool {
	end := quoteEnd(content, p.open.quote)
	if end < 0 {
		return true
	}
	p.open.quote = 0
	return onlyComment(content[end:])
}

// item begins an entry.
func (p *lineParser) item(indent int, content []byte) bool {
	if p.dash >= 0 && !p.endEntry() || !bytes.HasPrefix(content, []byte("- ")) {
		return false
	}
	inner := indentOf(content[1:])
	p.dash, p.keys, p.inEntry, p.entry = indent, indent+1+inner, true, helmEntry{}
	return p.keyLine(p.keys, content[1+inner:])
}

// endEntry ends the entry that is being read.
func (p *lineParser) endEntry() bool {
	if !p.inEntry {
		return true
	}
	if p.open.quote != 0 || !p.endScalar() {
		return false
	}
	p.parsed.add(&p.entry)
	p.inEntry = false
	return true
}

// keyLine reads a line with a key of an entry.
func (p *lineParser) keyLine(indent int, content []byte) bool {
	if !p.endScalar() {
		return false
	}
	colon := bytes.IndexByte(content, ':')
	if colon <= 0 || colon+1 < len(content) && content[colon+1] != ' ' {
		return false
	}
	value := bytes.TrimLeft(content[colon+1:], " ")
	p.open, p.items = nothingOpen(), -1
	if p.field = slices.Index(wanted, string(content[:colon])); p.field >= 0 {
		p.key = wanted[p.field]
		return p.value(value)
	}
	if i := slices.Index(ignored, string(content[:colon])); i >= 0 {
		p.key = ignored[i]
	} else {
		if p.key = string(content[:colon]); p.key == "urls" {
			p.entry.URLs = nil
		} else if checked[p.key] == nil {
			return false
		}
		return len(value) == 0 || string(value) == "[]"
	}
	open, ok := openAfter(value, indent)
	p.open = open
	return ok
}

// below reads a line that belongs to the value of a key and is indented deeper, or begins an item of its list.
func (p *lineParser) below(indent int, content []byte) bool {
	switch {
	case p.key == "urls":
		url, ok := plainScalar(bytes.TrimLeft(bytes.TrimPrefix(content, []byte("-")), " "))
		if p.items < 0 {
			p.items = indent
		}
		if !isItem(content) || indent != p.items || !ok || len(url) == 0 {
			return false
		}
		p.entry.URLs = append(p.entry.URLs, string(url))
		return true
	case p.field >= 0:
		return false
	}
	inner, names := content, checked[p.key]
	for isItem(inner) {
		skip := 1 + indentOf(inner[1:])
		inner, indent = inner[skip:], indent+skip
		if len(inner) == 0 {
			return names == nil
		}
	}
	if names != nil && !checkedLine(inner, names) {
		return false
	}
	open, ok := openAfter(inner, indent)
	p.open = open
	return ok
}

// checkedLine says whether a line below maintainers or dependencies is one that Helm's checks surely accept.
func checkedLine(content []byte, names []string) bool {
	key, value, isKey := bytes.Cut(content, []byte(":"))
	if !isKey || len(value) > 0 && value[0] != ' ' {
		text, ok := plainScalar(content)
		return ok && len(text) > 0
	}
	if !slices.Contains(names, string(key)) {
		return false
	}
	if string(key) != "alias" {
		return true
	}
	alias, ok := plainScalar(bytes.TrimLeft(value, " "))
	return ok && validAlias(alias)
}

// value reads what is behind the colon of a wanted key.
func (p *lineParser) value(value []byte) bool {
	open, ok := openAfter(value, p.keys)
	if !ok || open.quote == '"' && bytes.HasSuffix(value, []byte("\\")) {
		return false // an escaped space at the end of the line may have been cut off
	}
	// Whether the scalar goes on is seen by the next lines, so it is read when it has ended.
	p.open, p.inScalar = open, true
	p.scalar = append(append(p.scalar[:0], value...), '\n')
	return true
}

// endScalar reads the value of a wanted key that has ended.
func (p *lineParser) endScalar() bool {
	if !p.inScalar {
		return true
	}
	p.inScalar = false
	value := p.scalar[:len(p.scalar)-1]
	one := bytes.IndexByte(value, '\n') < 0
	switch {
	case len(value) == 0:
		p.keep(&helmEntry{})
		return true
	case one && p.key == "deprecated" && (string(value) == "true" || string(value) == "false"):
		p.entry.Deprecated = value[0] == 't'
		return true
	case one && p.key != "deprecated":
		if text, ok := plainScalar(value); ok {
			if string(text) != p.last[p.field] {
				p.last[p.field] = string(text)
			}
			*p.entry.text(p.key) = p.last[p.field]
			return true
		}
	}
	return p.endOddScalar()
}

// endOddScalar reads a scalar by a YAML parser, or remembers it.
func (p *lineParser) endOddScalar() bool {
	memo := &p.memo[p.field]
	if memo.text == string(p.scalar) {
		p.keep(&memo.h)
		return true
	}
	head, _, _ := bytes.Cut(p.scalar, []byte("\n"))
	if len(head) == 0 {
		return false // it is not on the line of its key
	}
	if (head[0] == '|' || head[0] == '>') && bytes.ContainsAny(head, "0123456789") {
		return false // an indent that counts from that of the key
	}
	var h helmEntry
	if yaml.Unmarshal(slices.Concat([]byte(p.key), []byte(": "), p.scalar), &h) != nil {
		return false
	}
	*memo = remembered{text: string(p.scalar), h: h}
	p.keep(&h)
	return true
}

// keep takes the value of the current key from h.
func (p *lineParser) keep(h *helmEntry) {
	if p.key == "deprecated" {
		p.entry.Deprecated = h.Deprecated
		return
	}
	*p.entry.text(p.key) = *h.text(p.key)
}

// text is the field of a wanted key other than deprecated.
func (h *helmEntry) text(key string) *string {
	switch key {
	case "name":
		return &h.Name
	case "version":
		return &h.Version
	case "appVersion":
		return &h.AppVersion
	case "digest":
		return &h.Digest
	case "description":
		return &h.Description
	case "icon":
		return &h.Icon
	case "type":
		return &h.Type
	default:
		return &h.Created
	}
}
