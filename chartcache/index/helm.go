package index

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	// maxEntries bounds the entries of an index. The largest public one has 27 thousand.
	maxEntries = 1_000_000
	// maxChartBytes bounds the texts of all versions of one chart, which a look-up reads at once. The largest public chart has
	// 100 KB. The versions over it are left out.
	maxChartBytes = 32 << 20
	// maxWorkers bounds how many charts are parsed at once.
	maxWorkers = 4
	// jsonWindow is how much of a JSON index is looked at at once.
	jsonWindow = 64 << 10
	// formatSeed makes what was parsed by another version of this code unrecognisable. Change it when the same text is read
	// differently than before.
	formatSeed = "2"
)

// ReadHelm adds the charts of an index.yaml, as YAML or JSON, to b. An entry that Helm would not accept is left out and
// counted; a file that is no index at all is INDEX_REJECTED. Errors of r and of the stream of b are passed on, wrapped.
//
// The file is read as a stream. Charts whose text is as it was when before was made are copied from there without being parsed;
// before may be nil. What is not laid out chart by chart (a list of anchors, say) is read at once if it is not larger than
// 4 MiB, and rejected otherwise.
func ReadHelm(r io.Reader, before *Reader, b *Builder) error {
	s := &source{r: r}
	buffered := bufio.NewReader(s)
	begin, err := beginOf(buffered)
	if err != nil {
		return passOn(err)
	}
	in := &reading{source: s, before: before, builder: b}
	switch begin {
	case '<':
		return notAnIndex(nil, "it looks like a web page")
	case '{':
		err = in.readJSON(bufio.NewReaderSize(buffered, jsonWindow))
	default:
		err = in.readYAML(buffered)
	}
	b.SetSourceBytes(s.read)
	return err
}

// beginOf takes a byte order mark and returns the first byte behind it that says something; 0 when there is none.
func beginOf(r *bufio.Reader) (byte, error) {
	const mark = "\ufeff"
	if text, err := r.Peek(len(mark)); err == nil && string(text) == mark {
		if _, err := r.Discard(len(mark)); err != nil {
			return 0, err
		}
	}
	for n := 1; ; n++ {
		text, err := r.Peek(n)
		if len(text) < n || n == r.Size() {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return 0, err
		}
		if strings.IndexByte(" \t\r\n", text[n-1]) < 0 {
			return text[n-1], nil
		}
	}
}

// reading is one index that is being read.
type reading struct {
	source  *source
	before  *Reader
	builder *Builder
	texts   texts
	// entries is the number of entries so far, left out or not.
	entries int
	// replaces says that of two charts of one name the last one counts.
	replaces bool
	// current is a chart some of whose parts were read, and bytes the size of its texts.
	current parsedChart
	bytes   int
}

func (in *reading) readJSON(r *bufio.Reader) error {
	in.replaces = true
	var apiVersion string
	err := in.pipeline(func(emit func(part) error) error {
		j := &jsonSplitter{r: r, texts: &in.texts, emit: emit}
		err := j.split()
		apiVersion = j.apiVersion
		return err
	})
	switch {
	case errors.Is(err, errConfused):
		if _, err := io.Copy(io.Discard, io.LimitReader(r, wholeBytes+1)); err != nil {
			return passOn(err)
		}
		return in.readWhole(slices.Concat(in.source.kept...), !in.source.lost, err)
	case errors.Is(err, errShape):
		return notAnIndex(err, "its shape is not that of an index")
	case err != nil:
		return err
	case apiVersion == "":
		return notAnIndex(nil, "it has no apiVersion")
	}
	return nil
}

func (in *reading) readYAML(r io.Reader) error {
	in.source.kept, in.source.lost = nil, true // the lines are kept instead
	lines := newLineReader(r, &in.texts)
	var head []byte
	var found bool
	err := in.pipeline(func(emit func(part) error) error {
		s := &splitter{lines: lines, emit: emit}
		var err error
		head, err = s.split()
		found = s.found
		return err
	})
	if err == nil {
		err = in.readDocument(head, found)
	}
	if !errors.Is(err, errConfused) {
		return err
	}
	text, ok, readErr := lines.whole()
	if readErr != nil {
		return passOn(readErr)
	}
	return in.readWhole(text, ok, err)
}

// readWhole reads an index again, at once, after it turned out not to be laid out chart by chart; why tells where. ok is false
// for one that is too large for that.
func (in *reading) readWhole(text []byte, ok bool, why error) error {
	if !ok {
		return notAnIndex(why, fmt.Sprintf("it is not valid%s, or laid out as only an index of less than %d bytes may be; "+
			"publish it as \"helm repo index\" writes it", lineIn(why), wholeBytes))
	}
	in.builder.dropAll()
	in.entries, in.replaces = 0, false
	return in.readDocument(text, false)
}

// readDocument reads a whole index, or what surrounds the sections of charts. Those were where they seemed to be only if what
// surrounds them can be read, and holds the key of the charts; otherwise it is errConfused.
func (in *reading) readDocument(text []byte, surrounds bool) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return notAnIndex(nil, "it is empty")
	}
	apiVersion, charts, hasEntries, err := decodeYAML(text)
	switch {
	case surrounds && (errors.Is(err, errSyntax) || err == nil && !hasEntries):
		return errConfused
	case errors.Is(err, errSyntax):
		return notAnIndex(err, "it is not valid YAML"+lineIn(err))
	case err != nil:
		return notAnIndex(err, "its shape is not that of an index")
	case apiVersion == "":
		return notAnIndex(nil, "it has no apiVersion")
	}
	for _, c := range charts {
		if err := in.add(encodeChart(c.name, c.entries, c.rejected, nil)); err != nil {
			return err
		}
	}
	return nil
}

// task is a part that is being parsed. What comes of it is set before done is closed.
type task struct {
	part part
	done chan struct{}

	parsed parsedChart
	// encoded is set for a chart that is whole in this part.
	encoded *encodedChart
	err     error
}

// pipeline splits an index, parses the parts in parallel and adds them in their order.
func (in *reading) pipeline(split func(emit func(part) error) error) error {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	work, ordered := make(chan *task), make(chan *task, workers)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			p := parsers{lines: newLineParser(), lists: newJSONParser()}
			for t := range work {
				in.parse(t, p)
				in.texts.takeBack(&t.part)
				close(t.done)
			}
		})
	}
	var collected error
	group.Go(func() {
		for t := range ordered {
			<-t.done
			if collected == nil {
				if collected = in.collect(t); collected != nil {
					close(stop)
				}
			}
		}
	})
	err := split(func(p part) error {
		t := &task{part: p, done: make(chan struct{})}
		select {
		case ordered <- t:
		case <-stop:
			return errStopped
		}
		work <- t
		return nil
	})
	close(work)
	close(ordered)
	group.Wait()
	if panicked, ok := errors.AsType[panicError](collected); ok {
		panic(string(panicked)) // in the goroutine of the caller, who may know what to do about it
	}
	if collected != nil {
		return collected
	}
	return passOn(err)
}

// errStopped ends splitting after what was split could not be used.
var errStopped = errors.New("stopped")

// panicError is a panic of a worker.
type panicError string

func (p panicError) Error() string { return string(p) }

// parsers are what one worker parses with.
type parsers struct {
	lines *lineParser
	lists *jsonParser
}

// parse reads a part; ok is false when it cannot be read alone.
func (p parsers) parse(text part) (parsed parsedChart, ok bool) {
	if text.json {
		if parsed, ok = p.lists.parse(text.chart, text.text); !ok {
			parsed, ok = decodeJSONList(text.chart, text.text)
		}
		return parsed, ok
	}
	if parsed, ok = p.parseLines(text); !ok {
		parsed, ok = decodeSection(slices.Concat(text.pieces...))
	}
	return parsed, ok
}

// parseLines reads a part line by line; a large one in halves, at the same time.
func (p parsers) parseLines(text part) (parsed parsedChart, ok bool) {
	// A usual entry has at least this many bytes; what seems to be more entries may be something else.
	const entryBytes = 128
	items := min(text.items, text.size/entryBytes)
	p.lines.expect(items)
	if len(text.shares) == 0 || runtime.GOMAXPROCS(0) == 1 {
		return p.lines.parse(text.pieces)
	}
	middle := text.shares[len(text.shares)/2]
	name, _ := cutLine(text.pieces[0])
	var second parsedChart
	var secondOK bool
	var group sync.WaitGroup
	group.Go(func() {
		lines := newLineParser()
		lines.expect(max(0, items-middle.items))
		second, secondOK = lines.parse(slices.Concat([][]byte{name}, text.pieces[middle.piece:]))
	})
	parsed, ok = p.lines.parse(text.pieces[:middle.piece])
	group.Wait()
	parsed.entries = append(parsed.entries, second.entries...)
	parsed.rejected += second.rejected
	return parsed, ok && secondOK
}

// parse parses a part, or finds that it was parsed before.
func (in *reading) parse(t *task, p parsers) {
	defer func() {
		if r := recover(); r != nil {
			t.err = panicError(fmt.Sprintf("panic while parsing an index: %v\n%s", r, debug.Stack()))
		}
	}()
	whole := t.part.begins && t.part.ends
	var source [sourceBytes]byte
	if whole {
		source = sourceOf(t.part)
		if t.encoded = in.unchanged(t.part, source); t.encoded != nil {
			return
		}
	}
	var ok bool
	if t.parsed, ok = p.parse(t.part); !ok {
		if t.err = errConfused; !t.part.json {
			t.err = confused(t.part.line)
		}
		return
	}
	if whole {
		room := in.texts.take()
		c := encodeChart(t.parsed.name, t.parsed.entries, t.parsed.rejected, room)
		in.texts.giveBack(room)
		c.record.source = source
		t.encoded = &c
		clear(t.parsed.entries) // their texts are not needed any more
		p.lines.spare, t.parsed = t.parsed.entries, parsedChart{}
	}
}

// sourceOf recognises the text of a chart.
func sourceOf(p part) (source [sourceBytes]byte) {
	h := sha256.New()
	_, _ = io.WriteString(h, formatSeed+"\x00"+p.chart+"\x00")
	_, _ = h.Write(p.text)
	for _, piece := range p.pieces {
		_, _ = h.Write(piece)
	}
	copy(source[:], h.Sum(nil))
	return source
}

// unchanged returns the chart that the same text was parsed to before; nil when there is none. What cannot be read from disk
// any more is parsed again.
func (in *reading) unchanged(p part, source [sourceBytes]byte) *encodedChart {
	if in.before == nil {
		return nil
	}
	name := p.chart
	if !p.json {
		line, _ := cutLine(p.pieces[0])
		line = bytes.ReplaceAll(line[:min(len(line), 2*maxNameBytes)], []byte("\r\n"), []byte("\n"))
		var ok bool
		if name, _, ok = chartName(line); !ok {
			return nil
		}
	}
	record, ok, err := in.before.record(name)
	if err != nil || !ok || record.source != source {
		return nil
	}
	block, err := in.before.readInto(in.texts.take(), record.offset, record.length, record.checksum)
	if err != nil {
		return nil
	}
	return &encodedChart{record: record, block: block, borrowed: true}
}

// collect adds what came of a part.
func (in *reading) collect(t *task) error {
	switch {
	case t.err != nil:
		return t.err
	case t.encoded != nil:
		return in.add(*t.encoded)
	case t.part.begins:
		in.current, in.bytes = parsedChart{name: t.parsed.name}, 0
	}
	in.extend(t.parsed)
	if in.entries+len(in.current.entries) > maxEntries {
		return tooMany()
	}
	if !t.part.ends {
		return nil
	}
	c := in.current
	in.current = parsedChart{}
	return in.add(encodeChart(c.name, c.entries, c.rejected, nil))
}

// extend adds a part to the current chart.
func (in *reading) extend(p parsedChart) {
	in.current.rejected += p.rejected
	for _, e := range p.entries {
		if in.bytes += e.bytes(); in.bytes > maxChartBytes {
			in.current.rejected++
			continue
		}
		in.current.entries = append(in.current.entries, e)
	}
}

func (in *reading) add(c encodedChart) error {
	entries := c.record.versions + c.record.rejected
	if in.entries += entries; in.entries > maxEntries {
		return tooMany()
	}
	if in.replaces {
		in.builder.drop(c.record.name)
	}
	if err := in.builder.put(c, entries); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if c.borrowed {
		in.texts.giveBack(c.block)
	}
	return nil
}

// passOn wraps an error of the stream.
func passOn(err error) error {
	if err == nil || errors.Is(err, errConfused) || errors.Is(err, errShape) {
		return err
	}
	return fmt.Errorf("read index: %w", err)
}

func notAnIndex(err error, why string) error {
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, err, "what upstream sends is not a chart index: %s", why)
}

// linePattern is how YAML parsers, and we, name a line.
var linePattern = regexp.MustCompile(`line ([0-9]+)`)

// lineIn is the line that an error names, for a message; the rest of its text may be that of upstream.
func lineIn(err error) string {
	match := linePattern.FindStringSubmatch(err.Error())
	if len(match) == 0 {
		return ""
	}
	return " (near line " + match[1] + ")"
}

func tooMany() error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, "the index has more than %d entries", maxEntries)
}
