package index

import (
	"bytes"
	"strings"
)

// openAfter says what a value leaves open at the end of its line. indent is that of the mapping or list that it is in. ok is
// false when that is not certain.
func openAfter(value []byte, indent int) (open openValue, ok bool) {
	if len(value) == 0 {
		return nothingOpen(), true
	}
	switch value[0] {
	case '"', '\'':
		end := quoteEnd(value[1:], value[0])
		if end < 0 {
			return openValue{quote: value[0], block: -1}, true
		}
		return openAfterQuote(value[1+end:], indent)
	case '|', '>':
		header := bytes.TrimLeft(value[1:], "+-0123456789")
		return openValue{block: indent}, onlyComment(header)
	case '[', '{':
		end := flowEnd(value)
		return nothingOpen(), end >= 0 && onlyComment(value[end:])
	case '#':
		return nothingOpen(), true
	case '&', '*', '!', '%', '@', '`', '?', ',', ']', '}':
		return nothingOpen(), false
	}
	if at := bytes.Index(value, []byte(": ")); at >= 0 {
		return openAfter(bytes.TrimLeft(value[at+2:], " "), indent)
	}
	return nothingOpen(), true
}

// openAfterQuote goes on behind a quotation, which may have been a key.
func openAfterQuote(rest []byte, indent int) (openValue, bool) {
	switch {
	case onlyComment(rest):
		return nothingOpen(), true
	case rest[0] == ':' && len(rest) == 1:
		return nothingOpen(), true
	case rest[0] == ':' && rest[1] == ' ':
		return openAfter(bytes.TrimLeft(rest[1:], " "), indent)
	default:
		return nothingOpen(), false
	}
}

// quoteEnd returns the place behind the sign that ends a quotation, the begin of which is cut off; -1 when it does not end.
func quoteEnd(text []byte, quote byte) int {
	for i := 0; i < len(text); i++ {
		switch {
		case quote == '"' && text[i] == '\\':
			i++
		case text[i] != quote:
		case quote == '\'' && i+1 < len(text) && text[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// flowEnd returns the place behind a list or mapping in brackets; -1 when it does not end in text, or that is not certain.
func flowEnd(text []byte) int {
	depth := 0
	before := byte('[') // the last sign that is no space
	for i := 0; i < len(text); i++ {
		begins := strings.IndexByte("[{,:", before) >= 0
		switch c := text[i]; {
		case c == ' ':
			continue
		case (c == '"' || c == '\'') && begins:
			end := quoteEnd(text[i+1:], c)
			if end < 0 {
				return -1
			}
			i += end
		case c == '[', c == '{':
			depth++
		case c == ']', c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case c == '#', begins && strings.IndexByte("&*!|>%@`?", c) >= 0:
			return -1
		}
		before = text[i]
	}
	return -1
}

// onlyComment says whether nothing but a comment follows a value.
func onlyComment(rest []byte) bool {
	trimmed := bytes.TrimLeft(rest, " ")
	return len(trimmed) == 0 || trimmed[0] == '#' && len(trimmed) < len(rest)
}

// plainScalar returns the text of a scalar that is written as it reads; ok is false when a YAML parser must say what it is.
func plainScalar(value []byte) (text []byte, ok bool) {
	if len(value) == 0 {
		return nil, false
	}
	switch c := value[0]; {
	case c == '"', c == '\'':
		inner := value[1:]
		end := bytes.IndexByte(inner, c)
		return inner[:max(end, 0)], end >= 0 && onlyComment(inner[end+1:]) && bytes.IndexByte(inner[:end], '\\') < 0
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '_', c == '(', c == '^', c == '$':
	default:
		return nil, false
	}
	if comment := bytes.Index(value, []byte(" #")); comment >= 0 {
		value = bytes.TrimRight(value[:comment], " ")
	}
	if value[len(value)-1] == ':' || bytes.Contains(value, []byte(": ")) || notText(value) {
		return nil, false
	}
	return value, true
}

// notText says whether a plain scalar may be something else than text: a number, a flag, null. It may say so of text, too.
func notText[T string | []byte](value T) bool {
	switch c := value[0]; {
	case c >= '0' && c <= '9', c == '+', c == '-', c == '.':
		return maybeNumber(value)
	default:
		switch strings.ToLower(string(value[:min(len(value), 6)])) {
		case "y", "yes", "true", "on", "n", "no", "false", "off", "null", "~":
			return true
		}
		return false
	}
}

// maybeNumber says whether a scalar that begins like a number may be one.
func maybeNumber[T string | []byte](value T) bool {
	if len(value) > 1 && value[0] == '0' && strings.IndexByte("xXbBoO", value[1]) >= 0 {
		return true
	}
	points := 0
	for i := range len(value) {
		switch c := value[i]; {
		case c >= '0' && c <= '9', c == '+', c == '-', c == '_', c == 'e', c == 'E':
		case c == '.':
			points++
		default:
			return i > 0 && (value[0] == '+' || value[0] == '-' || value[0] == '.')
		}
	}
	return points < 2
}
