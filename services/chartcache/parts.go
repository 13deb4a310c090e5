package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/ketches/helm-operator/chartcache/server"
	"github.com/ketches/helm-operator/services/internal/lifecycle"
)

// milestone is something that happens once. It is fit for a readiness probe.
type milestone struct {
	before string
	once   *sync.Once
	done   chan struct{}
}

// newMilestone returns one that has not been reached, with the words that say so.
func newMilestone(before string) milestone {
	return milestone{before: before, once: &sync.Once{}, done: make(chan struct{})}
}

func (m milestone) reach() { m.once.Do(func() { close(m.done) }) }

func (m milestone) check(context.Context) error {
	select {
	case <-m.done:
		return nil
	default:
		return errors.New(m.before)
	}
}

// sourcePart runs a source of repositories. It is started when the source has listed all of them: what is started after
// it never sees a catalog that lacks repositories only because the process is young.
func sourcePart(run func(ctx context.Context, listed func()) error, listed func()) lifecycle.Part {
	var (
		ended  = make(chan error, 1)
		first  = newMilestone("")
		cancel context.CancelFunc
	)
	return lifecycle.Part{
		Name: "source of repositories",
		Start: func(starting context.Context) error {
			ctx, end := context.WithCancel(context.WithoutCancel(starting))
			cancel = end
			go func() { ended <- run(ctx, func() { listed(); first.reach() }) }()
			select {
			case <-first.done:
				return nil
			case err := <-ended:
				end()
				return err
			case <-starting.Done():
				end()
				return errors.Join(starting.Err(), <-ended)
			}
		},
		Run: func(ctx context.Context) error {
			defer cancel()
			select {
			case err := <-ended:
				return err
			case <-ctx.Done():
				cancel()
				return <-ended
			}
		},
	}
}

// grpcServer is the gRPC server's place in the process.
type grpcServer struct {
	address string
	drain   time.Duration
	server  *server.Server
	log     zerolog.Logger

	listener net.Listener
	serving  atomic.Bool
}

func (g *grpcServer) part() lifecycle.Part {
	return lifecycle.Part{
		Name: "gRPC server",
		Start: func(ctx context.Context) error {
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", g.address)
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			g.listener = listener
			g.log.Info().Str("server", "grpc").Str("address", listener.Addr().String()).Msg("listening")
			return nil
		},
		Run: func(context.Context) error {
			g.server.SetServing(true)
			g.serving.Store(true)
			defer g.serving.Store(false)
			return g.server.Serve(g.listener)
		},
		Stop: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, g.drain)
			defer cancel()
			g.server.Stop(ctx)
			return nil
		},
	}
}

func (g *grpcServer) check(context.Context) error {
	if g.serving.Load() {
		return nil
	}
	return errors.New("the gRPC server does not serve")
}
