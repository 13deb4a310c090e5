package readiness

import (
	"fmt"
	"strings"
	"time"
)

const (
	// namedInProgress and namedAtTimeout are how many objects a text names; the others are counted.
	namedInProgress = 2
	namedAtTimeout  = 3
)

// Reports passes texts on: not more than one in a time, each different from the one before, and none about a wait that was
// over before that time. One goroutine at a time may use it.
type Reports struct {
	to    func(string)
	every time.Duration
	last  time.Time
	said  string
}

// Reports returns a sink for texts of several waits of one operation, which to gets from the goroutines that wait.
func (h *Hub) Reports(to func(string)) *Reports { return &Reports{to: to, every: h.cfg.ProgressEvery} }

// begin notes that a wait began.
func (r *Reports) begin(now time.Time) {
	if r.last.Before(now) {
		r.last = now
	}
}

// due returns when the text may be told; zero when it was.
func (r *Reports) due(text string) time.Time {
	if text == r.said {
		return time.Time{}
	}
	return r.last.Add(r.every)
}

// offer tells the text if it is due.
func (r *Reports) offer(now time.Time, text string) {
	if at := r.due(text); at.IsZero() || at.After(now) {
		return
	}
	r.last, r.said = now, text
	r.to(text)
}

// progress says what the wait waits for.
func (w *waiting) progress() string {
	var missing []*item
	for _, i := range w.items {
		if !i.done {
			missing = append(missing, i)
		}
	}
	if len(missing) == 1 {
		return "waiting for " + w.titled(missing[0]) + w.until()
	}
	names := make([]string, 0, len(missing))
	for _, i := range missing {
		names = append(names, w.titled(i))
	}
	return fmt.Sprintf("waiting for %d objects%s%s", len(missing), w.until(), enumerate(names, namedInProgress))
}

// until ends texts about objects that are to go.
func (w *waiting) until() string {
	if w.goal == goalGone {
		return " to be gone"
	}
	return ""
}

// titled returns the name of an object and what it lacks.
func (w *waiting) titled(i *item) string {
	separator := ": "
	if w.goal == goalGone {
		separator = " "
	}
	return prefix(w.options.What) + i.String() + after(separator, w.text(i))
}

// enumerate returns ": a; b and 2 more", or nothing.
func enumerate(names []string, named int) string {
	if len(names) == 0 {
		return ""
	}
	if more := len(names) - named; more > 0 {
		return fmt.Sprintf(": %s and %d more", strings.Join(names[:named], "; "), more)
	}
	return ": " + strings.Join(names, "; ")
}

func prefix(word string) string {
	if word == "" {
		return ""
	}
	return word + " "
}

// after returns the text behind a separator, or nothing.
func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func lower(kind string) string { return strings.ToLower(kind) }
