package catalog

import (
	"context"
	"maps"
	"slices"
	"time"
)

// EventKind says what happened.
type EventKind int

const (
	// EventChanged says that a repository is there (initial state), is new, or changed.
	EventChanged EventKind = iota + 1
	// EventDeleted says that a repository is gone.
	EventDeleted
	// EventBookmark says that nothing happened; the token moves on.
	EventBookmark
)

// Event is one event of a watch.
type Event struct {
	// Kind says what happened, and which of the other fields are set.
	Kind EventKind
	// State of the repository (EventChanged).
	State State
	// Charts whose own revision changed since the state that was told before, sorted (EventChanged). Empty when only the
	// state changed.
	Charts []string
	// AllCharts reports that any chart may have changed; Charts is empty then (EventChanged).
	AllCharts bool
	// Source is the repository that is gone (EventDeleted).
	Source Source
	// InitialStateComplete is set once per watch, behind the last event of the initial state (EventBookmark).
	InitialStateComplete bool
	// Token from which a watch of the same instance resumes behind this event. It is never empty.
	Token string
}

// Subscription is one watch. It holds nothing that must be given back, keeps no queue, and is not safe for concurrent use.
type Subscription struct {
	c *Catalog
	// initial are the repositories whose states are still to be told before the log goes on.
	initial []Source
	// whole says that the watch tells all states, and not only what changed behind a token.
	whole bool
	// complete says that the bookmark behind the initial state was told; it is due when the log was told up to head.
	complete bool
	head     uint64
	// cursor is the sequence number up to which everything was told.
	cursor uint64
	// told has, by Source.String, up to where a repository's changes were told ahead of cursor.
	told map[string]uint64
	// known are the repositories that the reader knows of, by Source.String: their deletion is told, that of others is not.
	known map[string]Source
	// last is when the last event was told.
	last time.Time
}

// Watch starts a watch of all repositories, those known by their URL only included: with their states, or behind the event
// that token came with, if this instance gave it and remembers that far.
func (c *Catalog) Watch(_ context.Context, token string) *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Subscription{c: c, told: map[string]uint64{}, known: map[string]Source{}, last: c.cfg.Now(), head: c.events.sequence}
	if sequence, ok := c.events.parse(token); ok {
		if changes, ok := c.events.since(sequence); ok {
			s.cursor = sequence
			for _, r := range c.repositories {
				s.known[r.source.String()] = r.source
			}
			// What was deleted since was known.
			for _, change := range changes {
				s.known[change.source.String()] = change.source
			}
			return s
		}
	}
	s.whole = true
	s.restart()
	return s
}

// restart makes the watch tell the states of all repositories, and the end of those that are gone. The caller holds
// Catalog.mu.
func (s *Subscription) restart() {
	s.cursor = s.c.events.sequence
	clear(s.told)
	all := maps.Clone(s.known)
	for key, r := range s.c.repositories {
		all[key] = r.source
	}
	s.initial = slices.SortedFunc(maps.Values(all), bySource)
}

// Next waits for the next event: of several changes of one repository it tells the newest state, and the charts of all of
// them. While nothing happens it returns a bookmark now and then. It fails with the cause of ctx when that ends, and with
// an error that wraps context.Canceled when the catalog stops.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.c.mu.Lock()
		event, ok := s.next()
		happened := s.c.events.happened
		now := s.c.cfg.Now()
		s.c.mu.Unlock()
		if ok {
			s.last = now
			return event, nil
		}
		select {
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		case <-s.c.tasks.stopped:
			return Event{}, errStopped
		case <-happened:
		case <-s.c.cfg.After(s.last.Add(s.c.cfg.BookmarkEvery).Sub(now)):
			s.last = s.c.cfg.Now()
			return Event{Kind: EventBookmark, Token: s.token()}, nil
		}
	}
}

// next returns what can be told without waiting. The caller holds Catalog.mu.
func (s *Subscription) next() (Event, bool) {
	if event, ok := s.nextInitial(); ok {
		return event, true
	}
	changes, ok := s.c.events.since(s.cursor)
	if !ok {
		// Too far behind: the log forgot what to tell, so everything is told.
		s.restart()
		return s.next()
	}
	for i, change := range changes {
		if !s.complete && s.cursor >= s.head {
			break
		}
		s.cursor = change.sequence
		if s.told[change.source.String()] >= change.sequence {
			continue
		}
		if event, ok := s.tell(change.source, changes[i:]); ok {
			return event, true
		}
	}
	if !s.complete {
		s.complete = true
		return Event{Kind: EventBookmark, InitialStateComplete: true, Token: s.token()}, true
	}
	return Event{}, false
}

// nextInitial tells the next state of the initial ones. The caller holds Catalog.mu.
func (s *Subscription) nextInitial() (Event, bool) {
	for len(s.initial) > 0 {
		source := s.initial[0]
		s.initial = s.initial[1:]
		s.told[source.String()] = s.c.events.sequence
		if event, ok := s.event(source, nil, true); ok {
			return event, true
		}
	}
	return Event{}, false
}

// tell merges all changes of a repository into one event. The caller holds Catalog.mu.
func (s *Subscription) tell(source Source, changes []change) (Event, bool) {
	key := source.String()
	var own []change
	for _, c := range changes {
		if c.source.String() == key {
			own = append(own, c)
		}
	}
	s.told[key] = own[len(own)-1].sequence
	charts, all := merge(own)
	return s.event(source, charts, all)
}

// event is what there is to tell about a repository; false when it is gone and the reader never knew it. The caller holds
// Catalog.mu.
func (s *Subscription) event(source Source, charts []string, all bool) (Event, bool) {
	key := source.String()
	if r, ok := s.c.repositories[key]; ok {
		s.known[key] = source
		return Event{Kind: EventChanged, State: r.state(), Charts: charts, AllCharts: all, Token: s.token()}, true
	}
	_, known := s.known[key]
	delete(s.known, key)
	return Event{Kind: EventDeleted, Source: source, Token: s.token()}, known
}

// token resumes behind what was told. There is no such place while initial states are left, nor before the bookmark behind
// them: only that tells a reader that what it was not told of is gone. The token starts again then.
func (s *Subscription) token() string {
	if len(s.initial) > 0 || s.whole && !s.complete {
		return s.c.events.token(0)
	}
	return s.c.events.token(s.cursor)
}
