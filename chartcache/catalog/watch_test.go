package catalog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// drain returns the events that are there without waiting.
func (w *world) drain(s *Subscription) []Event {
	w.t.Helper()
	var events []Event
	for {
		w.settle()
		w.mu.Lock()
		event, ok := s.next()
		w.mu.Unlock()
		if !ok {
			return events
		}
		events = append(events, event)
	}
}

// told describes events in short.
func told(events []Event) []string {
	var lines []string
	for _, e := range events {
		switch e.Kind {
		case EventChanged:
			charts := fmt.Sprint(e.Charts)
			if e.AllCharts {
				charts = "all"
			}
			lines = append(lines, fmt.Sprintf("%s changed %s", e.State.Source, charts))
		case EventDeleted:
			lines = append(lines, fmt.Sprintf("%s deleted", e.Source))
		case EventBookmark:
			lines = append(lines, fmt.Sprintf("bookmark %t", e.InitialStateComplete))
		}
	}
	return lines
}

func (w *world) named(name, url string) Source {
	return w.put(Spec{Ref: Ref{Namespace: "n", Name: name}, URL: url, Interval: 24 * time.Hour})
}

func TestAWatchBeginsWithAllStatesAndABookmark(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		w.named("b", httpURL)
		w.named("a", httpURL)
		_, err := w.Repository(context.Background(), ByURL(httpURL))
		require.NoError(t, err)
		w.settle()
		events := w.drain(w.Watch(context.Background(), ""))
		assert.Equal(t, []string{"n/a changed all", "n/b changed all", httpURL + " changed all", "bookmark true"}, told(events))
		assert.Equal(t, synced, events[0].State.State)
		assert.Equal(t, []string{"bookmark true"}, told(newWorld(t).drain(newWorld(t).Watch(context.Background(), "")))[:1])
	})
}

func TestAWatchThatBreaksBeforeItsStateIsCompleteStartsAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		w.named("a", httpURL)
		w.named("b", httpURL)
		w.settle()
		whole := []string{"n/a changed all", "n/b changed all", "bookmark true"}
		for _, token := range []string{"", "another.7"} {
			events := w.drain(w.Watch(context.Background(), token))
			require.Equal(t, whole, told(events))
			for i, event := range events[:2] {
				again := w.drain(w.Watch(context.Background(), event.Token))
				assert.Equal(t, whole, told(again), "after event %d the reader may still know of what is gone", i)
			}
			assert.Equal(t, []string{"bookmark true"}, told(w.drain(w.Watch(context.Background(), events[2].Token))))
		}
		w.named("c", httpURL)
		resumed := w.drain(w.Watch(context.Background(), w.events.token(w.events.sequence-1)))
		require.NotEmpty(t, resumed)
		assert.NotEqual(t, w.events.token(0), resumed[0].Token, "a watch that resumed knows all but what changed")
	})
}

func TestAWatchTellsChangesAsTheyHappen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.named("a", httpURL)
		w.settle()
		s := w.Watch(context.Background(), "")
		w.drain(s)

		pass(24 * time.Hour)
		assert.Empty(t, w.drain(s), "a sync that finds nothing new is no news")

		up.push(t, "db", "1.0.0", "")
		up.push(t, "web", "1.1.0", "")
		pass(24 * time.Hour)
		events := w.drain(s)
		assert.Equal(t, []string{"n/a changed [db web]"}, told(events))
		assert.Equal(t, int64(2), events[0].State.Charts)

		up.set(func() { up.fault = failure(unreachable, "down") })
		pass(24 * time.Hour)
		events = w.drain(s)
		assert.Equal(t, []string{"n/a changed []"}, told(events))
		assert.Equal(t, failed, events[0].State.State)
		pass(24 * time.Hour)
		assert.Empty(t, w.drain(s), "the same failure again is no news")
		up.set(func() { up.fault = nil })
		pass(24 * time.Hour)
		assert.Equal(t, []string{"n/a changed []"}, told(w.drain(s)))

		w.named("b", httpURL)
		w.Delete(*source.Ref)
		assert.Equal(t, []string{"n/b changed all", "n/a deleted"}, told(w.drain(s)))
		w.named("c", httpURL)
		w.Delete(Ref{Namespace: "n", Name: "c"})
		assert.Empty(t, w.drain(s), "what came and went unseen is not told")
		w.Delete(Ref{Namespace: "n", Name: "b"})
		w.named("b", httpURL)
		assert.Equal(t, []string{"n/b changed all"}, told(w.drain(s)), "what went and came is there")
	})
}

func TestASyncThatSomebodyWaitsForIsAnnounced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		source := w.named("a", httpURL)
		w.settle()
		s := w.Watch(context.Background(), "")
		w.drain(s)
		gate := make(chan struct{})
		up.set(func() { up.gate = gate })
		go func() { _, _, _ = w.Sync(context.Background(), source) }()
		events := w.drain(s)
		require.Len(t, events, 1)
		assert.True(t, events[0].State.Syncing)
		close(gate)
		events = w.drain(s)
		require.Len(t, events, 1)
		assert.False(t, events[0].State.Syncing)
	})
}

func TestASlowWatchGetsTheNewestStateAndEveryChart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.internet.add(httpURL), w.internet.add(httpURL+"/2")
		a, b := w.named("a", httpURL), w.named("b", httpURL+"/2")
		w.settle()
		s := w.Watch(context.Background(), "")
		w.drain(s)
		one.push(t, "x", "1.0.0", "")
		w.mustSync(a)
		two.push(t, "w", "1.0.0", "")
		w.mustSync(b)
		one.push(t, "z", "1.0.0", "")
		one.push(t, "x", "1.1.0", "")
		w.mustSync(a)
		events := w.drain(s)
		assert.Equal(t, []string{"n/a changed [x z]", "n/b changed [w]"}, told(events))
		assert.Equal(t, int64(2), events[0].State.Charts)

		// Whoever breaks off between the two gets what was not told, and may get again what was.
		resumed := w.Watch(context.Background(), events[0].Token)
		assert.Equal(t, []string{"n/a changed [x z]", "n/b changed [w]", "bookmark true"}, told(w.drain(resumed)))
	})
}

func TestAWatchResumesBehindItsToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		a := w.named("a", httpURL)
		w.named("b", httpURL)
		w.settle()
		events := w.drain(w.Watch(context.Background(), ""))
		token := events[len(events)-1].Token
		assert.Equal(t, []string{"bookmark true"}, told(w.drain(w.Watch(context.Background(), token))), "nothing happened")

		up.push(t, "x", "1.0.0", "")
		w.mustSync(a)
		w.Delete(Ref{Namespace: "n", Name: "b"})
		events = w.drain(w.Watch(context.Background(), token))
		assert.Equal(t, []string{"n/a changed [x]", "n/b deleted", "bookmark true"}, told(events))

		all := []string{"n/a changed all", "bookmark true"}
		first := w.drain(w.Watch(context.Background(), ""))
		for name, token := range map[string]string{
			"of another instance":      "other.5",
			"of the future":            w.events.token(w.events.sequence + 1),
			"that is none":             "token",
			"without a number":         w.events.instance + ".x",
			"of within initial states": w.events.token(0),
			"empty":                    "",
		} {
			assert.Equal(t, all, told(w.drain(w.Watch(context.Background(), token))), "a token %s", name)
		}
		assert.Equal(t, all, told(first))
		token = first[len(first)-1].Token
		w.restart()
		w.named("a", httpURL)
		assert.Equal(t, all, told(w.drain(w.Watch(context.Background(), token))), "a token of the process before")
	})
}

func TestATokenFromWithinTheInitialStatesStartsAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		w.named("a", httpURL)
		w.named("b", httpURL)
		w.settle()
		events := w.drain(w.Watch(context.Background(), ""))
		again := w.drain(w.Watch(context.Background(), events[0].Token))
		assert.Equal(t, told(events), told(again))
	})
}

func TestAWatchThatIsTooFarBehindGetsAllStates(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		w.named("a", httpURL)
		w.named("gone", httpURL)
		w.settle()
		s := w.Watch(context.Background(), "")
		events := w.drain(s)
		token := events[len(events)-1].Token
		w.Delete(Ref{Namespace: "n", Name: "gone"})
		w.mu.Lock()
		for range 2 * keptChanges {
			w.events.publish(ByRef("n", "a"), []string{"x"}, false)
		}
		assert.LessOrEqual(t, len(w.events.log), keptChanges)
		w.mu.Unlock()
		assert.Equal(t, []string{"n/a changed all", "n/gone deleted"}, told(w.drain(s)), "and no second bookmark of completeness")
		assert.Equal(t, []string{"n/a changed all", "bookmark true"}, told(w.drain(w.Watch(context.Background(), token))))
	})
}

func TestManyChangedChartsAreNotNamedOneByOne(t *testing.T) {
	e := newEvents("i")
	var many []string
	for i := range namedCharts + 1 {
		many = append(many, fmt.Sprintf("c%04d", i))
	}
	e.publish(ByRef("n", "a"), many, false)
	e.publish(ByRef("n", "a"), many[:namedCharts], false)
	e.publish(ByRef("n", "a"), many[1:], false)
	assert.True(t, e.log[0].all)
	assert.False(t, e.log[1].all)
	charts, all := merge([]change{{charts: many[:600]}, {charts: many[500:]}})
	assert.True(t, all)
	assert.Empty(t, charts)
	charts, all = merge([]change{{charts: []string{"b", "c"}}, {charts: []string{"a", "b"}}})
	assert.False(t, all)
	assert.Equal(t, []string{"a", "b", "c"}, charts)
}

func TestNextWaitsAndSendsBookmarks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		source := w.named("a", httpURL)
		w.settle()
		s := w.Watch(context.Background(), "")
		w.drain(s)

		began := now()
		event, err := s.Next(context.Background())
		require.NoError(t, err)
		assert.Equal(t, EventBookmark, event.Kind)
		assert.False(t, event.InitialStateComplete)
		assert.NotEmpty(t, event.Token)
		assert.Equal(t, DefaultBookmarkEvery, now().Sub(began))

		up.push(t, "web", "1.0.0", "")
		done := make(chan Event, 1)
		go func() {
			event, err := s.Next(context.Background())
			assert.NoError(t, err)
			done <- event
		}()
		w.settle()
		w.mustSync(source)
		assert.Equal(t, EventChanged, (<-done).Kind)

		w.drain(s)
		cause := errors.New("the reader left")
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		_, err = s.Next(ctx)
		assert.ErrorIs(t, err, cause)
		w.stop()
		_, err = s.Next(context.Background())
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"", "i.1", "i.0", "i.99999999999999999999", "other.1", "i"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		e := newEvents("i")
		for range 10 {
			e.publish(ByRef("n", "a"), nil, true)
		}
		if sequence, ok := e.parse(token); ok {
			_, kept := e.since(sequence)
			assert.True(t, kept)
			assert.LessOrEqual(t, sequence, e.sequence)
		}
	})
}
