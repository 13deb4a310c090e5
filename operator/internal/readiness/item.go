package readiness

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// item is an object of a wait.
type item struct {
	Object
	// live is the newest state; nil when there is none. known says that somebody looked.
	live  *unstructured.Unstructured
	known bool
	// judged is the state that verdict is about.
	judged  *unstructured.Unstructured
	verdict Verdict
	done    bool
	// begun is set once a state was judged, and deadline is the one that the object had passed by then.
	begun    bool
	deadline string
	// stepped is when the object last came forward, and steps how far.
	stepped time.Time
	steps   int64
	// interest is set once the object is watched.
	interest *interest
	// polling says that it cannot be watched. lookAt is when to look at it, zero for never; pause grows between looks that
	// bring nothing new.
	polling bool
	lookAt  time.Time
	pause   pauses
	// failed is why the last look failed.
	failed error
	// forbidden is since when looks were refused for want of rights; zero when the last one was not.
	forbidden time.Time
	pods      *podSet
}

func (i *item) scope() scope { return scope{resource: i.Resource, namespace: i.Namespace} }

func (i *item) isJob() bool { return i.Kind == "Job" && i.Resource.Group == batchv1.GroupName }

func (i *item) version() string {
	if i.live == nil {
		return ""
	}
	return i.live.GetResourceVersion()
}

// absorb takes in what the watch of an object said. It returns an error when the object had failed before it was deleted, or will
// never run to its end.
func (w *waiting) absorb(i *item, n *news) error {
	if n.polling && !i.polling {
		i.polling = true
		i.lookAt = time.Now()
	}
	removed, changed := n.removed[i.Name], n.changed[i.Name]
	if removed != nil && !older(removed, i.live) {
		if err := w.judgeLast(i, removed); err != nil {
			return err
		}
		if err := w.vanish(i, true); err != nil {
			return err
		}
	}
	switch {
	case changed != nil && !older(changed, i.live):
		if i.live != nil && i.live.GetUID() != changed.GetUID() {
			if err := w.vanish(i, false); err != nil {
				return err
			}
		}
		i.see(changed)
	case changed == nil && removed == nil && n.complete:
		return w.vanish(i, false)
	}
	return nil
}

// judgeLast judges the last state of an object that was deleted, where that counts: what runs to its end may have got there
// at the last moment, and who cleans up behind it deletes at once.
func (w *waiting) judgeLast(i *item, last *unstructured.Unstructured) error {
	kind := kindOf(last)
	if w.goal == GoalCompleted && (kind == kindJob || kind == kindPod) || w.goal == GoalReadyWithJobs && kind == kindJob {
		i.see(last)
		return w.judge(i)
	}
	return nil
}

// final reports whether an object is at the goal for good: it is gone, or has run to its end.
func (w *waiting) final(i *item) bool {
	return i.done && (w.goal == goalGone || w.goal == GoalCompleted || w.goal == GoalReadyWithJobs && i.isJob())
}

// see takes in a state of an object.
func (i *item) see(object *unstructured.Unstructured) {
	i.live, i.known, i.failed = object, true, nil
}

// vanish takes in that the object is not there; seen says that its last state was judged. What is to go is gone then, whatever has its
// name later. What is to run to its end, and was not seen to get there, never will: Helm goes on, but that would take a test for passed
// or a migration for done that never was. Only a Job that goes by itself when it has ended is believed to have, if nobody saw its end.
func (w *waiting) vanish(i *item, seen bool) error {
	ended := i.done || !seen && goesByItself(i.live)
	i.live, i.known, i.failed = nil, true, nil
	switch {
	case w.goal == goalGone, w.goal == GoalCompleted && ended:
		i.done = true
	case w.goal == GoalCompleted:
		return w.failure(i, "it could not be run to its end, because it was deleted before")
	}
	return nil
}

// goesByItself reports whether an object is a Job that is deleted a while after it has ended.
func goesByItself(object *unstructured.Unstructured) bool {
	if object == nil || kindOf(object) != kindJob {
		return false
	}
	_, found, err := unstructured.NestedInt64(object.Object, "spec", "ttlSecondsAfterFinished")
	return found && err == nil
}

// startUpTime is how long a refusal for want of rights may be that of an API server which was just started: it answers before it has
// read the roles.
const startUpTime = 30 * time.Second

// startsUp reports whether a refusal may be none in a moment.
func (i *item) startsUp(err error, now time.Time) bool {
	if !apierrors.IsForbidden(err) {
		return false
	}
	if i.forbidden.IsZero() {
		i.forbidden = now
	}
	return now.Sub(i.forbidden) < startUpTime
}

// look asks for an object when that is due.
func (w *waiting) look(ctx context.Context, i *item, now time.Time) error {
	if w.final(i) {
		i.lookAt = time.Time{}
	}
	if i.lookAt.IsZero() || i.lookAt.After(now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	before := i.version()
	object, err := w.hub.cfg.Source.Get(ctx, i.Resource, i.Namespace, i.Name)
	switch {
	case apierrors.IsNotFound(err):
		if err := w.vanish(i, false); err != nil {
			return err
		}
	case err == nil && !older(object, i.live):
		if i.live != nil && i.live.GetUID() != object.GetUID() {
			if err := w.vanish(i, false); err != nil {
				return err
			}
		}
		if !w.final(i) {
			i.see(object)
		}
	case err == nil:
	case definite(err) && !i.startsUp(err, now):
		return fmt.Errorf("%s: %w", i, err)
	default:
		i.failed = err
	}
	if !apierrors.IsForbidden(err) {
		i.forbidden = time.Time{}
	}
	if i.version() != before {
		i.pause.reset()
	}
	i.lookAt = time.Time{}
	if i.polling || i.failed != nil {
		i.lookAt = time.Now().Add(i.pause.next(w.hub.cfg.Poll))
	}
	return nil
}

// judge says whether an object is at the goal. It returns an error when it never will be.
func (w *waiting) judge(i *item) error {
	if w.goal == goalGone || !i.known || w.final(i) {
		return nil
	}
	if i.live == nil {
		i.done, i.judged, i.steps, i.stepped = false, nil, 0, time.Now()
		i.verdict = Verdict{Text: "was deleted"}
		if i.isJob() {
			// Its time to live removes a Job that failed, too. Helm itself ends with an error here; somebody may make it again.
			i.verdict.Text = "was deleted before it was seen to complete; does its ttlSecondsAfterFinished leave too little time?"
		}
		return nil
	}
	if i.live == i.judged {
		return nil
	}
	i.judged = i.live
	if !i.begun {
		i.begun, i.deadline = true, passedDeadline(i.live)
	}
	i.verdict = assess(i.live, w.goal, i.deadline)
	wasDone := i.done
	i.done = i.verdict.State == Ready
	if i.verdict.Steps > i.steps || wasDone && !i.done {
		i.stepped = time.Now()
	}
	i.steps = i.verdict.Steps
	if i.verdict.State == Failed {
		return w.failure(i, i.verdict.Text)
	}
	return nil
}

// text says what an object lacks, without its name.
func (w *waiting) text(i *item) string {
	switch {
	case w.goal == goalGone && i.live != nil && len(i.live.GetFinalizers()) > 0:
		return "(finalizers " + strings.Join(i.live.GetFinalizers(), ", ") + ")"
	case w.goal == goalGone:
		return ""
	case !i.known && i.failed != nil:
		return "cannot be read: " + cause(i.failed)
	case !i.known:
		return ""
	default:
		return i.verdict.Text
	}
}
