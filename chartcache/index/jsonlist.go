package index

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// maxJSONDepth bounds how deep JSON is nested that is read without encoding/json.
const maxJSONDepth = 100

// jsonParser reads lists of entries that hold what they should, in one pass. It says so where they do not; then encoding/json has
// to read them. It is not safe for concurrent use.
type jsonParser struct {
	data []byte
	pos  int
	// memo is what the last value of each wanted key was, and last that of the fields that only are checked.
	memo []remembered
	last map[string]string
}

func newJSONParser() *jsonParser {
	return &jsonParser{memo: make([]remembered, len(wanted)), last: map[string]string{}}
}

// parse reads a list; ok is false when that takes encoding/json.
func (p *jsonParser) parse(name string, list []byte) (parsed parsedChart, ok bool) {
	if !utf8.Valid(list) {
		return parsedChart{}, false
	}
	p.data, p.pos = list, 0
	parsed.name = name
	ok = p.each('[', ']', func() bool {
		if p.peek() == 'n' {
			parsed.rejected++
			return p.skip(0)
		}
		var h helmEntry
		if !p.object(&h) {
			return false
		}
		parsed.add(&h)
		return true
	})
	return parsed, ok && p.peek() == 0 && p.pos == len(p.data)
}

// peek returns the first byte of the next token; 0 at the end.
func (p *jsonParser) peek() byte {
	for p.pos < len(p.data) {
		if c := p.data[p.pos]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
		p.pos++
	}
	return 0
}

func (p *jsonParser) accept(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.pos++
	return true
}

// each calls f before each thing that is separated by commas between two brackets.
func (p *jsonParser) each(opens, closes byte, f func() bool) bool {
	if !p.accept(opens) {
		return false
	}
	if p.accept(closes) {
		return true
	}
	for {
		switch {
		case !f():
			return false
		case p.accept(closes):
			return true
		case !p.accept(','):
			return false
		}
	}
}

// object reads an entry.
func (p *jsonParser) object(h *helmEntry) bool {
	seen := map[string]bool{}
	return p.each('{', '}', func() bool {
		p.peek()
		raw, plain := p.quoted()
		if raw == nil || !plain || !p.accept(':') {
			return false
		}
		p.peek()
		key := raw[1 : len(raw)-1]
		if field := slices.Index(wanted, string(key)); field >= 0 {
			return p.wanted(h, field)
		}
		switch name := string(key); {
		case name == "urls":
			return p.urls(h)
		case checked[name] != nil:
			again := seen[name]
			seen[name] = true
			return !again && p.checked(h, name)
		default:
			return slices.Contains(ignored, name) && p.skip(0)
		}
	})
}

// wanted reads a value that is kept.
func (p *jsonParser) wanted(h *helmEntry, field int) bool {
	key := wanted[field]
	if key == "deprecated" {
		from := p.pos
		if !p.skip(0) {
			return false
		}
		h.Deprecated = string(p.data[from:p.pos]) == "true"
		return h.Deprecated || string(p.data[from:p.pos]) == "false"
	}
	raw, plain := p.quoted()
	if raw == nil {
		return false
	}
	memo := &p.memo[field]
	if memo.text != string(raw) {
		if !p.remember(memo, key, raw, plain) {
			return false
		}
	}
	*h.text(key) = *memo.h.text(key)
	return true
}

// remember reads the text of a quotation.
func (p *jsonParser) remember(memo *remembered, key string, raw []byte, plain bool) bool {
	text := string(raw)
	*memo = remembered{text: text}
	if plain {
		*memo.h.text(key) = text[1 : len(text)-1]
		return true
	}
	return json.Unmarshal(raw, memo.h.text(key)) == nil
}

func (p *jsonParser) urls(h *helmEntry) bool {
	h.URLs = nil
	return p.each('[', ']', func() bool {
		p.peek()
		raw, plain := p.quoted()
		if raw == nil || !plain {
			return false
		}
		h.URLs = append(h.URLs, string(raw[1:len(raw)-1]))
		return true
	})
}

// checked reads a value that Helm checks. The same value as in the entry before was seen to be right.
func (p *jsonParser) checked(h *helmEntry, name string) bool {
	from := p.pos
	if !p.skip(0) {
		return false
	}
	raw := p.data[from:p.pos]
	if p.last[name] == string(raw) {
		return true
	}
	var one helmEntry
	if json.Unmarshal(slices.Concat([]byte(`{"name":"x","`+name+`":`), raw, []byte("}")), &one) != nil {
		return false
	}
	if _, right := one.entry(); !right {
		h.Maintainers = []*struct{}{nil} // what is wrong does not matter
		return true
	}
	p.last[name] = string(raw)
	return true
}

// quoted reads a quotation, with its signs; nil when there is none. plain says that it holds no escapes.
func (p *jsonParser) quoted() (raw []byte, plain bool) {
	if p.pos >= len(p.data) || p.data[p.pos] != '"' {
		return nil, false
	}
	plain = true
	from := p.pos
	for i := from + 1; i < len(p.data); i++ {
		switch c := p.data[i]; {
		case c == '"':
			p.pos = i + 1
			return p.data[from:p.pos], plain
		case c < ' ':
			return nil, false
		case c == '\\':
			plain = false
			n := escapeLength(p.data[i:])
			if n == 0 {
				return nil, false
			}
			i += n - 1
		}
	}
	return nil, false
}

// escapeLength is the length of the escape that a text begins with; 0 for a wrong one.
func escapeLength(text []byte) int {
	switch {
	case len(text) < 2:
		return 0
	case bytes.IndexByte([]byte(`"\/bfnrt`), text[1]) >= 0:
		return 2
	case text[1] != 'u' || len(text) < 6:
		return 0
	}
	for _, c := range text[2:6] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0
		}
	}
	return 6
}

// skip reads a value that is not kept, and says whether it is JSON.
func (p *jsonParser) skip(depth int) bool {
	if depth > maxJSONDepth {
		return false
	}
	switch c := p.peek(); c {
	case '"':
		raw, _ := p.quoted()
		return raw != nil
	case '[':
		return p.each('[', ']', func() bool { return p.skip(depth + 1) })
	case '{':
		return p.each('{', '}', func() bool {
			p.peek()
			raw, _ := p.quoted()
			return raw != nil && p.accept(':') && p.skip(depth+1)
		})
	default:
		from := p.pos
		for p.pos < len(p.data) && bytes.IndexByte([]byte(",]} \n\r\t"), p.data[p.pos]) < 0 {
			p.pos++
		}
		word := p.data[from:p.pos]
		return string(word) == "true" || string(word) == "false" || string(word) == "null" || json.Valid(word)
	}
}
