package catalog

import "time"

// Metrics is told what the catalog does. Its methods may be called concurrently and must not block.
type Metrics interface {
	// Synced is called at the end of every sync that was not given up because its spec changed or the process stops.
	Synced(SyncReport)
	// Removed is called when a repository is gone; its series should go too.
	Removed(Source)
	// ChartServed is called for every tarball that is given out; hit reports whether it was cached.
	ChartServed(source Source, hit bool)
}

// SyncReport says how a sync went.
type SyncReport struct {
	// Took is how long it took, without the wait for its turn.
	Took time.Duration
	// Err is why it failed, a cacheerr.Error in most cases; nil when it succeeded.
	Err error
	// Changed reports whether it changed the revision.
	Changed bool
	// State after it.
	State State
}
