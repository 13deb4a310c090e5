package index

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
)

const (
	// wholeBytes bounds what is read at once: an index that is not laid out chart by chart, and what surrounds the charts of
	// one that is. Parsing takes about 16 times as much memory.
	wholeBytes = 4 << 20
	// partBytes is how large a part of a chart's section grows before the next one begins.
	partBytes = 1 << 20
	// maxPartBytes bounds one entry, the smallest part there is.
	maxPartBytes = 16 << 20
	// shareBytes is how large a part of a chart's section grows before another worker may take what follows. The sections of most
	// charts are smaller.
	shareBytes = 256 << 10
)

// errConfused says that an index is not laid out chart by chart as far as can be told. One that is small enough is read whole.
var errConfused = errors.New("not laid out chart by chart")

// confused is errConfused at a line of the index, counted from one.
func confused(line int) error { return fmt.Errorf("%w: line %d", errConfused, line) }

// part is the text of one chart of an index, or a part of it.
type part struct {
	// chart is the name, for JSON; a section of YAML holds its own.
	chart string
	// text is a JSON list of entries; for YAML there are pieces.
	text []byte
	json bool
	// pieces are the lines of a YAML mapping of one chart to its entries, the first of them with the name of the chart.
	pieces [][]byte
	// items is how many lines look as if they began an entry, and shares where what follows may be parsed apart from what is before.
	items  int
	shares []share
	// size is that of all pieces, in bytes, and chunks where they are.
	size   int
	chunks []*chunk
	// begins and ends say whether the chart does with this part.
	begins, ends bool
	// line is where the text begins in the index, from one; 0 for JSON.
	line int
}

// share is where a share of a part begins.
type share struct {
	// piece is the first one of the share, items how many entries seem to be before it.
	piece, items int
}

// source reads an index and counts its bytes. It keeps the beginning of JSON for the case that it must be read whole.
type source struct {
	r    io.Reader
	read int64
	// kept is the text so far, in pieces; nil once it is longer than wholeBytes, or kept by a lineReader.
	kept [][]byte
	lost bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.read += int64(n)
	if !s.lost {
		if s.read > wholeBytes {
			s.kept, s.lost = nil, true
		} else {
			s.kept = append(s.kept, bytes.Clone(p[:n]))
		}
	}
	return n, err
}

// texts are buffers for parts, to be used again.
type texts struct{ pool sync.Pool }

// take returns an empty buffer, large enough for the section of a small chart; those that grew come back.
func (t *texts) take() []byte {
	if text, ok := t.pool.Get().(*[]byte); ok {
		return (*text)[:0]
	}
	return make([]byte, 0, 128<<10)
}

func (t *texts) giveBack(text []byte) { t.pool.Put(&text) }

// takeBack takes the text of a part that is not needed any more.
func (t *texts) takeBack(p *part) {
	if p.json {
		t.giveBack(p.text)
	}
	for _, c := range p.chunks {
		t.release(c)
	}
	p.text, p.pieces, p.chunks = nil, nil, nil
}

// splitter splits an index in block style into the sections of its charts, looking at nothing but how lines are indented. A
// section that can be parsed for itself begins and ends where it should: a quotation or a bracket that were still open at its
// end would have kept it from being parsed. So whoever parses the sections proves that the splitter was right, from the first to
// the last one; and whoever parses what surrounds them and finds the key of the charts in it, that the first one began right.
type splitter struct {
	lines *lineReader
	emit  func(part) error
	// head is what is not in the sections: the lines before and behind the charts.
	head []byte
	line int
	// found says that the key of the charts was there. A line in its place keeps the head what it was.
	found bool
	// begun says that something else than comments and directives was there.
	begun bool

	// indent is that of the names of charts; 0 outside of entries.
	indent int
	// current is the section that is being gathered; item the indent of its entries, -1 before the first one.
	current part
	item    int
	// shared is how large the section was where the current share began.
	shared int
}

// split calls emit with every part, and returns what surrounds them. Errors are errConfused, or of the stream or emit.
func (s *splitter) split() (head []byte, err error) {
	for {
		if err := s.takeRun(); err != nil {
			return nil, err
		}
		s.line++
		line, err := s.lines.line()
		if errors.Is(err, errConfused) {
			return nil, confused(s.line)
		}
		if len(line) > 0 {
			done, takeErr := s.take(line)
			if takeErr != nil {
				return nil, takeErr
			}
			if done {
				break
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.flush(true); err != nil {
		return nil, err
	}
	return s.head, nil
}

// takeRun takes the lines that were read already and surely belong to the current section, all at once: those that are indented
// deeper than its entries. It is why splitting costs little.
func (s *splitter) takeRun() error {
	if s.current.pieces == nil || s.item < 0 || s.item+1 > len(spaces) {
		return nil
	}
	run, lines := s.lines.run([]byte(spaces[:s.item+1]))
	s.line += lines
	return s.keep(run)
}

// spaces is as deep as entries are indented where runs of lines are taken at once.
const spaces = "                "

// take adds a line to where it belongs; done says that the document ends before it.
func (s *splitter) take(line []byte) (done bool, err error) {
	indent := indentOf(line)
	content := line[indent:]
	switch {
	case isBlank(content), content[0] == '#':
		return false, s.keep(line)
	case indent == 0 && isDocumentMark(content):
		if !s.begun && content[0] == '-' {
			s.begun = true
			return false, s.keep(line) // the document begins
		}
		return true, nil
	case indent == 0 && content[0] == '%' && !s.begun:
		return false, s.keep(line)
	case indent == 0:
		if err := s.flush(true); err != nil {
			return false, err
		}
		s.begun, s.indent = true, 0
		if isEntries(content) {
			if s.found {
				return false, confused(s.line)
			}
			// Whether charts follow is seen by the next line.
			s.found, s.indent = true, -1
			return false, s.keepHead([]byte("entries: {}\n"))
		}
		return false, s.keepHead(line)
	case s.indent == 0:
		return false, s.keepHead(line)
	case s.indent == -1:
		s.indent = indent
	}
	switch {
	case indent < s.indent:
		return false, confused(s.line)
	case indent == s.indent && !isItem(content):
		return false, s.begin(line)
	case s.current.pieces == nil:
		return false, confused(s.line) // entries of no chart
	}
	if isItem(content) {
		if s.item < 0 {
			s.item = indent
		}
		if indent == s.item {
			if err := s.divide(); err != nil {
				return false, err
			}
			s.current.items++
		}
	}
	return false, s.keep(line)
}

// begin begins the section of another chart.
func (s *splitter) begin(name []byte) error {
	if err := s.flush(true); err != nil {
		return err
	}
	s.current, s.item, s.shared = part{begins: true, line: s.line}, -1, 0
	return s.add(name)
}

// divide begins another part of a section, or another share of a part, if the current one is large enough.
func (s *splitter) divide() error {
	switch {
	case s.current.size >= partBytes:
		name, _ := cutLine(s.current.pieces[0])
		name = bytes.Clone(name)
		if err := s.flush(false); err != nil {
			return err
		}
		s.current, s.shared = part{pieces: [][]byte{name}, size: len(name), line: s.line}, 0
	case s.current.size-s.shared >= shareBytes:
		s.shared = s.current.size
		s.current.shares = append(s.current.shares, share{piece: len(s.current.pieces), items: s.current.items})
	}
	return nil
}

// flush hands out the current part.
func (s *splitter) flush(ends bool) error {
	if s.current.pieces == nil {
		return nil
	}
	p := s.current
	p.ends = ends
	s.current = part{}
	return s.emit(p)
}

// keep adds lines to the section that is being gathered, or to the head.
func (s *splitter) keep(lines []byte) error {
	if s.current.pieces == nil {
		return s.keepHead(lines)
	}
	return s.add(lines)
}

// add adds lines to the section that is being gathered. They are those that the reader gave last.
func (s *splitter) add(lines []byte) error {
	p := &s.current
	if len(lines) == 0 {
		return nil
	}
	if p.size += len(lines); p.size > maxPartBytes {
		return confused(p.line)
	}
	last := len(p.chunks) - 1
	switch {
	case last < 0 || p.chunks[last] != s.lines.chunk:
		s.lines.chunk.held.Add(1)
		p.chunks = append(p.chunks, s.lines.chunk)
	case len(p.shares) == 0 || p.shares[len(p.shares)-1].piece < len(p.pieces):
		// They follow the piece before without a gap.
		end := len(p.pieces) - 1
		p.pieces[end] = p.pieces[end][:len(p.pieces[end])+len(lines)]
		return nil
	}
	p.pieces = append(p.pieces, lines)
	return nil
}

func (s *splitter) keepHead(line []byte) error {
	if len(s.head)+len(line) > wholeBytes {
		return confused(s.line)
	}
	s.head = append(s.head, line...)
	return nil
}

func indentOf(line []byte) int {
	for i, c := range line {
		if c != ' ' {
			return i
		}
	}
	return len(line)
}

func isBlank(content []byte) bool {
	return len(content) == 0 || content[0] <= ' ' && len(bytes.TrimSpace(content)) == 0
}

// isItem says whether a line begins an item of a list.
func isItem(content []byte) bool {
	return content[0] == '-' && (len(content) == 1 || content[1] == ' ' || content[1] == '\n' || content[1] == '\r' || content[1] == '\t')
}

func isDocumentMark(content []byte) bool {
	marked := bytes.HasPrefix(content, []byte("---")) || bytes.HasPrefix(content, []byte("..."))
	return marked && (len(content) == 3 || bytes.IndexByte([]byte(" \t\r\n"), content[3]) >= 0)
}

// entriesLine is the key of the charts, with nothing behind it.
var entriesLine = regexp.MustCompile(`^(?:entries|"entries"|'entries'):(?: *\r?| +#[^\r\x{85}\x{2028}\x{2029}]*\r?)\n?$`)

func isEntries(content []byte) bool {
	return (content[0] == 'e' || content[0] == '"' || content[0] == '\'') && entriesLine.Match(content)
}
