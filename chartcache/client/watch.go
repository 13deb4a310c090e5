package client

import (
	"context"
	"errors"
	"io"
	"sort"

	"google.golang.org/grpc/codes"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Event is what Watch tells its handler: one of *Changed, *Deleted, *Synced, *Up, *Down.
type Event interface{ isEvent() }

// Changed says that a repository is there, is new, or changed.
type Changed struct {
	// Repository is its state now.
	Repository Repository
	// Charts are the names of the charts whose own revision changed, sorted. Empty when only the state changed.
	Charts []string
	// AllCharts reports that any chart may have changed; Charts is empty then.
	AllCharts bool
}

// Deleted says that a repository is no longer configured.
type Deleted struct {
	// Source names it.
	Source Source
}

// Synced says that every repository that chartcache knows has been reported: one that was not is not configured. It
// comes after the first connection, and again after a connection to an instance that cannot resume.
type Synced struct{}

// Up says that chartcache is reachable. The first event of a Watch is Up or Down.
type Up struct{}

// Down says that chartcache is not reachable (any more). It comes once for each loss, not for each try to reconnect, and only when
// the first try failed too: servers end connections that are old by design.
type Down struct {
	// Err is an *Error.
	Err error
}

func (*Changed) isEvent() {}
func (*Deleted) isEvent() {}
func (*Synced) isEvent()  {}
func (*Up) isEvent()      {}
func (*Down) isEvent()    {}

// Watch reports every repository and then each change, until ctx ends; it returns the cause of that. It reconnects by
// itself, with back-off, and resumes where it stopped; where the server cannot resume, all repositories are reported
// again, and configured ones that went meanwhile as Deleted, so that no change is lost. The handler is called from one
// goroutine, in order; while it works, chartcache merges what happens.
func (c *Client) Watch(ctx context.Context, handle func(Event)) error {
	// Resume tokens are of one instance, so a watch that broke goes back to its own when that is there.
	ctx = withAffinity(ctx, c.affinity(Source{}))
	w := watch{client: c, handle: handle, known: map[Source]bool{}}
	failures := 0
	for {
		progressed, err := w.stream(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if progressed {
			failures = 0
		} else {
			w.lost(err)
		}
		failures++
		wait := c.backoff.delay(failures)
		if asked, ok := askedWait(err); ok {
			wait = max(wait, asked)
		}
		select {
		case <-c.backoff.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch is the state of one Watch over all its streams. It is used by one goroutine.
type watch struct {
	client *Client
	handle func(Event)
	token  string          // of the last event behind the initial state; empty asks for full state
	known  map[Source]bool // reported and not deleted
	state  connection
}

type connection int

const (
	unknown connection = iota
	up
	down
)

// stream receives one stream to its end. progressed reports whether the server answered at all.
func (w *watch) stream(ctx context.Context) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.client.rpc.WatchRepositories(ctx, &chartcachev1.WatchRepositoriesRequest{ResumeToken: w.token})
	if err != nil {
		return false, errorOf(err)
	}
	// The server sends its header before the first event, which can be half a minute away on a resumed watch.
	if header, err := stream.Header(); err == nil && header != nil {
		w.connected()
		progressed = true
	}
	// seen holds what this stream reported; until its initial state is complete the token cannot be used, since a watch
	// that resumes inside it would never learn which repositories are gone.
	seen, resumed := map[Source]bool{}, w.token != ""
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return progressed, &Error{Code: codes.Unavailable, Message: "the server ended the watch"}
		}
		if err != nil {
			return progressed, w.refused(errorOf(err))
		}
		w.connected()
		progressed = true
		if w.take(message, seen) {
			resumed = true
		}
		if resumed {
			w.token = message.GetResumeToken()
		}
	}
}

// refused forgets a token that the server does not accept, so that the next try starts over instead of failing forever.
func (w *watch) refused(err error) error {
	if ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT {
		w.token = ""
	}
	return err
}

// take handles one message and reports whether it completes the initial state.
func (w *watch) take(message *chartcachev1.WatchRepositoriesResponse, seen map[Source]bool) (complete bool) {
	switch event := message.GetEvent().(type) {
	case *chartcachev1.WatchRepositoriesResponse_Changed:
		repository := repositoryOf(event.Changed.GetRepository())
		seen[repository.Source], w.known[repository.Source] = true, true
		w.handle(&Changed{
			Repository: repository,
			Charts:     event.Changed.GetChangedCharts(),
			AllCharts:  event.Changed.GetAllChartsChanged(),
		})
	case *chartcachev1.WatchRepositoriesResponse_Deleted:
		source := sourceOf(event.Deleted.GetRepository(), event.Deleted.GetUrl())
		delete(seen, source)
		delete(w.known, source)
		w.handle(&Deleted{Source: source})
	case *chartcachev1.WatchRepositoriesResponse_Bookmark:
		if event.Bookmark.GetInitialStateComplete() {
			w.complete(seen)
			return true
		}
	}
	return false
}

// complete reports what went while there was no connection. One that is known by its URL only is not gone for anybody:
// each instance has those that it was asked for, and takes up others when it is.
func (w *watch) complete(seen map[Source]bool) {
	var gone []Source
	for source := range w.known {
		if seen[source] {
			continue
		}
		delete(w.known, source)
		if source.URL == "" {
			gone = append(gone, source)
		}
	}
	sort.Slice(gone, func(i, j int) bool { return gone[i].String() < gone[j].String() })
	for _, source := range gone {
		w.handle(&Deleted{Source: source})
	}
	w.handle(&Synced{})
}

func (w *watch) connected() {
	if w.state != up {
		w.state = up
		w.handle(&Up{})
	}
}

func (w *watch) lost(err error) {
	if w.state != down {
		w.state = down
		w.handle(&Down{Err: err})
	}
}
