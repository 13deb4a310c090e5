package readiness

import (
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// interest is what one wait wants to hear from one watch.
type interest struct {
	// matches is called while the watch is locked.
	matches func(*unstructured.Unstructured) bool
	inbox   *inbox
}

// news is what an interest was told since its owner last looked.
type news struct {
	// complete says that there was a list: objects that are not in changed are not there.
	complete bool
	// polling says that nothing more will come: the owner has to ask for its objects itself.
	polling bool
	// changed are the newest states by name.
	changed map[string]*unstructured.Unstructured
	// removed are the last states of objects that were deleted, even if others have their names now.
	removed map[string]*unstructured.Unstructured
}

// inbox takes the news for one wait. It keeps the newest state of each object only, so that putting never blocks.
type inbox struct {
	// signal holds a value when there are news.
	signal chan struct{}

	mu   sync.Mutex // guards news
	news map[*interest]*news
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), news: map[*interest]*news{}}
}

// of returns the news of an interest to write to; the inbox is locked.
func (b *inbox) of(i *interest) *news {
	n := b.news[i]
	if n == nil {
		n = &news{changed: map[string]*unstructured.Unstructured{}, removed: map[string]*unstructured.Unstructured{}}
		b.news[i] = n
	}
	return n
}

func (b *inbox) wake() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// put tells the state of an object. gone says that it was deleted; object is its last state then.
func (b *inbox) put(i *interest, object *unstructured.Unstructured, gone bool) {
	b.mu.Lock()
	n := b.of(i)
	if gone {
		delete(n.changed, object.GetName())
		n.removed[object.GetName()] = object
	} else {
		n.changed[object.GetName()] = object
	}
	b.mu.Unlock()
	b.wake()
}

// reset tells all objects that there are. What was told of others, and nobody has taken yet, were their last states.
func (b *inbox) reset(i *interest, objects []*unstructured.Unstructured) {
	b.mu.Lock()
	n := b.of(i)
	n.complete = true
	told := n.changed
	n.changed = make(map[string]*unstructured.Unstructured, len(objects))
	for _, object := range objects {
		n.changed[object.GetName()] = object
	}
	for name, object := range told {
		if now := n.changed[name]; now == nil || now.GetUID() != object.GetUID() {
			n.removed[name] = object
		}
	}
	b.mu.Unlock()
	b.wake()
}

// poll tells that nothing more will come.
func (b *inbox) poll(i *interest) {
	b.mu.Lock()
	b.of(i).polling = true
	b.mu.Unlock()
	b.wake()
}

// take returns the news and leaves none.
func (b *inbox) take() map[*interest]*news {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.news
	b.news = map[*interest]*news{}
	return out
}
