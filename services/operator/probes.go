package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stuckAfter is how long one reconcile may take before the process is thought to hang. Reconciles only look, decide and
// hand over: Helm's operations run elsewhere, and every request that a reconcile makes has a deadline of minutes at most.
const stuckAfter = 15 * time.Minute

// syncedWithin bounds the look at the caches. It is enough to see that they are filled, and not meant to wait for it.
const syncedWithin = 100 * time.Millisecond

// workersMove returns a check that fails when a reconcile hangs, which only a restart mends. The running time of the
// longest reconcile is a metric of controller-runtime's queues.
func workersMove(queues prometheus.Gatherer) func(context.Context) error {
	return func(context.Context) error {
		// A collector that fails does not keep the others' metrics from being returned.
		families, _ := queues.Gather()
		for _, family := range families {
			if family.GetName() != "workqueue_longest_running_processor_seconds" {
				continue
			}
			for _, metric := range family.GetMetric() {
				if running := time.Duration(metric.GetGauge().GetValue() * float64(time.Second)); running > stuckAfter {
					return fmt.Errorf("a reconcile has been running for %s", running.Round(time.Second))
				}
			}
		}
		return nil
	}
}

// cachesFilled returns a check that passes once the informers hold what the cluster has. A standby replica's do, too, so
// that it can take over at once.
func cachesFilled(synced func(context.Context) bool) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, syncedWithin)
		defer cancel()
		if !synced(ctx) {
			return errors.New("HelmReleases and HelmRepositories have not been read yet")
		}
		return nil
	}
}
