package readiness

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Defaults of a Config.
const (
	// DefaultGrace is how long a workload may stay where it is before containers that crash or cannot be started count as a
	// failure. Within it, kubelet starts a crashing container five times (after 0, 10, 20, 40 and 80 seconds), which is
	// enough for one that only has to wait for another, and it asks for an image about as often.
	DefaultGrace = 2 * time.Minute
	// DefaultPoll is the longest pause between two looks at an object that cannot be watched.
	DefaultPoll = 10 * time.Second
	// DefaultProgressEvery is the shortest time between two reports about one operation.
	DefaultProgressEvery = time.Second
)

// Config is what a Hub needs.
type Config struct {
	// Source reads the objects.
	Source Source
	// Log hears, once for each kind and namespace, that objects cannot be watched. The zero value discards it.
	Log logr.Logger
	// Grace is how long a workload may make no step before defects of its Pods end a wait; DefaultGrace by default.
	Grace time.Duration
	// Poll is the longest pause between two looks at what cannot be watched; DefaultPoll by default.
	Poll time.Duration
	// ProgressEvery is the shortest time between two reports; DefaultProgressEvery by default.
	ProgressEvery time.Duration
}

// Hub keeps the watches that waits in one cluster share. It holds no goroutine and no request while nobody waits. It is
// safe for concurrent use.
type Hub struct {
	cfg Config

	// mu guards the maps. It is taken before the lock of a watch.
	mu      sync.Mutex
	watches map[scope]*shared
	// said are the scopes about which the log knows that they cannot be watched.
	said map[scope]struct{}
}

// scope is what one watch covers.
type scope struct {
	resource  schema.GroupVersionResource
	namespace string
}

// New returns a hub. It makes no request.
func New(cfg Config) (*Hub, error) {
	if cfg.Source == nil {
		return nil, errors.New("readiness: no source of objects given")
	}
	if cfg.Log.GetSink() == nil {
		cfg.Log = logr.Discard()
	}
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Poll <= 0 {
		cfg.Poll = DefaultPoll
	}
	if cfg.ProgressEvery <= 0 {
		cfg.ProgressEvery = DefaultProgressEvery
	}
	return &Hub{cfg: cfg, watches: map[scope]*shared{}, said: map[scope]struct{}{}}, nil
}

// Watches returns how many watches there are at the moment.
func (h *Hub) Watches() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watches)
}

// join adds interests to the watch of a scope, which begins when there is none. since is the oldest resource version
// that the caller knows of its objects; empty when it knows none. It returns true when the watch is beyond that already: the
// caller must look at its objects once more, because it may have missed something.
func (h *Hub) join(in scope, since string, interests ...*interest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.watches[in]
	isNew := w == nil
	if isNew {
		ctx, cancel := context.WithCancel(context.Background())
		w = &shared{
			hub: h, scope: in, cancel: cancel, done: make(chan struct{}),
			position: since, interests: map[*interest]struct{}{},
		}
		h.watches[in] = w
		defer func() { go w.run(ctx) }()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, i := range interests {
		w.interests[i] = struct{}{}
		if w.polling {
			i.inbox.poll(i)
		}
	}
	switch {
	case isNew, w.polling:
		return false
	case w.position == "": // a list follows, or is under way for others
		return w.listing
	default:
		return since == "" || before(since, w.position) || !before(w.position, since) && w.position != since
	}
}

// leave takes interests out. The watch that nobody is interested in any more has ended when it returns.
func (h *Hub) leave(in scope, interests ...*interest) {
	h.mu.Lock()
	w := h.watches[in]
	if w == nil {
		h.mu.Unlock()
		return
	}
	w.mu.Lock()
	for _, i := range interests {
		delete(w.interests, i)
	}
	last := len(w.interests) == 0
	w.mu.Unlock()
	if last {
		delete(h.watches, in)
	}
	h.mu.Unlock()
	if last {
		w.cancel()
		<-w.done
	}
}

// cannotWatch logs once that a scope cannot be watched.
func (h *Hub) cannotWatch(in scope, err error) {
	h.mu.Lock()
	_, known := h.said[in]
	h.said[in] = struct{}{}
	h.mu.Unlock()
	if !known {
		h.cfg.Log.Info("Objects cannot be watched and are looked at one by one; grant list and watch to wait without polling",
			"resource", in.resource.GroupResource().String(), "namespace", in.namespace, "code", statusCode(err))
	}
}

// named returns a test for the name of an object.
func named(name string) func(*unstructured.Unstructured) bool {
	return func(object *unstructured.Unstructured) bool { return object.GetName() == name }
}
