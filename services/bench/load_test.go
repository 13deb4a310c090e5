package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lasting is a call that takes a time and brings three bytes.
func lasting(d time.Duration) call {
	return func(context.Context, int, int) (int64, error) {
		time.Sleep(d)
		return 3, nil
	}
}

func TestAClosedLoopCallsAgainAsSoonAsThereIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := closedLoop(t.Context(), 4, time.Second, lasting(100*time.Millisecond))
		require.NoError(t, err)
		assert.Equal(t, int64(40), l.calls)
		assert.InDelta(t, 40, l.perSecond(), 0.1)
		assert.InDelta(t, 120, l.bytesPerSecond(), 0.1)
		assert.Equal(t, 100*time.Millisecond, l.percentile(0.99))
	})
}

func TestPacedCallsKeepTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := paced(t.Context(), 8, 20, time.Second, lasting(100*time.Millisecond))
		require.NoError(t, err)
		assert.Equal(t, int64(20), l.calls)
		assert.Equal(t, 100*time.Millisecond, l.percentile(0.99))
	})
}

func TestAPacedCallThatHadToWaitForAnotherCountsFromWhenItWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := paced(t.Context(), 1, 10, 250*time.Millisecond, lasting(200*time.Millisecond))
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond}, l.latencies)
	})
}

func TestACallThatFailsEndsTheLoad(t *testing.T) {
	broken := errors.New("broken")
	var calls atomic.Int64
	_, err := closedLoop(t.Context(), 2, time.Hour, func(context.Context, int, int) (int64, error) {
		if calls.Add(1) > 5 {
			return 0, broken
		}
		return 0, nil
	})
	assert.ErrorIs(t, err, broken)
}

func TestPercentilesAndMedians(t *testing.T) {
	assert.Zero(t, load{}.percentile(0.99))
	l := load{}
	for i := range 200 {
		l.latencies = append(l.latencies, time.Duration(i+1))
	}
	assert.Equal(t, time.Duration(101), l.percentile(0.5))
	assert.Equal(t, time.Duration(199), l.percentile(0.99))
	assert.Equal(t, time.Duration(200), l.percentile(1))
	assert.InDelta(t, 2, median([]float64{3, 1, 2}), 0)
}
