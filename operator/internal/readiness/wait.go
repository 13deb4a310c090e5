package readiness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Causes that callers tell apart with errors.Is.
var (
	// ErrTimeout says that a wait took longer than its timeout.
	ErrTimeout = errors.New("timed out")
	// ErrFailed says that an object that was waited for failed for good.
	ErrFailed = errors.New("failed")
)

// Object is one that is waited for.
type Object struct {
	// Kind as in manifests, for texts.
	Kind string
	// Resource of the API.
	Resource schema.GroupVersionResource
	// Namespace is empty for kinds that have none.
	Namespace string
	Name      string
	// Live is the state that the API server answered a write with; nil when it is not known. A wait for the object to be
	// ready makes no request when it says that it is.
	Live *unstructured.Unstructured
}

// String returns the kind and the name.
func (o Object) String() string { return o.Kind + " " + o.Name }

// Options of a wait.
type Options struct {
	// Timeout of the wait.
	Timeout time.Duration
	// What is put before the names of objects in texts, such as "hook"; mostly empty.
	What string
	// Reports gets texts about what is missing; may be nil.
	Reports *Reports
	// Idle is called when a first look did not show the objects at the goal, and Busy when the wait is over then; both may be
	// nil.
	Idle, Busy func()
}

// Wait waits until all objects are at the goal at the same time. Its error is in the chain of ErrTimeout or ErrFailed and
// names the objects that are not, and why; it is that of the API server when that refuses to show an object; and the cause
// of the context when that ends first.
func (h *Hub) Wait(ctx context.Context, objects []Object, goal Goal, options Options) error {
	return h.wait(ctx, objects, goal, options)
}

// WaitGone waits until all objects are deleted. An object that another one of the same name has followed is. Errors are
// those of Wait.
func (h *Hub) WaitGone(ctx context.Context, objects []Object, options Options) error {
	return h.wait(ctx, objects, goalGone, options)
}

// goalGone wants objects not to be there.
const goalGone Goal = -1

func (h *Hub) wait(ctx context.Context, objects []Object, goal Goal, options Options) error {
	w := &waiting{
		hub: h, goal: goal, options: options, inbox: newInbox(),
		byInterest: map[*interest]*item{}, byPods: map[*interest]*podSet{},
	}
	if err := w.begin(objects); err != nil || len(w.items) == 0 {
		return err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, options.Timeout, ErrTimeout)
	defer cancel()
	return w.run(ctx, bounded)
}

// waiting is one wait. One goroutine uses it; others put news into its inbox.
type waiting struct {
	hub     *Hub
	goal    Goal
	options Options
	inbox   *inbox

	items      []*item
	byInterest map[*interest]*item
	byPods     map[*interest]*podSet
	started    time.Time
}

// begin keeps the objects that are not at the goal by what is known of them.
func (w *waiting) begin(objects []Object) error {
	w.started = time.Now()
	for _, object := range objects {
		i := &item{Object: object, live: object.Live, known: object.Live != nil, stepped: w.started}
		if w.goal == goalGone {
			i.live, i.known = nil, false
		}
		if !i.known {
			// Those that only need to be there are: somebody has just made them.
			if w.goal == GoalCompleted && i.Kind != "Job" && i.Kind != kindPod {
				continue
			}
			i.lookAt = w.started
		} else if err := w.judge(i); err != nil {
			return err
		} else if i.done {
			continue
		}
		w.items = append(w.items, i)
	}
	return nil
}

// run waits. bounded ends with ctx or with the timeout.
func (w *waiting) run(ctx, bounded context.Context) error {
	if w.options.Reports != nil {
		w.options.Reports.begin(w.started)
	}
	if over, err := w.round(ctx, bounded); over {
		return err
	}
	if w.options.Idle != nil {
		w.options.Idle()
	}
	if w.options.Busy != nil {
		defer w.options.Busy()
	}
	w.join()
	defer w.end() // before Busy, which may block
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		// Joining may have brought news already.
		if over, err := w.round(ctx, bounded); over {
			return err
		}
		timer.Reset(time.Until(w.wakeAt()))
		select {
		case <-bounded.Done():
		case <-w.inbox.signal:
		case <-timer.C:
		}
	}
}

// round makes one step, and reports whether the wait is over by it.
func (w *waiting) round(ctx, bounded context.Context) (over bool, err error) {
	err = w.step(bounded)
	switch {
	case err == nil && w.done():
		return true, nil
	case bounded.Err() != nil:
		// What requests say when they were cut off means nothing.
		return true, w.over(ctx)
	default:
		return err != nil, err
	}
}

// never is longer than any wait.
const never = 1000 * time.Hour

// step takes in what is new, and acts on it.
func (w *waiting) step(ctx context.Context) error {
	for from, n := range w.inbox.take() {
		if i := w.byInterest[from]; i != nil {
			if err := w.absorb(i, n); err != nil {
				return err
			}
		}
		if pods := w.byPods[from]; pods != nil {
			pods.absorb(n)
		}
	}
	now := time.Now()
	for _, i := range w.items {
		if err := w.look(ctx, i, now); err != nil {
			return err
		}
		if err := w.judge(i); err != nil {
			return err
		}
	}
	for _, i := range w.items {
		if err := w.checkPods(ctx, i); err != nil {
			return err
		}
	}
	if w.options.Reports != nil && !w.done() {
		w.options.Reports.offer(time.Now(), w.progress())
	}
	return nil
}

// over returns the error of a wait whose time is over or whose context has ended.
func (w *waiting) over(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.timedOut(ctx)
}

func (w *waiting) done() bool {
	for _, i := range w.items {
		if !i.done {
			return false
		}
	}
	return true
}

// join begins to watch what is not done, kind by kind.
func (w *waiting) join() {
	groups := map[scope][]*item{}
	for _, i := range w.items {
		if !i.done {
			groups[i.scope()] = append(groups[i.scope()], i)
		}
	}
	for in, items := range groups {
		since := ""
		interests := make([]*interest, 0, len(items))
		for n, i := range items {
			i.interest = &interest{matches: named(i.Name), inbox: w.inbox}
			w.byInterest[i.interest] = i
			interests = append(interests, i.interest)
			switch version := i.version(); {
			case n == 0:
				since = version
			case version == "" || before(version, since):
				since = version
			}
		}
		if w.hub.join(in, since, interests...) {
			for _, i := range items {
				i.lookAt = w.started // at once
			}
		}
	}
}

// end leaves all watches.
func (w *waiting) end() {
	for of, i := range w.byInterest {
		w.hub.leave(i.scope(), of)
	}
	for _, i := range w.items {
		w.leavePods(i)
	}
}

// wakeAt returns when something is to be done without news.
func (w *waiting) wakeAt() time.Time {
	at := time.Now().Add(never)
	earlier := func(other time.Time) {
		if !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	for _, i := range w.items {
		if !i.done || !i.lookAt.IsZero() {
			earlier(i.lookAt)
		}
		if !i.done {
			earlier(w.graceEnds(i))
		}
	}
	if w.options.Reports != nil {
		earlier(w.options.Reports.due(w.progress()))
	}
	return at
}

// failure returns the error of an object that failed for good.
func (w *waiting) failure(i *item, text string) error {
	if w.goal == GoalCompleted {
		return fmt.Errorf("%s %s %w%s", lower(i.Kind), i.Name, ErrFailed, after(": ", text))
	}
	return fmt.Errorf("%s: %w%s", i, ErrFailed, after(": ", text))
}
