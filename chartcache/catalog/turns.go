package catalog

import (
	"context"
	"sync"
)

// turns bounds how many syncs run at once, and how many of them at one host: half of all, so that a host that does not
// answer cannot keep the others from being synced.
type turns struct {
	all chan struct{}

	// mu guards hosts: those at which syncs run or wait.
	mu    sync.Mutex
	hosts map[string]*hostTurns
}

type hostTurns struct {
	turns chan struct{}
	// users run or wait.
	users int
}

func newTurns(n int) *turns {
	return &turns{all: make(chan struct{}, n), hosts: map[string]*hostTurns{}}
}

// take waits for a turn at a host. The caller gives it back with release, unless ctx ends first, whose cause is the error.
func (t *turns) take(ctx context.Context, host string) (release func(), err error) {
	h := t.enter(host)
	// First the one at the host, so that who waits for it holds none that others could use.
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		t.leave(host, h)
		return nil, context.Cause(ctx)
	}
	select {
	case t.all <- struct{}{}:
	case <-ctx.Done():
		<-h.turns
		t.leave(host, h)
		return nil, context.Cause(ctx)
	}
	return func() {
		<-t.all
		<-h.turns
		t.leave(host, h)
	}, nil
}

func (t *turns) enter(host string) *hostTurns {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.hosts[host]
	if !ok {
		h = &hostTurns{turns: make(chan struct{}, max(1, cap(t.all)/2))}
		t.hosts[host] = h
	}
	h.users++
	return h
}

func (t *turns) leave(host string, h *hostTurns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(t.hosts, host)
	}
}
