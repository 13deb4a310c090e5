package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// barWidth is the number of characters of a bar: with the name of a chart beside it, it fits 80 columns.
const barWidth = 30

// progress shows how much of a download has come, on a terminal only.
type progress struct {
	w          io.Writer
	isTerminal bool

	name         string
	total, bytes int64
	percent      int64 // shown; -1 before
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, isTerminal: isTerminal(w), percent: -1}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// begin says what comes.
func (p *progress) begin(name string, total int64) {
	p.name, p.total = oneLine(name), total
	p.show()
}

// add counts bytes.
func (p *progress) add(bytes int) {
	p.bytes += int64(bytes)
	p.show()
}

// show draws the bar anew when it changed.
func (p *progress) show() {
	if !p.isTerminal || p.total <= 0 {
		return
	}
	percent := min(100*p.bytes/p.total, 100)
	if percent == p.percent {
		return
	}
	p.percent = percent
	full := int(percent * barWidth / 100)
	// Progress is no part of the work, so it may fail.
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s [%s%s] %3d %% of %s", p.name, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), percent, megabytes(p.total))
}

// end clears what was shown.
func (p *progress) end() {
	if p.percent >= 0 {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
