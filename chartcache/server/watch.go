package server

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

type watchStream = grpc.ServerStreamingServer[chartcachev1.WatchRepositoriesResponse]

// WatchRepositories sends what the catalog tells, and completes the initial state (see completion).
func (s *service) WatchRepositories(r *chartcachev1.WatchRepositoriesRequest, stream watchStream) error {
	// The header goes out now, so that a client knows that it is connected before anything happens.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	subscription := s.catalog.Watch(stream.Context(), r.GetResumeToken())
	done := completion{states: s.catalog.Repositories, fresh: r.GetResumeToken() == "", seen: map[catalog.Ref]bool{}}
	for {
		event, err := subscription.Next(stream.Context())
		if err != nil && stream.Context().Err() == nil && errors.Is(err, context.Canceled) {
			// The catalog ended and not the caller, who should connect again.
			return status.Error(codes.Unavailable, "the server is stopping")
		}
		if err != nil {
			return err
		}
		event, more := done.observe(event)
		if err := stream.Send(eventProto(event)); err != nil {
			return err
		}
		if more {
			bookmark := catalog.Event{Kind: catalog.EventBookmark, InitialStateComplete: true, Token: event.Token}
			if err := stream.Send(eventProto(bookmark)); err != nil {
				return err
			}
		}
	}
}

// completion decides when a stream may say that its initial state is complete, from which a client concludes that a
// repository which it was not told of is gone. The catalog says so on a resumed watch as well, where it told only what
// changed. So a stream that came with a token says it only when all configured repositories were told on it: at once
// when the watch started over, else when that happens to come about.
type completion struct {
	// states lists the configured repositories.
	states func(namespace string) []catalog.State
	// fresh is a stream without a token: what the catalog says holds.
	fresh bool
	// seen are the configured repositories that the stream was told of.
	seen map[catalog.Ref]bool
	// owed is set while the catalog said that the initial state is complete, and the stream did not.
	owed bool
}

// observe takes the next event and returns it as the stream should send it. more reports that a bookmark which completes
// the initial state should follow.
func (c *completion) observe(event catalog.Event) (send catalog.Event, more bool) {
	if c.fresh {
		return event, false
	}
	switch event.Kind {
	case catalog.EventChanged:
		ref := event.State.Source.Ref
		if ref == nil || c.seen[*ref] {
			return event, false
		}
		c.seen[*ref] = true
		if c.owed && c.all() {
			c.owed = false
			return event, true
		}
	case catalog.EventBookmark:
		switch {
		case event.InitialStateComplete && !c.all():
			event.InitialStateComplete, c.owed = false, true
		case c.owed && c.all(): // what was not told of is gone
			event.InitialStateComplete, c.owed = true, false
		}
	}
	return event, false
}

func (c *completion) all() bool {
	for _, state := range c.states("") {
		if ref := state.Source.Ref; ref != nil && !c.seen[*ref] {
			return false
		}
	}
	return true
}
