package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	what, baseline, ours, ratio, wanted string
	// reached is nil for a row that only informs.
	reached *bool
}

// table collects rows.
type table struct{ rows []row }

// add adds a row that something is wanted of.
func (t *table) add(r row, reached bool) {
	r.reached = &reached
	t.rows = append(t.rows, r)
}

// inform adds a row that nothing is wanted of.
func (t *table) inform(r row) { t.rows = append(t.rows, r) }

// print writes the table as Markdown.
func (t *table) print(w io.Writer) error {
	lines := []string{"| what | baseline | ours | ratio | wanted | reached |", "|---|---|---|---|---|---|"}
	for _, r := range t.rows {
		reached := ""
		if r.reached != nil {
			reached = map[bool]string{true: "yes", false: "**no**"}[*r.reached]
		}
		cells := []string{r.what, r.baseline, r.ours, r.ratio, r.wanted, reached}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		lines = append(lines, "| "+strings.Join(cells, " | ")+" |")
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// faster adds a row that wants ours to be a number of times faster than the baseline.
func (t *table) faster(what string, baseline, ours runs, wanted float64) {
	ratio := baseline.best().Seconds() / ours.best().Seconds()
	text := fmt.Sprintf(">= %gx faster", wanted)
	if wanted == 1 {
		text = "not slower"
	}
	t.add(row{what: what, baseline: baseline.time(), ours: ours.time(), ratio: fmt.Sprintf("%.1fx", ratio), wanted: text}, ratio >= wanted)
}

// compare adds a row that shows two times beside each other.
func (t *table) compare(what string, baseline, ours runs) {
	t.inform(row{what: what, baseline: baseline.time(), ours: ours.time(), ratio: fmt.Sprintf("%.1fx", baseline.best().Seconds()/ours.best().Seconds())})
}

// smaller adds a row that wants the peak of the memory of ours to be below a number of bytes.
func (t *table) smaller(what string, baseline, ours runs, limit int64) {
	t.add(row{
		what: what, baseline: megabytes(baseline.peak()), ours: megabytes(ours.peak()),
		ratio: fmt.Sprintf("%.1fx", float64(baseline.peak())/float64(ours.peak())), wanted: "<= " + megabytes(limit),
	}, ours.peak() <= limit)
}

// within adds a row that wants something to be at most a time.
func (t *table) within(what, baseline string, ours, limit time.Duration, note string) {
	t.add(row{what: what, baseline: baseline, ours: seconds(ours) + note, wanted: "<= " + seconds(limit)}, ours <= limit)
}

// below adds a row that wants something to be at most a number of bytes.
func (t *table) below(what, baseline string, ours, limit int64, note string) {
	t.add(row{what: what, baseline: baseline, ours: megabytes(ours) + note, wanted: "<= " + megabytes(limit)}, ours <= limit)
}

// atLeast adds a row that wants ours to be at least a part of the baseline.
func (t *table) atLeast(what, baseline, ours string, ratio, wanted float64) {
	t.add(row{what: what, baseline: baseline, ours: ours, ratio: fmt.Sprintf("%.2f", ratio), wanted: fmt.Sprintf(">= %g of it", wanted)}, ratio >= wanted)
}

// atMost adds a row that wants ours to be at most a number of times the baseline.
func (t *table) atMost(what, baseline, ours string, ratio, wanted float64) {
	t.add(row{what: what, baseline: baseline, ours: ours, ratio: fmt.Sprintf("%.2f", ratio), wanted: fmt.Sprintf("<= %gx", wanted)}, ratio <= wanted)
}

// megabyte is what the issue and the manuals of others mean by MB.
const megabyte = 1_000_000

func megabytes(bytes int64) string { return fmt.Sprintf("%.0f MB", float64(bytes)/megabyte) }

// seconds writes a time with three digits that count.
func seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
