package index

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync/atomic"
)

// maxEmptyReads bounds how often a stream may give nothing in a row without saying that it has ended.
const maxEmptyReads = 100

// chunk is a piece of an index in memory. Its room is used again when nobody holds it any more.
type chunk struct {
	data []byte
	held atomic.Int32
}

// lineReader reads a stream line by line into chunks. Lines are not copied: they are parts of a chunk, each in one of them, and
// stay as they are until that is released. It keeps what it read, for the case that the index must be read whole.
type lineReader struct {
	r     io.Reader
	texts *texts
	// chunk is the one that is being filled; what lies between next and end was read and not taken.
	chunk     *chunk
	next, end int
	err       error
	// kept are the chunks before this one with what was taken from them; lost says that it became too much.
	kept      []keptChunk
	keptBytes int
	lost      bool
}

type keptChunk struct {
	chunk *chunk
	bytes int
}

func newLineReader(r io.Reader, texts *texts) *lineReader {
	l := &lineReader{r: r, texts: texts}
	l.chunk = l.newChunk(texts.take())
	return l
}

func (l *lineReader) newChunk(room []byte) *chunk {
	c := &chunk{data: room[:cap(room)]}
	c.held.Store(1)
	return c
}

// release gives the room of a chunk back after the last one who held it released it.
func (t *texts) release(c *chunk) {
	if c.held.Add(-1) == 0 {
		t.giveBack(c.data)
		c.data = nil
	}
}

// line returns the next line with its end. At the end of the stream, the error comes with what is left. No line is much longer
// than maxPartBytes; what is longer is errConfused.
func (l *lineReader) line() ([]byte, error) {
	searched := 0
	for {
		ready := l.chunk.data[l.next:l.end]
		if at := bytes.IndexByte(ready[searched:], '\n'); at >= 0 {
			return l.take(searched + at + 1), nil
		}
		searched = len(ready)
		switch {
		case l.err != nil:
			return l.take(len(ready)), l.err
		case searched > maxPartBytes:
			return nil, errConfused
		}
		l.fill()
	}
}

// run returns the lines that are in memory already and begin with a prefix, and their number.
func (l *lineReader) run(prefix []byte) (text []byte, lines int) {
	ready := l.chunk.data[l.next:l.end]
	size := 0
	for {
		end := bytes.IndexByte(ready[size:], '\n')
		if end < 0 || !bytes.HasPrefix(ready[size:size+end], prefix) {
			return l.take(size), lines
		}
		size, lines = size+end+1, lines+1
	}
}

func (l *lineReader) take(n int) []byte {
	text := l.chunk.data[l.next : l.next+n]
	l.next += n
	return text
}

// fill reads more, into another chunk when this one is full.
func (l *lineReader) fill() {
	if l.end == len(l.chunk.data) {
		l.another()
	}
	for range maxEmptyReads {
		n, err := l.r.Read(l.chunk.data[l.end:])
		l.end += n
		l.err = err
		if n > 0 || err != nil {
			return
		}
	}
	l.err = io.ErrNoProgress
}

// another goes on to another chunk, with what was not taken from this one.
func (l *lineReader) another() {
	rest := l.chunk.data[l.next:l.end]
	room := l.texts.take()
	if cap(room) < 2*len(rest) {
		room = make([]byte, 0, 2*len(rest))
	}
	after := l.newChunk(room)
	copy(after.data, rest)
	l.keep(keptChunk{chunk: l.chunk, bytes: l.next})
	l.chunk, l.next, l.end = after, 0, len(rest)
}

// keep takes over a chunk that the reader is through with.
func (l *lineReader) keep(c keptChunk) {
	l.keptBytes += c.bytes
	l.kept = append(l.kept, c)
	if l.lost = l.lost || l.keptBytes > wholeBytes; l.lost {
		l.drop()
	}
}

// drop forgets what was kept.
func (l *lineReader) drop() {
	for _, c := range l.kept {
		l.texts.release(c.chunk)
	}
	l.kept = nil
}

// whole returns all of the stream, after reading the rest of it; ok is false when it is larger than wholeBytes.
func (l *lineReader) whole() (text []byte, ok bool, err error) {
	for l.err == nil && !l.lost && l.keptBytes+l.end <= wholeBytes {
		l.next = l.end
		l.fill()
	}
	if l.err != nil && !errors.Is(l.err, io.EOF) {
		return nil, false, l.err
	}
	if l.lost || l.keptBytes+l.end > wholeBytes {
		return nil, false, nil
	}
	pieces := make([][]byte, 0, len(l.kept)+1)
	for _, c := range l.kept {
		pieces = append(pieces, c.chunk.data[:c.bytes])
	}
	return slices.Concat(append(pieces, l.chunk.data[:l.end])...), true, nil
}
