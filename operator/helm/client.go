package helm

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/ketches/helm-operator/operator/fence"
)

// Config is what a Client needs.
type Config struct {
	// REST says where the cluster is. It is copied; its rate limit is ignored: the API server's own fairness governs.
	REST *rest.Config
	// Log gets Helm's own log lines at V(1). The zero value discards them.
	Log logr.Logger
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Poll is the longest pause between two looks at objects that cannot be watched; 10 seconds by default.
	Poll time.Duration
	// Grace is how long a workload that is waited for may make no step before Pods of it that crash or cannot get their image
	// or their configuration end the wait; 2 minutes by default.
	Grace time.Duration
	// Fence returns an error once this process may not write any more, because it lost its lease; may be nil. It is asked
	// before each mutating request and before each step of an action, which it interrupts: nothing more is written, the record
	// stays pending. See package fence.
	Fence func() error
}

// Client runs Helm actions in one cluster. All its methods may be called at the same time; the caller sees to it that
// there is at most one action on a release.
type Client struct {
	log logr.Logger
	now func() time.Time
	// fence is never nil.
	fence func() error

	who       *identities
	kube      kubernetes.Interface
	metadata  metadata.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    *kindMapper
	caps      *capabilitiesCache
	encoder   recordEncoder
	// objects reads and writes objects of any kind, and drops the warnings of the API server.
	manifests manifests
}

// New returns a client. It makes no request.
func New(cfg Config) (*Client, error) {
	if cfg.REST == nil {
		return nil, errors.New("helm client: no REST config given")
	}
	conf := rest.CopyConfig(cfg.REST)
	conf.QPS = -1
	conf.RateLimiter = nil

	mayWrite := cfg.Fence
	if mayWrite == nil {
		mayWrite = func() error { return nil }
	} else {
		conf.Wrap(func(next http.RoundTripper) http.RoundTripper { return fence.Transport(next, mayWrite) })
	}

	log := cfg.Log
	if log.GetSink() == nil {
		log = logr.Discard()
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	who := &identities{base: conf, log: log, grace: cfg.Grace, poll: cfg.Poll}
	own, err := who.get("")
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(metadata.ConfigFor(conf))
	if err != nil {
		return nil, fmt.Errorf("helm client: make the metadata client: %w", err)
	}
	cached := memory.NewMemCacheClient(own.kube.Discovery())
	return &Client{
		log:       log,
		now:       now,
		fence:     mayWrite,
		who:       who,
		kube:      own.kube,
		metadata:  metadataClient,
		discovery: cached,
		mapper:    &kindMapper{ResettableRESTMapper: restmapper.NewDeferredDiscoveryRESTMapper(cached), now: now},
		caps:      &capabilitiesCache{discovery: cached, now: now},
	}, nil
}
