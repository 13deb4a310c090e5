package catalog

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// errStopped is what calls get that need work from a catalog whose Run has ended.
var errStopped = fmt.Errorf("the catalog is stopped: %w", context.Canceled)

// Causes for which a running sync is given up. None of them is an outcome of the sync.
var (
	// errSuperseded says that the spec changed; the next sync has the answer.
	errSuperseded = errors.New("the repository's spec changed")
	// errGone says that the repository was deleted.
	errGone = errors.New("the repository was deleted")
)

// tasks owns the goroutines of a catalog: they start only while Run runs, get its context, and Run waits for them.
type tasks struct {
	started chan struct{} // closed when run begins
	stopped chan struct{} // closed when run has ended and every task with it

	// mu guards the fields below; a task is added only while it is held, so that none is added behind the wait.
	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // the one of Run, which owns the tasks
	closed bool
	group  sync.WaitGroup
}

func newTasks() *tasks {
	return &tasks{started: make(chan struct{}), stopped: make(chan struct{})}
}

// run calls f, then waits for all tasks. Tasks can start while it runs; their context ends, with errStopped, when f returns.
func (t *tasks) run(ctx context.Context, f func(context.Context)) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	t.mu.Lock()
	t.ctx = work
	t.mu.Unlock()
	close(t.started)
	f(ctx)
	cancel(errStopped)
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.group.Wait()
	close(t.stopped)
}

// start runs f in a goroutine; false when run does not run.
func (t *tasks) start(f func(context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil || t.closed {
		return false
	}
	t.group.Add(1)
	go func() {
		defer t.group.Done()
		f(t.ctx)
	}()
	return true
}

// cancelable returns a context for a task that can be given up alone; ok is false when run does not run.
func (t *tasks) cancelable() (ctx context.Context, cancel context.CancelCauseFunc, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil || t.closed {
		return nil, nil, false
	}
	ctx, cancel = context.WithCancelCause(t.ctx)
	return ctx, cancel, true
}

// hasStarted reports whether run has begun.
func (t *tasks) hasStarted() bool {
	select {
	case <-t.started:
		return true
	default:
		return false
	}
}

// hasStopped reports whether run has ended.
func (t *tasks) hasStopped() bool {
	select {
	case <-t.stopped:
		return true
	default:
		return false
	}
}

// await waits until run has begun.
func (t *tasks) await(ctx context.Context) error {
	select {
	case <-t.started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flight is one piece of work that several callers wait for. Its results are set before done is closed.
type flight struct {
	done chan struct{}
	// cancel gives it up; only syncs are given up.
	cancel context.CancelCauseFunc
	// announced reports whether watches were told that a sync runs.
	announced bool
	err       error
	// changed reports whether a sync changed the revision.
	changed bool
}

func newFlight() *flight { return &flight{done: make(chan struct{})} }

// wait waits for the end of the work or of the caller's patience. The work goes on in the second case.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// share does f once for all who ask with the same key at the same time. It is detached from the callers' contexts.
func (c *Catalog) share(ctx context.Context, key string, f func(ctx context.Context, result *flight) error) (*flight, error) {
	if err := c.tasks.await(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	work, running := c.flights[key]
	if !running {
		work = newFlight()
		started := c.tasks.start(func(ctx context.Context) {
			work.err = stoppedOr(ctx, guarded(func() error { return f(ctx, work) }))
			c.mu.Lock()
			delete(c.flights, key)
			c.mu.Unlock()
			close(work.done)
		})
		if !started {
			c.mu.Unlock()
			return nil, errStopped
		}
		c.flights[key] = work
	}
	c.mu.Unlock()
	err := work.wait(ctx)
	return work, err
}

// guarded turns a panic of f into an error, so that what one repository sends cannot end the service for all of them.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, fmt.Errorf("panic: %v\n%s", r, debug.Stack()),
				"chartcache failed unexpectedly; its log says where")
		}
	}()
	return f()
}

// stoppedOr replaces what a task failed with because the catalog stops.
func stoppedOr(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStopped) {
		return errStopped
	}
	return err
}
