// Package lifecycle starts the parts of a process in order, keeps them running, and stops them in the opposite order.
//
// It depends on nothing but a logger. It must never know what a part does.
//
// The life of one Part in a Group:
//
//	     Group.Run            Start returned nil          ctx ended, or any part ended
//	new ───────────▶ starting ──────────────────▶ running ─────────────────────────────▶ stopping ──▶ ended
//	                    │                                                                  ▲    │
//	                    │ Start failed: parts that run already are stopped                 │    └▶ a part that does not
//	                    └──────────────────────────────────────────────────────────────────┘       end in time: an error
//
// Stopping a part means: end the context of its Run, call its Stop, wait until Run has returned; only then is the part
// before it stopped. So a part may use what was added before it for as long as it lives.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// ErrStopping is the cause of the end of a part's context when the group stops it.
var ErrStopping = errors.New("the process is stopping")

// Part is one long-running piece of a process. Each function may be nil.
type Part struct {
	// Name of the part in logs and errors.
	Name string
	// Start returns when the part is ready to be used by the next ones. Its context ends when the group is asked to stop.
	Start func(ctx context.Context) error
	// Run works until its context ends, and then returns; what it returns after that counts only when it is an error
	// other than the context's. When it returns earlier, with or without an error, the whole group stops.
	Run func(ctx context.Context) error
	// Stop helps Run to return, or frees what Start took. It is called once, after the context of Run has ended. Its
	// context carries the group's deadline.
	Stop func(ctx context.Context) error
}

// Config is what a Group needs.
type Config struct {
	// Log gets one line when all parts run, and one when stopping begins.
	Log zerolog.Logger
	// StopTimeout bounds the stopping of all parts together. Default 25 s: less than the 30 s that a Pod is given.
	StopTimeout time.Duration
}

// Group is the parts of one process. Add them all, then call Run once.
type Group struct {
	log         zerolog.Logger
	stopTimeout time.Duration
	parts       []Part
	running     atomic.Bool
}

// New returns an empty group.
func New(config Config) *Group {
	if config.StopTimeout <= 0 {
		config.StopTimeout = 25 * time.Second
	}
	return &Group{log: config.Log, stopTimeout: config.StopTimeout}
}

// Add appends parts. They start in the order in which they were added.
func (g *Group) Add(parts ...Part) {
	g.parts = append(g.parts, parts...)
}

// Running returns nil while all parts run, and says what is the matter before and after that. It is fit for a readiness
// probe.
func (g *Group) Running(context.Context) error {
	if g.running.Load() {
		return nil
	}
	return errors.New("starting or stopping")
}

// Run starts the parts, waits until ctx ends or a part ends, stops all of them, and returns what went wrong: nil when
// ctx was what ended it and everything stopped in time.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started, err := g.start(ctx, cancel)
	if err == nil && ctx.Err() == nil {
		g.running.Store(true)
		g.log.Info().Msg("running")
		<-ctx.Done()
		g.running.Store(false)
		g.log.Info().Str("cause", context.Cause(ctx).Error()).Msg("stopping")
	}
	return errors.Join(err, g.stop(started))
}

// runningPart is a part between the end of Start and the return of Run.
type runningPart struct {
	Part
	cancel context.CancelCauseFunc
	// done is closed when Run has returned; err may be read after that.
	done chan struct{}
	err  error
}

func (g *Group) start(ctx context.Context, end context.CancelCauseFunc) ([]*runningPart, error) {
	started := make([]*runningPart, 0, len(g.parts))
	for _, part := range g.parts {
		if ctx.Err() != nil {
			return started, nil //nolint:nilerr // Being asked to stop while starting is no failure; a part's own error is in its runningPart.
		}
		if part.Start != nil {
			if err := part.Start(ctx); err != nil {
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return started, nil
				}
				return started, fmt.Errorf("start %s: %w", part.Name, err)
			}
		}
		started = append(started, launch(ctx, part, end))
	}
	return started, nil
}

// launch runs a part under a context of its own, so that the parts can be ended one after the other.
func launch(ctx context.Context, part Part, end context.CancelCauseFunc) *runningPart {
	running := &runningPart{Part: part, done: make(chan struct{})}
	ctx, running.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if part.Run == nil {
		close(running.done)
		return running
	}
	go func() {
		defer close(running.done)
		err := part.Run(ctx)
		switch {
		case ctx.Err() == nil && err == nil:
			running.err = fmt.Errorf("%s ended", part.Name)
		case err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled) && !errors.Is(err, ErrStopping)):
			running.err = fmt.Errorf("run %s: %w", part.Name, err)
		}
		end(running.err)
	}()
	return running
}

// stop ends the parts, the last one first. A part that does not end in time is left behind: the process is about to exit.
func (g *Group) stop(started []*runningPart) error {
	ctx, cancel := context.WithTimeout(context.Background(), g.stopTimeout)
	defer cancel()
	var failures []error
	for i := len(started) - 1; i >= 0; i-- {
		part := started[i]
		part.cancel(ErrStopping)
		if part.Stop != nil {
			if err := part.Stop(ctx); err != nil {
				failures = append(failures, fmt.Errorf("stop %s: %w", part.Name, err))
			}
		}
		select {
		case <-part.done:
			failures = append(failures, part.err)
		case <-ctx.Done():
			failures = append(failures, fmt.Errorf("stop %s: not done within %s", part.Name, g.stopTimeout))
		}
	}
	return errors.Join(failures...)
}
