package index

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errShape says that JSON is not an index.
var errShape = errors.New("its shape is not that of an index")

// jsonSplitter splits a JSON index into parts of its charts. It checks what surrounds the parts; that they are JSON is found by
// whoever parses them.
type jsonSplitter struct {
	r     *bufio.Reader
	texts *texts
	emit  func(part) error
	// apiVersion is what the index says.
	apiVersion string
	// found says that entries were there. encoding/json would merge or replace further ones.
	found bool
}

// split calls emit with every part. Errors are errConfused where it is no JSON, errShape, or of the stream or emit.
func (j *jsonSplitter) split() error {
	if err := j.object(j.field); err != nil {
		return err
	}
	if _, err := j.next(); !errors.Is(err, io.EOF) {
		return errConfused // something follows
	}
	return nil
}

// next returns the first byte of the next token without taking it.
func (j *jsonSplitter) next() (byte, error) {
	for {
		c, err := j.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, j.r.UnreadByte()
		}
	}
}

// accept takes the next token if it is this byte.
func (j *jsonSplitter) accept(want byte) (bool, error) {
	c, err := j.next()
	if err != nil {
		return false, cut(err)
	}
	if c != want {
		return false, nil
	}
	_, err = j.r.Discard(1)
	return true, err
}

// require takes the next token, which must be this byte.
func (j *jsonSplitter) require(want byte) error {
	ok, err := j.accept(want)
	if err == nil && !ok {
		err = errConfused
	}
	return err
}

// cut is an error of the stream in the middle of a value.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", errConfused, io.ErrUnexpectedEOF)
	}
	return err
}

// object calls field for each field of an object, which must read its value. Null has none.
func (j *jsonSplitter) object(field func(name string) error) error {
	switch begun, err := j.accept('{'); {
	case err != nil:
		return err
	case !begun:
		return j.null()
	}
	for first := true; ; first = false {
		switch ended, err := j.accept('}'); {
		case err != nil:
			return err
		case ended:
			return nil
		}
		if !first {
			if err := j.require(','); err != nil {
				return err
			}
		}
		var name string
		if err := j.decode(&name); err != nil {
			return err
		}
		if err := j.require(':'); err != nil {
			return err
		}
		if err := field(name); err != nil {
			return err
		}
	}
}

// null reads null; anything else is errShape.
func (j *jsonSplitter) null() error {
	raw, err := j.value(nil)
	if err == nil && string(raw) != "null" {
		err = errShape
	}
	return err
}

func (j *jsonSplitter) field(name string) error {
	switch {
	case strings.EqualFold(name, "apiVersion"):
		return j.decode(&j.apiVersion)
	case strings.EqualFold(name, "entries"):
		if j.found {
			return errConfused
		}
		j.found = true
		return j.object(j.chart)
	default:
		return j.decode(new(json.RawMessage))
	}
}

// chart reads the entries of a chart, some at a time.
func (j *jsonSplitter) chart(name string) error {
	p := part{chart: name, json: true, begins: true, ends: true, text: j.texts.take()}
	switch list, err := j.accept('['); {
	case err != nil:
		return err
	case !list: // null, or what is no list
		if p.text, err = j.value(p.text); err != nil {
			return err
		}
		return j.emit(p)
	}
	p.text = append(p.text, '[')
	for first, fresh := true, true; ; first, fresh = false, false {
		switch ended, err := j.accept(']'); {
		case err != nil:
			return err
		case ended:
			p.text = append(p.text, ']')
			return j.emit(p)
		}
		if !first {
			if err := j.require(','); err != nil {
				return err
			}
		}
		if len(p.text) >= partBytes {
			p.text, p.ends = append(p.text, ']'), false
			if err := j.emit(p); err != nil {
				return err
			}
			p = part{chart: name, json: true, ends: true, text: append(j.texts.take(), '[')}
			fresh = true
		}
		if !fresh {
			p.text = append(p.text, ',')
		}
		var err error
		if p.text, err = j.value(p.text); err != nil {
			return err
		}
	}
}

// decode reads a small value.
func (j *jsonSplitter) decode(to any) error {
	raw, err := j.value(nil)
	if err != nil {
		return err
	}
	err = json.Unmarshal(raw, to)
	if _, wrong := errors.AsType[*json.UnmarshalTypeError](err); wrong {
		return errShape
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errConfused, err)
	}
	return nil
}

// value appends the next value to a text, whether it is JSON or not: up to where its brackets and quotations are closed.
func (j *jsonSplitter) value(text []byte) ([]byte, error) {
	if _, err := j.next(); err != nil {
		return text, cut(err)
	}
	var v valueEnd
	for start := len(text); ; {
		window, err := j.r.Peek(max(1, j.r.Buffered()))
		if len(window) == 0 {
			if errors.Is(err, io.EOF) && v.depth == 0 && !v.quoted && len(text) > start {
				return text, nil
			}
			return text, cut(err)
		}
		n, ended := v.find(window)
		text = append(text, window[:n]...)
		if _, err := j.r.Discard(n); err != nil {
			return text, cut(err)
		}
		switch {
		case ended && len(text) == start:
			return text, errConfused
		case ended:
			return text, nil
		case len(text)-start > maxPartBytes:
			return text, errConfused
		}
	}
}

// valueEnd finds the end of a value in windows of text.
type valueEnd struct {
	depth           int
	quoted, escaped bool
}

// find returns how much of a window belongs to the value, and whether that is its end.
func (v *valueEnd) find(window []byte) (n int, ended bool) {
	for i := 0; i < len(window); i++ {
		if v.quoted {
			if i = v.skipQuoted(window, i); i < len(window) && !v.quoted && v.depth == 0 {
				return i + 1, true
			}
			continue
		}
		switch window[i] {
		case '"':
			v.quoted = true
		case '{', '[':
			v.depth++
		case '}', ']':
			if v.depth == 0 {
				return i, true
			}
			if v.depth--; v.depth == 0 {
				return i + 1, true
			}
		case ',', ' ', '\n', '\r', '\t':
			if v.depth == 0 {
				return i, true
			}
		}
	}
	return len(window), false
}

// skipQuoted returns the place of the sign that ends the quotation, or the end of the window.
func (v *valueEnd) skipQuoted(window []byte, i int) int {
	for ; i < len(window); i++ {
		switch {
		case v.escaped:
			v.escaped = false
		case window[i] == '\\':
			v.escaped = true
		case window[i] == '"':
			v.quoted = false
			return i
		default:
			// Nothing but these two matters.
			rest := window[i:]
			if quote := bytes.IndexByte(rest, '"'); quote >= 0 {
				rest = rest[:quote]
			}
			if escape := bytes.IndexByte(rest, '\\'); escape >= 0 {
				rest = rest[:escape]
			}
			i += len(rest) - 1
		}
	}
	return i
}
