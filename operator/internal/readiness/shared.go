package readiness

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// firstPause is the pause after a first failure. It doubles up to maxPause, with jitter.
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
	// watchTime is how long the API server keeps one watch request at least; up to twice as long, as client-go's reflectors
	// ask for.
	watchTime = 5 * time.Minute
	// listPage is how many objects one list request asks for.
	listPage = 500
	// requestTime bounds a request that is no watch.
	requestTime = 30 * time.Second
	// healthyTime is how long a watch must have lasted for its end not to count as a failure.
	healthyTime = time.Second
)

// shared is one watch and those who are interested in it.
type shared struct {
	hub    *Hub
	scope  scope
	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned

	mu        sync.Mutex // guards all below
	interests map[*interest]struct{}
	// position is the resource version up to which everything was told; empty when a list must come first.
	position string
	// listing is set while a list is under way, for those who were interested when it began.
	listing bool
	// polling is set when the watch was refused.
	polling bool
}

// run keeps the watch alive until ctx ends or the watch is refused.
func (w *shared) run(ctx context.Context) {
	defer close(w.done)
	var pause pauses
	for ctx.Err() == nil {
		healthy, err := w.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case refusesWatch(err):
			w.hub.cannotWatch(w.scope, err)
			w.refused()
			return
		case tooOld(err):
			w.restart()
		}
		if healthy {
			pause.reset()
			continue
		}
		if !sleep(ctx, pause.next(maxPause)) {
			return
		}
	}
}

// once lists, where that is needed, and watches until the watch ends. It reports whether that went as it should.
func (w *shared) once(ctx context.Context) (healthy bool, err error) {
	w.mu.Lock()
	position := w.position
	w.mu.Unlock()
	listed := position == ""
	if listed {
		if position, err = w.list(ctx); err != nil {
			return false, err
		}
	}
	seconds := int64((watchTime + rand.N(watchTime)).Seconds()) //nolint:gosec // spreads load, no secret
	began := time.Now()
	events, err := w.hub.cfg.Source.Watch(ctx, w.scope.resource, w.scope.namespace, metav1.ListOptions{
		ResourceVersion: position, AllowWatchBookmarks: true, TimeoutSeconds: &seconds,
	})
	if err != nil {
		// That a position is too old is no failure: a list follows. After a list it is one.
		return tooOld(err) && !listed, err
	}
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case event, open := <-events.ResultChan():
			if !open {
				return time.Since(began) >= healthyTime, nil
			}
			if err := w.handle(event); err != nil {
				return tooOld(err) && !listed, err
			}
		}
	}
}

// list tells those who are interested what there is, and returns the position of that. Who joins meanwhile looks for
// himself.
func (w *shared) list(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	w.mu.Lock()
	w.listing = true
	asking := maps.Clone(w.interests)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.listing = false
		w.mu.Unlock()
	}()
	var objects []*unstructured.Unstructured
	options := metav1.ListOptions{Limit: listPage}
	for {
		page, err := w.hub.cfg.Source.List(ctx, w.scope.resource, w.scope.namespace, options)
		if apierrors.IsNotFound(err) {
			// The kind itself is gone, and its objects with it. It may come back.
			w.reset(asking, nil, "")
			return "", err
		}
		if err != nil {
			return "", fmt.Errorf("list: %w", err)
		}
		for i := range page.Items {
			if object := &page.Items[i]; wanted(asking, object) {
				objects = append(objects, object)
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			w.reset(asking, objects, page.GetResourceVersion())
			return page.GetResourceVersion(), nil
		}
	}
}

// wanted reports whether anyone is interested in an object.
func wanted(asking map[*interest]struct{}, object *unstructured.Unstructured) bool {
	for i := range asking {
		if i.matches(object) {
			return true
		}
	}
	return false
}

// handle tells an event to those who are interested in it.
func (w *shared) handle(event watch.Event) error {
	object, ok := event.Object.(*unstructured.Unstructured)
	if event.Type == watch.Error || !ok {
		return apierrors.FromObject(event.Object)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if version := object.GetResourceVersion(); version != "" {
		w.position = version
	}
	if event.Type == watch.Bookmark {
		return nil
	}
	for i := range w.interests {
		if i.matches(object) {
			i.inbox.put(i, object, event.Type == watch.Deleted)
		}
	}
	return nil
}

// reset tells those who asked all objects that there are.
func (w *shared) reset(asking map[*interest]struct{}, objects []*unstructured.Unstructured, position string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.position = position
	for i := range asking {
		var matching []*unstructured.Unstructured
		for _, object := range objects {
			if i.matches(object) {
				matching = append(matching, object)
			}
		}
		i.inbox.reset(i, matching)
	}
}

// restart makes the next round begin with a list.
func (w *shared) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.position = ""
}

// refused tells everyone to look for themselves.
func (w *shared) refused() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.polling = true
	for i := range w.interests {
		i.inbox.poll(i)
	}
}

// pauses are growing pauses after failures.
type pauses struct{ last time.Duration }

func (p *pauses) reset() { p.last = 0 }

// next returns the next pause, with jitter, at most limit.
func (p *pauses) next(limit time.Duration) time.Duration {
	p.last = min(limit, max(2*p.last, min(firstPause, limit)))
	return p.last/2 + rand.N(p.last/2+1) //nolint:gosec // spreads load, no secret
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
