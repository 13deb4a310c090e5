package catalog

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSuspendStopsSyncsButNotServing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.push(t, "web", "1.0.0", "")
		source := w.put(Spec{URL: httpURL, Generation: 1})
		w.state(source)
		w.put(Spec{URL: httpURL, Generation: 2, Suspend: true})
		s := w.state(source)
		assert.Equal(t, suspended, s.State)
		assert.Equal(t, int64(2), s.ObservedGeneration)
		assert.Zero(t, s.NextSync)

		pass(24 * time.Hour)
		assert.Equal(t, 1, up.count(&up.lists))
		_, _, err := w.Sync(context.Background(), source)
		assertReason(t, repositorySuspended, err)
		w.mustFetch(source, w.mustResolve(source, "web", ""))
		_, err = w.Resolve(context.Background(), source, ResolveQuery{Chart: "web", Min: Revision{Name: "other", ObservedAt: now()}})
		assert.NoError(t, err, "what it has is all there will be")
		_, err = w.resolve(source, "other", "")
		assertReason(t, chartNotFound, err)
		assert.Equal(t, 1, up.count(&up.lists))

		w.put(Spec{URL: httpURL, Generation: 3})
		s = w.state(source)
		assert.Equal(t, synced, s.State)
		assert.Equal(t, int64(3), s.ObservedGeneration)
		assert.Equal(t, 2, up.count(&up.lists), "resuming syncs at once")
	})
}

func TestSuspendGivesUpARunningSync(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.gate = make(chan struct{}) })
		source := w.put(Spec{URL: httpURL})
		w.settle()
		w.put(Spec{URL: httpURL, Suspend: true})
		s := w.state(source)
		assert.False(t, s.Syncing)
		assert.Equal(t, suspended, s.State)
		_, err := w.Charts(context.Background(), source, ChartQuery{})
		assertReason(t, repositoryNotSynced, err)
	})
}

func TestCallsAfterTheEndOfRunFail(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.internet.add(httpURL)
		source := w.put(Spec{URL: httpURL})
		w.state(source)
		w.stop()
		_, _, err := w.Sync(context.Background(), source)
		assert.ErrorIs(t, err, context.Canceled)
		_, err = w.Charts(context.Background(), source, ChartQuery{})
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestTheEndOfRunGivesUpSyncsWithoutAnOutcome(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		up := w.internet.add(httpURL)
		up.set(func() { up.gate = make(chan struct{}) })
		source := w.put(Spec{URL: httpURL})
		result := make(chan error, 1)
		go func() {
			_, _, err := w.Sync(context.Background(), source)
			result <- err
		}()
		w.settle()
		w.stop()
		assert.ErrorIs(t, <-result, context.Canceled)
		reports, _, _ := w.metrics.all()
		assert.Empty(t, reports)
		assert.Empty(t, w.files(repositoriesFolder))
	})
}

func TestCallsBeforeRunWaitForIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.internet.add(httpURL)
		c, err := New(w.config())
		require.NoError(t, err)
		c.Put(Spec{Ref: Ref{Namespace: "n", Name: "r"}, URL: httpURL})
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _, err = c.Sync(short, ByRef("n", "r"))
		assert.ErrorIs(t, err, context.DeadlineExceeded)

		result := make(chan error, 1)
		go func() {
			_, _, err := c.Sync(context.Background(), ByRef("n", "r"))
			result <- err
		}()
		synctest.Wait()
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		assert.NoError(t, <-result)
		stop()
		assert.NoError(t, <-done)
	})
}
