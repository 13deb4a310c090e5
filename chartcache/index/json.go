package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonSplitter splits a JSON index into parts of its charts.
type jsonSplitter struct {
	decoder *json.Decoder
	source  *source
	emit    func(part) error
	// apiVersion is what the index says.
	apiVersion string
}

// errShape says that JSON is not an index.
var errShape = errors.New("its shape is not that of an index")

// newJSONSplitter reads from s what data, which was taken from s, begins.
func newJSONSplitter(data io.Reader, s *source, emit func(part) error) *jsonSplitter {
	j := &jsonSplitter{source: s, emit: emit}
	j.decoder = json.NewDecoder(&boundedValues{r: data, done: func() int64 { return j.decoder.InputOffset() }})
	return j
}

// boundedValues fails when one value is too long to be kept in memory.
type boundedValues struct {
	r    io.Reader
	read int64
	// done is where the last value ended.
	done func() int64
}

func (b *boundedValues) Read(p []byte) (int, error) {
	if b.read-b.done() > maxPartBytes {
		return 0, errConfused
	}
	n, err := b.r.Read(p)
	b.read += int64(n)
	return n, err
}

// split calls emit with every part. Errors are errConfused where it is no JSON, errShape, or of the stream or emit.
func (j *jsonSplitter) split() error {
	if err := j.object(j.field); err != nil {
		return err
	}
	if _, err := j.decoder.Token(); !errors.Is(err, io.EOF) {
		return errConfused // something follows
	}
	return nil
}

// object calls field for each field of an object, which must read its value. Null has none.
func (j *jsonSplitter) object(field func(name string) error) error {
	if null, err := j.open('{'); null || err != nil {
		return err
	}
	for j.decoder.More() {
		token, err := j.token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return errConfused
		}
		if err := field(name); err != nil {
			return err
		}
	}
	return j.closing()
}

func (j *jsonSplitter) field(name string) error {
	switch {
	case strings.EqualFold(name, "apiVersion"):
		return j.value(&j.apiVersion)
	case strings.EqualFold(name, "entries"):
		return j.object(j.chart)
	default:
		var ignored json.RawMessage
		return j.value(&ignored)
	}
}

// chart reads the entries of a chart, some at a time.
func (j *jsonSplitter) chart(name string) error {
	p := part{chart: name, json: true, begins: true, ends: true}
	switch token, err := j.token(); {
	case err != nil:
		return err
	case token == nil:
		p.text = []byte("[]")
		return j.emit(p)
	case token != json.Delim('['):
		if token == json.Delim('{') {
			if err := j.skip(); err != nil {
				return err
			}
		}
		p.text = []byte("0") // whatever it was, it is no list
		return j.emit(p)
	}
	p.text = append(newText(), '[')
	for first := true; j.decoder.More(); first = false {
		var entry json.RawMessage
		if err := j.value(&entry); err != nil {
			return err
		}
		if len(p.text) >= partBytes {
			p.text, p.ends = append(p.text, ']'), false
			if err := j.emit(p); err != nil {
				return err
			}
			p, first = part{chart: name, json: true, ends: true, text: append(newText(), '[')}, true
		}
		if !first {
			p.text = append(p.text, ',')
		}
		p.text = append(p.text, entry...)
	}
	p.text = append(p.text, ']')
	if err := j.closing(); err != nil {
		return err
	}
	return j.emit(p)
}

// open reads the begin of an object or a list. null says that there is null instead.
func (j *jsonSplitter) open(want json.Delim) (null bool, err error) {
	token, err := j.token()
	if err != nil {
		return false, err
	}
	if token != nil && token != want {
		return false, errShape
	}
	return token == nil, nil
}

func (j *jsonSplitter) closing() error {
	_, err := j.token()
	return err
}

// skip reads the rest of an object or a list that has begun.
func (j *jsonSplitter) skip() error {
	for depth := 1; depth > 0; {
		token, err := j.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

func (j *jsonSplitter) token() (json.Token, error) {
	token, err := j.decoder.Token()
	return token, j.classify(err)
}

func (j *jsonSplitter) value(to any) error {
	err := j.decoder.Decode(to)
	if _, wrong := errors.AsType[*json.UnmarshalTypeError](err); wrong {
		return errShape
	}
	return j.classify(err)
}

// classify tells errors of the stream from those of the format.
func (j *jsonSplitter) classify(err error) error {
	switch {
	case err == nil:
		return nil
	case j.source.failed != nil:
		return j.source.failed
	default:
		return fmt.Errorf("%w: %w", errConfused, err)
	}
}
