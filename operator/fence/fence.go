// Package fence keeps a process that no longer leads from writing to the cluster.
//
// Leader election alone does not: a leader that was frozen (SIGSTOP, a stalled machine) goes on with what it was doing when
// it wakes, and notices only later that another one leads. A Lease knows when it was last renewed, and Transport refuses
// every mutating request that begins later than the renew deadline after that. Both are told the time by one clock.
//
// The client that renews the lease must not have the fence, or a lease that was lost could never be had again.
//
// The package depends on client-go's lock interface and on nothing of ours.
package fence

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// ErrLost says that the process does not lead, or may not any more.
var ErrLost = errors.New("this process no longer holds the leader lease: nothing is written any more")

// Lease knows whether the process still leads. It is safe for concurrent use.
type Lease struct {
	deadline time.Duration
	now      func() time.Time

	mu sync.Mutex // guards renewed
	// renewed is when the request of the last successful renewal began; zero when there was none, or the lease was given up.
	renewed time.Time
}

// NewLease returns a lease that is not held. deadline is the renew deadline of the leader election: shorter than the
// duration of the lease, so that the next leader begins later. now is the clock; time.Now by default.
func NewLease(deadline time.Duration, now func() time.Time) *Lease {
	if now == nil {
		now = time.Now
	}
	return &Lease{deadline: deadline, now: now}
}

// Renewed notes that the lease was acquired or renewed by a request that began at the time.
func (l *Lease) Renewed(began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = began
}

// Released notes that the lease was given up.
func (l *Lease) Released() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
}

// Held reports whether the lease was acquired and not given up since, renewed in time or not.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.renewed.IsZero()
}

// Check returns an error with ErrLost in its chain when the lease is not held, or was not renewed in time.
//
// It takes the longer of the times that the monotonic and the wall clock measured: a wall clock that is set back must not
// prolong a lease, and the monotonic one stands still while a machine is suspended.
func (l *Lease) Check() error {
	l.mu.Lock()
	renewed := l.renewed
	l.mu.Unlock()
	if renewed.IsZero() {
		return ErrLost
	}
	now := l.now()
	since := max(now.Sub(renewed), now.Round(0).Sub(renewed.Round(0)))
	if since > l.deadline {
		return fmt.Errorf("%w: it was renewed %s ago", ErrLost, since.Round(time.Second))
	}
	return nil
}

// Lock returns a lock that tells the lease about the renewals that go through it.
func Lock(inner resourcelock.Interface, lease *Lease) resourcelock.Interface {
	return &lock{Interface: inner, lease: lease}
}

type lock struct {
	resourcelock.Interface
	lease *Lease
}

// Create makes the record of the lock.
func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Create)
}

// Update changes the record of the lock.
func (l *lock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, record, l.Interface.Update)
}

func (l *lock) write(
	ctx context.Context, record resourcelock.LeaderElectionRecord,
	do func(context.Context, resourcelock.LeaderElectionRecord) error,
) error {
	began := l.lease.now()
	mine := record.HolderIdentity == l.Identity()
	if !mine {
		// Before the request: whoever reads it may lead at once.
		l.lease.Released()
	}
	if err := do(ctx, record); err != nil {
		return err
	}
	if mine {
		l.lease.Renewed(began)
	}
	return nil
}

// Transport returns a transport that sends requests on, mutating ones only while check returns no error. The error is that
// of the request.
func Transport(next http.RoundTripper, check func() error) http.RoundTripper {
	return &transport{next: next, check: check}
}

type transport struct {
	next  http.RoundTripper
	check func() error
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if mutates(request.Method) {
		if err := t.check(); err != nil {
			if request.Body != nil {
				_ = request.Body.Close() // what a transport owes, also when it sends nothing
			}
			return nil, err
		}
	}
	return t.next.RoundTrip(request)
}

// WrappedRoundTripper returns the transport behind, for client-go.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// mutates reports whether a request may change something. Reviews and dry runs, which do not, count as if they did: they
// only serve writes that would follow.
func mutates(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "":
		return false
	default:
		return true
	}
}
