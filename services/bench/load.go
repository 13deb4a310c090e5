package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// call makes one call and returns how many bytes came back that are worth counting. turn counts the calls of one worker.
type call func(ctx context.Context, worker, turn int) (bytes int64, err error)

// load is what came of calls that were made for a while.
type load struct {
	calls, bytes int64
	took         time.Duration
	// cpu is the processor time of both sides.
	cpu time.Duration
	// latencies of all calls, sorted.
	latencies []time.Duration
}

// perSecond is the number of calls per second.
func (l load) perSecond() float64 { return float64(l.calls) / l.took.Seconds() }

// cpuEach is the processor time of both sides for one call. On a machine that others use too, it says more than rates do.
func (l load) cpuEach() float64 { return float64(l.cpu) / float64(max(l.calls, 1)) }

// bytesPerSecond counts what came back.
func (l load) bytesPerSecond() float64 { return float64(l.bytes) / l.took.Seconds() }

// percentile is the latency that a part of the calls, from 0 to 1, did not exceed.
func (l load) percentile(part float64) time.Duration {
	if len(l.latencies) == 0 {
		return 0
	}
	return l.latencies[min(int(part*float64(len(l.latencies))), len(l.latencies)-1)]
}

// closedLoop has each worker call again as soon as it has an answer, for a time.
func closedLoop(ctx context.Context, workers int, lasts time.Duration, c call) (load, error) {
	end := time.Now().Add(lasts)
	return work(ctx, workers, func(int) time.Time { return time.Now() }, end, c)
}

// paced makes calls at a rate per second, whatever they take, for a time. A call that had to wait for the one before it
// counts from when it was due: that others were slow is no excuse.
func paced(ctx context.Context, workers int, rate float64, lasts time.Duration, c call) (load, error) {
	start := time.Now()
	due := func(n int) time.Time { return start.Add(time.Duration(float64(n) / rate * float64(time.Second))) }
	return work(ctx, workers, due, start.Add(lasts), c)
}

// work runs workers until the end. due is when the n-th call of all is due.
func work(ctx context.Context, workers int, due func(n int) time.Time, end time.Time, c call) (load, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	each := make([]load, workers)
	var group sync.WaitGroup
	start := time.Now()
	for worker := range workers {
		group.Go(func() {
			l := &each[worker]
			for turn := 0; ; turn++ {
				from := due(turn*workers + worker)
				if wait := time.Until(from); wait > 0 {
					time.Sleep(wait)
					from = time.Now() // that the clock woke it late is not the server's fault
				}
				if ctx.Err() != nil || !from.Before(end) {
					return
				}
				bytes, err := c(ctx, worker, turn)
				if err != nil {
					cancel(fmt.Errorf("call %d of worker %d: %w", turn, worker, err))
					return
				}
				l.calls, l.bytes = l.calls+1, l.bytes+bytes
				l.latencies = append(l.latencies, time.Since(from))
			}
		})
	}
	group.Wait()
	total := load{took: time.Since(start)}
	for _, l := range each {
		total.calls, total.bytes = total.calls+l.calls, total.bytes+l.bytes
		total.latencies = append(total.latencies, l.latencies...)
	}
	slices.Sort(total.latencies)
	return total, context.Cause(ctx)
}

// median is the middle one of some figures; they are sorted.
func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}
