package catalog

import (
	"context"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"time"

	"github.com/rs/zerolog"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
	"github.com/ketches/helm-operator/chartcache/upstream"
)

// Defaults of Spec, Config and Limits.
const (
	// DefaultInterval between syncs.
	DefaultInterval = 30 * time.Minute
	// DefaultTimeout of one sync or download.
	DefaultTimeout = 5 * time.Minute
	// DefaultIdleAfter is how long a repository known by its URL only is kept without use.
	DefaultIdleAfter = 24 * time.Hour
	// DefaultBookmarkEvery is below the idle timeouts of common proxies.
	DefaultBookmarkEvery = time.Minute
	// DefaultSyncs keeps the memory for indexes that are being read small.
	DefaultSyncs = 4
	// DefaultDownloads keeps one slow host from taking all connections.
	DefaultDownloads = 8
	// DefaultListBytes holds the version lists of some 800 charts of 200 versions, or of 130 with a thousand: about all that
	// a cluster's releases ask for, and little beside the 150 MB that chartcache with 50 large repositories may take.
	DefaultListBytes = 16 << 20
	// DefaultSources is more than a cluster's releases name; each one costs a sync per interval.
	DefaultSources = 1000
)

// Bounds of a Spec: less would be a hot loop, or no sync at all; more would let an upstream that sends one byte now and
// then hold a turn for ever.
const (
	leastInterval = 5 * time.Second
	leastTimeout  = time.Second
	mostTimeout   = time.Hour
)

// FlagSources is the name of the flag that sets Limits.Sources, without dashes. The error names it.
const FlagSources = "max-anonymous-repositories"

// Blobs keeps tarballs; *blob.Store is one.
type Blobs interface {
	// IngestChart stores a tarball that is what name, version and digest say.
	IngestChart(
		ctx context.Context, r io.Reader, want string, limit int64, name, version string, limits blob.ChartLimits,
	) (blob.Info, blob.Metadata, error)
	// Ingest stores any bytes of at most limit, and says what their digest is.
	Ingest(ctx context.Context, r io.Reader, want string, limit int64) (blob.Info, error)
	// Open opens a tarball; ok is false when it is not there.
	Open(digest string) (r *blob.Reader, ok bool, err error)
}

// Limits bounds what the catalog keeps and does at once. A zero field means its default.
type Limits struct {
	// Upstream bounds what is read from upstream.
	Upstream upstream.Limits
	// Chart bounds what a tarball may hold.
	Chart blob.ChartLimits
	// Syncs is how many repositories sync at once; default 4. Half of them may be at one host.
	Syncs int
	// Downloads is how many tarballs are downloaded at once; default 8.
	Downloads int
	// Sources is how many repositories may be known by their URL only; default 1000.
	Sources int
	// ListBytes is how much memory, in bytes, may hold version lists of charts that were asked for, of all repositories
	// together; default 16 MiB.
	ListBytes int64
}

// Config holds what a Catalog needs.
type Config struct {
	// Dir is the folder of indexes and sync states. It is made when missing, and must belong to the catalog alone.
	Dir string
	// Blobs keeps the tarballs.
	Blobs Blobs
	// NewUpstream makes the client of a repository, as upstream.New and the New of an upstream.Pool do.
	NewUpstream func(upstream.Config) (upstream.Upstream, error)
	// Limits; zero fields mean defaults.
	Limits Limits
	// Metrics is told what happens; nil means nobody is.
	Metrics Metrics
	// Logger for one line per change; the zero value logs nothing.
	Logger zerolog.Logger
	// IdleAfter is how long a repository known by its URL only is kept without use; default 24 hours.
	IdleAfter time.Duration
	// BookmarkEvery is how long a watch is silent at most; default 1 minute.
	BookmarkEvery time.Duration
	// UserAgent of requests to upstream; empty means the default of package upstream.
	UserAgent string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// After returns a channel that fires once a duration is over; nil means time.After.
	After func(time.Duration) <-chan time.Time
	// Rand returns numbers in [0, 1) for jitter; nil means the runtime's generator.
	Rand func() float64
	// Instance names this process in the tokens of watches; empty means a random name.
	Instance string
	// Disk lets tests inject faults; the zero value injects none.
	Disk disk.Hooks
}

func (c Config) withDefaults() Config {
	setDefault(&c.IdleAfter, DefaultIdleAfter)
	setDefault(&c.BookmarkEvery, DefaultBookmarkEvery)
	setDefault(&c.Limits.Syncs, DefaultSyncs)
	setDefault(&c.Limits.Downloads, DefaultDownloads)
	setDefault(&c.Limits.Sources, DefaultSources)
	setDefault(&c.Limits.ListBytes, DefaultListBytes)
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	// In UTC, a time reads the same before and after it was on disk.
	c.Now = func() time.Time { return now().UTC() }
	if c.After == nil {
		c.After = time.After
	}
	if c.Rand == nil {
		c.Rand = mathrand.Float64
	}
	if c.Instance == "" {
		c.Instance = rand.Text()
	}
	return c
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

func (s Spec) withDefaults() Spec {
	setDefault(&s.Interval, DefaultInterval)
	setDefault(&s.Timeout, DefaultTimeout)
	s.Interval = max(s.Interval, leastInterval)
	s.Timeout = min(max(s.Timeout, leastTimeout), mostTimeout)
	return s
}

type noMetrics struct{}

func (noMetrics) Synced(SyncReport)        {}
func (noMetrics) Removed(Source)           {}
func (noMetrics) ChartServed(Source, bool) {}
