package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// part notes each step of its life.
func (j *journal) part(name string) Part {
	return Part{
		Name:  name,
		Start: func(context.Context) error { j.note("start " + name); return nil },
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			j.note("run " + name + " ends: " + context.Cause(ctx).Error())
			return ctx.Err()
		},
		Stop: func(context.Context) error { return nil },
	}
}

func TestPartsStartInOrderAndStopInTheOppositeOrder(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	g := New(Config{Log: zerolog.Nop()})
	last := j.part("c")
	last.Start = func(context.Context) error { j.note("start c"); cancel(); return nil }
	g.Add(j.part("a"), j.part("b"), last)

	require.NoError(t, g.Run(ctx))
	assert.Equal(t, []string{
		"start a", "start b", "start c",
		"run c ends: the process is stopping", "run b ends: the process is stopping", "run a ends: the process is stopping",
	}, j.lines)
}

func TestWhatEndsAGroup(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		part Part
		want string
	}{
		"a part that does not start": {
			Part{Name: "bad", Start: func(context.Context) error { return broken }}, "start bad: broken",
		},
		"a part that fails": {
			Part{Name: "bad", Run: func(context.Context) error { return broken }}, "run bad: broken",
		},
		"a part that ends without being asked": {
			Part{Name: "bad", Run: func(context.Context) error { return nil }}, "bad ended",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var j journal
			g := New(Config{Log: zerolog.Nop()})
			g.Add(j.part("good"), c.part)
			err := g.Run(t.Context())
			require.EqualError(t, err, c.want)
			assert.Equal(t, []string{"start good", "run good ends: the process is stopping"}, j.lines)
		})
	}
}

func TestAPartThatFailsWhileAnotherStartsEndsTheStart(t *testing.T) {
	fail := make(chan struct{})
	g := New(Config{Log: zerolog.Nop()})
	g.Add(
		Part{Name: "first", Run: func(context.Context) error { <-fail; return errors.New("broken") }},
		Part{Name: "second", Start: func(ctx context.Context) error { close(fail); <-ctx.Done(); return ctx.Err() }},
		Part{Name: "third", Start: func(context.Context) error { return errors.New("must not start") }},
	)
	require.EqualError(t, g.Run(t.Context()), "run first: broken")
}

func TestAPartThatDoesNotStopInTimeIsReportedAndLeft(t *testing.T) {
	release := make(chan struct{})
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	g := New(Config{Log: zerolog.Nop(), StopTimeout: time.Millisecond})
	g.Add(Part{Name: "slow", Run: func(context.Context) error {
		defer close(ended)
		cancel()
		<-release
		return nil
	}})
	require.EqualError(t, g.Run(ctx), "stop slow: not done within 1ms")
	close(release)
	<-ended
}

func TestAFailureWhileStoppingIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		part Part
		want string
	}{
		"of Stop": {Part{Name: "p", Stop: func(context.Context) error { return errors.New("stuck") }}, "stop p: stuck"},
		"of Run": {Part{Name: "p", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return errors.New("lost")
		}}, "run p: lost"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			g := New(Config{Log: zerolog.Nop()})
			g.Add(c.part, Part{Name: "canceller", Start: func(context.Context) error { cancel(); return nil }})
			require.EqualError(t, g.Run(ctx), c.want)
		})
	}
}

func TestRunningIsTrueOnlyWhileAllPartsRun(t *testing.T) {
	g := New(Config{Log: zerolog.Nop()})
	ctx, cancel := context.WithCancel(t.Context())
	g.Add(
		Part{Name: "stopped last", Stop: func(context.Context) error {
			assert.Error(t, g.Running(t.Context()), "while stopping")
			return nil
		}},
		Part{Name: "started last", Start: func(context.Context) error {
			assert.Error(t, g.Running(t.Context()), "while starting")
			return nil
		}},
	)
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	require.Eventually(t, func() bool { return g.Running(t.Context()) == nil }, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	assert.Error(t, g.Running(t.Context()))
}

func TestTheLogSaysWhyAGroupStops(t *testing.T) {
	var log bytes.Buffer
	ctx, cancel := context.WithCancelCause(t.Context())
	g := New(Config{Log: zerolog.New(&log)})
	g.Add(Part{Name: "p", Run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	require.Eventually(t, func() bool { return g.Running(t.Context()) == nil }, 10*time.Second, time.Millisecond)
	cancel(errors.New("enough"))
	require.NoError(t, <-done)
	assert.Contains(t, log.String(), `"cause":"enough"`)
}

func TestASignalEndsTheContextAndIsItsCause(t *testing.T) {
	ctx, stop := WithSignals(t.Context())
	defer stop()
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	<-ctx.Done()
	assert.EqualError(t, context.Cause(ctx), "received signal: terminated")
}

func TestStoppingToListenEndsTheContext(t *testing.T) {
	ctx, stop := WithSignals(t.Context())
	stop()
	assert.ErrorIs(t, ctx.Err(), context.Canceled)
}
