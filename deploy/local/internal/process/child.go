package process

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// ErrExited tells that a program ended although it should have gone on.
var ErrExited = errors.New("program ended")

// Child is one started program.
type Child struct {
	name, log string
	id        Identity
	cmd       *exec.Cmd
	done      chan struct{} // closed once err is set
	err       error
}

func newChild(name, log string, cmd *exec.Cmd) *Child {
	c := &Child{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		if err := cmd.Wait(); err != nil {
			c.err = fmt.Errorf("%s: %w: %w", name, ErrExited, err)
			return
		}
		c.err = fmt.Errorf("%s: %w", name, ErrExited)
	}()
	return c
}

// Name is the name given in the Spec.
func (c *Child) Name() string { return c.name }

// Log is the path of the program's log.
func (c *Child) Log() string { return c.log }

// Identity names the process.
func (c *Child) Identity() Identity { return c.id }

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the program ended, wrapping ErrExited; nil while it runs.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Kill ends the program and everything in its process group by SIGKILL, and waits for it.
func (c *Child) Kill() {
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // gone already: fine, Done tells
	<-c.done
}

// Stop asks the program to end by SIGTERM, and kills it when ctx ends first.
func (c *Child) Stop(ctx context.Context) {
	_ = syscall.Kill(c.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-c.done:
	case <-ctx.Done():
		c.Kill()
	}
}

// Await calls probe every 100 ms until it succeeds. It fails at once, wrapping ErrExited, when the program ends, and with the
// last answer of probe when ctx ends.
func (c *Child) Await(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		probeCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := probe(probeCtx)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", c.name, errors.Join(context.Cause(ctx), last))
		case <-tick.C:
		}
	}
}
