package readiness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// cluster is a Source in memory: objects, the events of their changes, and the faults that a test wants.
type cluster struct {
	mu      sync.Mutex
	version int
	objects map[string]*unstructured.Unstructured // by resource/namespace/name
	events  []clusterEvent
	// compacted is the newest version from which no watch may begin.
	compacted int
	open      map[*clusterWatch]struct{}
	// fail returns the answer to a request instead of what there is; verb is get, list or watch.
	fail  func(verb, resource string) error
	asked map[string]int // by "verb resource"
}

type clusterEvent struct {
	version int
	scope   string // resource/namespace
	event   watch.Event
}

func newCluster() *cluster {
	return &cluster{
		version: 100,
		objects: map[string]*unstructured.Unstructured{},
		open:    map[*clusterWatch]struct{}{},
		asked:   map[string]int{},
		fail:    func(string, string) error { return nil },
	}
}

func scopeOf(of schema.GroupVersionResource, namespace string) string {
	return of.Resource + "/" + namespace
}

// put creates or changes an object, and returns the answer to that.
func (c *cluster) put(of schema.GroupVersionResource, object *unstructured.Unstructured) *unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	object = object.DeepCopy()
	object.SetResourceVersion(strconv.Itoa(c.version))
	in := scopeOf(of, object.GetNamespace())
	key := in + "/" + object.GetName()
	kind := watch.Modified
	if before, ok := c.objects[key]; !ok {
		kind = watch.Added
		object.SetUID(types.UID("uid-" + strconv.Itoa(c.version)))
	} else {
		object.SetUID(before.GetUID())
	}
	c.objects[key] = object
	c.tell(clusterEvent{c.version, in, watch.Event{Type: kind, Object: object}})
	return object.DeepCopy()
}

// remove deletes an object.
func (c *cluster) remove(of schema.GroupVersionResource, namespace, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	in := scopeOf(of, namespace)
	object := c.objects[in+"/"+name].DeepCopy()
	delete(c.objects, in+"/"+name)
	object.SetResourceVersion(strconv.Itoa(c.version))
	c.tell(clusterEvent{c.version, in, watch.Event{Type: watch.Deleted, Object: object}})
}

// removeAs deletes an object whose last change no event told of.
func (c *cluster) removeAs(of schema.GroupVersionResource, last *unstructured.Unstructured) {
	c.mu.Lock()
	key := scopeOf(of, last.GetNamespace()) + "/" + last.GetName()
	last = last.DeepCopy()
	last.SetUID(c.objects[key].GetUID())
	c.objects[key] = last
	c.mu.Unlock()
	c.remove(of, last.GetNamespace(), last.GetName())
}

func (c *cluster) tell(event clusterEvent) {
	c.events = append(c.events, event)
	for w := range c.open {
		if w.scope == event.scope {
			w.events <- event.event
		}
	}
}

// compact forgets all events so far.
func (c *cluster) compact() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.compacted = c.version
	c.version++ // other objects change, too
}

// breakWatches ends all watches, as a server does that stops.
func (c *cluster) breakWatches() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.open {
		delete(c.open, w)
		close(w.events)
	}
}

func (c *cluster) watches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

func (c *cluster) requests(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[what]
}

func (c *cluster) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, n := range c.asked {
		sum += n
	}
	return sum
}

func (c *cluster) failing(fail func(verb, resource string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// ask counts a request and returns its fault. The lock is held.
func (c *cluster) ask(verb string, of schema.GroupVersionResource) error {
	c.asked[verb+" "+of.Resource]++
	return c.fail(verb, of.Resource)
}

func (c *cluster) Get(_ context.Context, of schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask("get", of); err != nil {
		return nil, err
	}
	object, ok := c.objects[scopeOf(of, namespace)+"/"+name]
	if !ok {
		return nil, apierrors.NewNotFound(of.GroupResource(), name)
	}
	return object.DeepCopy(), nil
}

func (c *cluster) List(
	_ context.Context, of schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) (*unstructured.UnstructuredList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask("list", of); err != nil {
		return nil, err
	}
	selector, err := labels.Parse(options.LabelSelector)
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	list.SetResourceVersion(strconv.Itoa(c.version))
	for _, key := range slices.Sorted(maps.Keys(c.objects)) {
		object := c.objects[key]
		if strings.HasPrefix(key, scopeOf(of, namespace)+"/") && selector.Matches(labels.Set(object.GetLabels())) {
			list.Items = append(list.Items, *object.DeepCopy())
		}
	}
	return list, nil
}

func (c *cluster) Watch(
	_ context.Context, of schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask("watch", of); err != nil {
		return nil, err
	}
	since, err := strconv.Atoi(options.ResourceVersion)
	if err != nil {
		return nil, fmt.Errorf("a watch from no version: %w", err)
	}
	w := &clusterWatch{cluster: c, scope: scopeOf(of, namespace), events: make(chan watch.Event, 1000)}
	if since <= c.compacted {
		gone := apierrors.NewResourceExpired("too old resource version").Status()
		w.events <- watch.Event{Type: watch.Error, Object: &gone}
	}
	for _, past := range c.events {
		if past.version > since && past.scope == w.scope {
			w.events <- past.event
		}
	}
	c.open[w] = struct{}{}
	return w, nil
}

type clusterWatch struct {
	cluster *cluster
	scope   string
	events  chan watch.Event
}

func (w *clusterWatch) ResultChan() <-chan watch.Event { return w.events }

func (w *clusterWatch) Stop() {
	w.cluster.mu.Lock()
	defer w.cluster.mu.Unlock()
	delete(w.cluster.open, w)
}

// answer is an error of an API server.
func answer(code int32) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Message: http.StatusText(int(code))}}
}

var errDown = errors.New("connection refused")
