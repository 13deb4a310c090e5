// Package console prints the progress of a stack for people: one line for each finished step, with its duration.
//
// It must never decide anything: whether a step failed is its caller's error.
package console

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Console prints steps. Safe for concurrent use.
type Console struct {
	// Out receives the lines. Required.
	Out io.Writer
	// Now is the clock. Required.
	Now func() time.Time

	mu sync.Mutex // guards Out
}

// Step runs fn and prints one line with a tick or a cross and how long it took.
func (c *Console) Step(name string, fn func() error) error {
	return c.StepNote(name, func() (string, error) { return "", fn() })
}

// StepNote is Step for an fn that has something to add about its success, printed behind the duration, or
// below if it starts with a new line.
func (c *Console) StepNote(name string, fn func() (string, error)) error {
	start := c.Now()
	note, err := fn()
	mark := "✓"
	if err != nil {
		mark, note = "✗", ""
	}
	if note != "" && !strings.HasPrefix(note, "\n") {
		note = "  " + note
	}
	c.Line("  %s %-64s %6.1fs%s", mark, name, c.Now().Sub(start).Seconds(), note)
	return err
}

// Line prints one line.
func (c *Console) Line(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.Out, format+"\n", args...) // nobody reads progress that cannot be printed
}
