package fence

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// clock is set by the test. Its times have no monotonic part unless base has one.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

const deadline = 10 * time.Second

func TestALeaseIsHeldUntilTheDeadlineAfterItsRenewal(t *testing.T) {
	c := &clock{at: time.Now()}
	lease := NewLease(deadline, c.now)
	require.ErrorIs(t, lease.Check(), ErrLost, "not held yet")
	assert.False(t, lease.Held())

	lease.Renewed(c.at)
	require.NoError(t, lease.Check())
	c.advance(deadline)
	require.NoError(t, lease.Check())
	c.advance(time.Nanosecond)
	require.ErrorIs(t, lease.Check(), ErrLost)
	assert.True(t, lease.Held(), "not given up")

	lease.Renewed(c.at)
	require.NoError(t, lease.Check(), "renewed in time by the server's view")
	lease.Released()
	require.ErrorIs(t, lease.Check(), ErrLost)
	assert.False(t, lease.Held())
}

func TestClocksThatDisagreeShortenALease(t *testing.T) {
	base := time.Now() // has a monotonic reading
	tests := []struct {
		name string
		now  time.Time
		held bool
	}{
		{"both agree", base.Add(deadline), true},
		{"only the monotonic clock went on", base.Add(deadline + 1), false},
		{"only the wall clock went on, as after a suspension", base.Round(0).Add(deadline + 1), false},
		{"the wall clock was set back", base.Round(0).Add(-time.Hour), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lease := NewLease(deadline, func() time.Time { return tt.now })
			lease.Renewed(base)
			assert.Equal(t, tt.held, lease.Check() == nil)
		})
	}
}

func TestALockTellsTheLeaseWhatItWrote(t *testing.T) {
	ctx := t.Context()
	c := &clock{at: time.Now()}
	lease := NewLease(deadline, c.now)
	inner := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: "ns", Name: "leader"},
		Client:     fake.NewClientset().CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: "me"},
	}
	lock := Lock(inner, lease)
	mine := resourcelock.LeaderElectionRecord{HolderIdentity: "me", LeaseDurationSeconds: 15}

	require.NoError(t, lock.Create(ctx, mine))
	require.NoError(t, lease.Check(), "acquired")
	c.advance(deadline + time.Second)
	require.Error(t, lease.Check())
	require.NoError(t, lock.Update(ctx, mine))
	require.NoError(t, lease.Check(), "renewed")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	c.advance(deadline)
	failing := Lock(failingLock{inner}, lease)
	require.Error(t, failing.Update(cancelled, mine))
	c.advance(time.Second)
	require.ErrorIs(t, lease.Check(), ErrLost, "a renewal that failed is none")

	require.NoError(t, lock.Update(ctx, mine))
	require.NoError(t, lock.Update(ctx, resourcelock.LeaderElectionRecord{LeaseDurationSeconds: 1}))
	require.ErrorIs(t, lease.Check(), ErrLost, "given up")
}

// failingLock cannot write.
type failingLock struct{ resourcelock.Interface }

func (failingLock) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	return errors.New("no answer")
}

// body notes that it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

func TestMutatingRequestsAreNotSentWithoutTheLease(t *testing.T) {
	var arrived []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived = append(arrived, r.Method)
	}))
	defer server.Close()
	c := &clock{at: time.Now()}
	lease := NewLease(deadline, c.now)
	client := &http.Client{Transport: Transport(http.DefaultTransport, lease.Check)}
	send := func(method string) (*body, error) {
		content := &body{Reader: strings.NewReader("x")}
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL, content)
		require.NoError(t, err)
		response, err := client.Do(request)
		if err == nil {
			require.NoError(t, response.Body.Close())
		}
		return content, err
	}

	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		content, err := send(method)
		require.ErrorIs(t, err, ErrLost, method)
		assert.True(t, content.closed, "the body of a request that is not sent is closed")
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		_, err := send(method)
		require.NoError(t, err, "%s changes nothing", method)
	}
	assert.Equal(t, []string{"GET", "HEAD", "OPTIONS"}, arrived)

	lease.Renewed(c.at)
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		_, err := send(method)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"GET", "HEAD", "OPTIONS", "POST", "DELETE"}, arrived)
}

func TestTheTransportBehindIsKnownToClientGo(t *testing.T) {
	wrapped, ok := Transport(http.DefaultTransport, func() error { return nil }).(interface {
		WrappedRoundTripper() http.RoundTripper
	})
	require.True(t, ok)
	assert.Equal(t, http.DefaultTransport, wrapped.WrappedRoundTripper())
}
