package readiness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// explainTime bounds the requests that find out why objects are not ready after a timeout.
	explainTime = 10 * time.Second
	// explainedPods is how many Pods of a workload are looked at then.
	explainedPods = 20
	// revisionAnnotation numbers the revisions of a Deployment, on itself and on its ReplicaSets.
	revisionAnnotation = "deployment.kubernetes.io/revision"
	// templateGenerationLabel is on the Pods of a DaemonSet.
	templateGenerationLabel = "pod-template-generation"
)

// podSet are the Pods of the newest revision of a workload that has made no step for the grace period.
type podSet struct {
	// revision tells the Pods of one revision from those of another.
	revision string
	scope    scope
	// interest is set once it is known whose Pods they are, joined once they are watched.
	interest *interest
	joined   bool
	pods     map[string]*corev1.Pod
	// polling says that they cannot be watched, off that they cannot be read. readAt is when to list them, zero for never.
	polling bool
	off     bool
	readAt  time.Time
	pause   pauses
}

// hasPods reports whether the grace period means anything for an object.
func (w *waiting) hasPods(i *item) bool {
	if w.goal == goalGone || i.live == nil || i.done {
		return false
	}
	switch kindOf(i.live) {
	case kindPod, kindJob, kindDeployment, kindStatefulSet, kindDaemonSet, kindReplicaSet, kindController:
		return true
	default:
		return false
	}
}

// graceEnds returns when the Pods of an object are to be looked at; zero when not.
func (w *waiting) graceEnds(i *item) time.Time {
	switch {
	case !w.hasPods(i):
		return time.Time{}
	case i.pods != nil:
		return i.pods.readAt
	}
	at := i.stepped.Add(w.hub.cfg.Grace)
	if !at.After(time.Now()) {
		return time.Time{} // what there is to see was seen; news will come
	}
	return at
}

// checkPods returns an error when an object has made no step for the grace period and its current Pods cannot start or
// crash. Jobs and Pods that run to their end decide themselves how often they may crash.
func (w *waiting) checkPods(ctx context.Context, i *item) error {
	if !w.hasPods(i) || time.Since(i.stepped) < w.hub.cfg.Grace {
		w.leavePods(i)
		return nil
	}
	kind := kindOf(i.live)
	if kind == kindPod {
		pod, err := toPod(i.live)
		if err != nil {
			return nil //nolint:nilerr // the verdict says so
		}
		if defect := podDefect(pod, w.goal != GoalCompleted); defect != "" {
			return w.failure(i, defect)
		}
		return nil
	}
	revision, known := podRevision(i.live)
	if !known {
		w.leavePods(i)
		return nil
	}
	if i.pods == nil || i.pods.revision != revision {
		w.leavePods(i)
		i.pods = &podSet{
			revision: revision,
			scope:    scope{resource: corev1.SchemeGroupVersion.WithResource("pods"), namespace: i.Namespace},
			readAt:   w.started,
		}
	}
	if at := i.pods.readAt; !at.IsZero() && !at.After(time.Now()) {
		w.readPods(ctx, i)
	}
	for _, pod := range i.pods.sorted() {
		if defect := podDefect(pod, kind != kindJob); defect != "" {
			return w.failure(i, fmt.Sprintf("Pod %s: %s", pod.Name, defect))
		}
	}
	return nil
}

// podRevision returns what tells the Pods of the revision that a workload is at from older ones; false when its controller
// has not seen that revision yet.
func podRevision(object *unstructured.Unstructured) (string, bool) {
	kind := kindOf(object)
	if kind == kindJob {
		return string(object.GetUID()), true
	}
	observed, found, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if err != nil || !found || observed < object.GetGeneration() {
		return "", false
	}
	switch kind {
	case kindDeployment:
		revision := object.GetAnnotations()[revisionAnnotation]
		return revision, revision != ""
	case kindStatefulSet:
		revision, _, _ := unstructured.NestedString(object.Object, "status", "updateRevision")
		return revision, revision != ""
	case kindDaemonSet:
		return or(object.GetAnnotations()[appsv1.DeprecatedTemplateGeneration], "0"), true
	default:
		return string(object.GetUID()), true
	}
}

// readPods lists the Pods, and begins to watch them. What fails is tried again, unless it is refused.
func (w *waiting) readPods(ctx context.Context, i *item) {
	set := i.pods
	set.readAt = time.Time{}
	err := w.openPods(ctx, i)
	switch {
	case err != nil && definite(err):
		set.off = true
	case err != nil, set.interest == nil, set.polling:
		set.readAt = time.Now().Add(set.pause.next(w.hub.cfg.Poll))
	}
}

func (w *waiting) openPods(ctx context.Context, i *item) error {
	set := i.pods
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	selector, ok := podSelector(i.live)
	if !ok {
		return nil
	}
	if set.interest == nil {
		matches, err := w.currentPods(ctx, i, selector)
		if err != nil || matches == nil {
			return err
		}
		set.interest = &interest{matches: matches, inbox: w.inbox}
		w.byPods[set.interest] = set
	}
	version, err := w.listPods(ctx, i, selector)
	if err != nil || set.joined {
		return err
	}
	set.joined = true
	if w.hub.join(set.scope, version, set.interest) {
		_, err = w.listPods(ctx, i, selector)
	}
	return err
}

func (w *waiting) listPods(ctx context.Context, i *item, selector labels.Selector) (string, error) {
	list, err := w.hub.cfg.Source.List(ctx, i.pods.scope.resource, i.Namespace, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return "", err
	}
	n := &news{complete: true, changed: map[string]*unstructured.Unstructured{}}
	for k := range list.Items {
		if pod := &list.Items[k]; i.pods.interest.matches(pod) {
			n.changed[pod.GetName()] = pod
		}
	}
	i.pods.absorb(n)
	return list.GetResourceVersion(), nil
}

// currentPods returns a test for the Pods of the newest revision; nil when that has none yet.
func (w *waiting) currentPods(
	ctx context.Context, i *item, selector labels.Selector,
) (func(*unstructured.Unstructured) bool, error) {
	owner, label, value := i.live.GetUID(), "", ""
	switch kindOf(i.live) {
	case kindDeployment:
		newest, err := w.newestReplicaSet(ctx, i, selector)
		if err != nil || newest == "" {
			return nil, err
		}
		owner = newest
	case kindStatefulSet:
		label, value = appsv1.ControllerRevisionHashLabelKey, i.pods.revision
	case kindDaemonSet:
		if _, err := strconv.ParseInt(i.pods.revision, 10, 64); err == nil && i.pods.revision != "0" {
			label, value = templateGenerationLabel, i.pods.revision
		}
	}
	return func(pod *unstructured.Unstructured) bool {
		controller := metav1.GetControllerOfNoCopy(pod)
		return controller != nil && controller.UID == owner && (label == "" || pod.GetLabels()[label] == value)
	}, nil
}

// newestReplicaSet returns the UID of the ReplicaSet of the revision that a Deployment is at; empty when there is none yet.
func (w *waiting) newestReplicaSet(ctx context.Context, i *item, selector labels.Selector) (types.UID, error) {
	list, err := w.hub.cfg.Source.List(ctx, appsv1.SchemeGroupVersion.WithResource("replicasets"), i.Namespace,
		metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return "", err
	}
	for k := range list.Items {
		set := &list.Items[k]
		controller := metav1.GetControllerOfNoCopy(set)
		if controller != nil && controller.UID == i.live.GetUID() && set.GetAnnotations()[revisionAnnotation] == i.pods.revision {
			return set.GetUID(), nil
		}
	}
	return "", nil
}

// leavePods ends the watch of an object's Pods.
func (w *waiting) leavePods(i *item) {
	set := i.pods
	if set == nil {
		return
	}
	i.pods = nil
	delete(w.byPods, set.interest)
	if set.joined {
		w.hub.leave(set.scope, set.interest)
	}
}

// absorb takes in what the watch of the Pods said.
func (s *podSet) absorb(n *news) {
	if n.polling && !s.polling {
		s.polling = true
		s.readAt = time.Now()
	}
	if n.complete || s.pods == nil {
		s.pods = map[string]*corev1.Pod{}
	}
	for name, object := range n.removed {
		if known := s.pods[name]; known != nil && !before(object.GetResourceVersion(), known.ResourceVersion) {
			delete(s.pods, name)
		}
	}
	for name, object := range n.changed {
		if known := s.pods[name]; known != nil && before(object.GetResourceVersion(), known.ResourceVersion) {
			continue
		}
		if pod, err := toPod(object); err == nil {
			s.pods[name] = pod
		}
	}
}

// sorted returns the Pods by name.
func (s *podSet) sorted() []*corev1.Pod {
	out := make([]*corev1.Pod, 0, len(s.pods))
	for _, pod := range s.pods {
		out = append(out, pod)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// podSelector returns the selector of a workload's Pods; false when it has none.
func podSelector(object *unstructured.Unstructured) (labels.Selector, bool) {
	if object == nil {
		return nil, false
	}
	raw, found, err := unstructured.NestedMap(object.Object, "spec", "selector")
	if err != nil || !found || len(raw) == 0 {
		return nil, false
	}
	if kindOf(object) == kindController {
		plain, _, err := unstructured.NestedStringMap(object.Object, "spec", "selector")
		return labels.SelectorFromSet(plain), err == nil
	}
	var parsed metav1.LabelSelector
	if err := convert(&unstructured.Unstructured{Object: raw}, &parsed); err != nil {
		return nil, false
	}
	selector, err := metav1.LabelSelectorAsSelector(&parsed)
	return selector, err == nil && !selector.Empty()
}

// timedOut returns the error of a wait whose time is over: which objects are not at the goal, and why.
func (w *waiting) timedOut(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainTime)
	defer cancel()
	var names []string
	for _, i := range w.items {
		switch {
		case i.done:
		case len(names) >= namedAtTimeout:
			names = append(names, "") // only counted: each explanation costs a request
		default:
			names = append(names, w.explain(ctx, i))
		}
	}
	what := "objects to be ready"
	switch {
	case w.goal == goalGone:
		what = "objects to be gone"
	case w.goal == GoalCompleted && len(names) == 1:
		return fmt.Errorf("%w after %s waiting for %s", ErrTimeout, w.options.Timeout, names[0])
	case w.goal == GoalCompleted:
		what = "objects to complete"
	}
	return fmt.Errorf("%w after %s waiting for %s%s", ErrTimeout, w.options.Timeout, what, enumerate(names, namedAtTimeout))
}

// explain returns the name of an object and why it is not at the goal: what keeps its Pods from running, where that is
// known, else what its own status says.
func (w *waiting) explain(ctx context.Context, i *item) string {
	if trouble := w.podsTrouble(ctx, i); trouble != "" {
		return prefix(w.options.What) + i.String() + " is not ready: " + trouble
	}
	text := w.titled(i)
	if i.failed != nil && i.known {
		text += " (it could not be read again: " + cause(i.failed) + ")"
	}
	return text
}

func (w *waiting) podsTrouble(ctx context.Context, i *item) string {
	if !w.hasPods(i) {
		return ""
	}
	selector, ok := podSelector(i.live)
	if !ok {
		return ""
	}
	list, err := w.hub.cfg.Source.List(ctx, corev1.SchemeGroupVersion.WithResource("pods"), i.Namespace,
		metav1.ListOptions{LabelSelector: selector.String(), Limit: explainedPods})
	if err != nil {
		return ""
	}
	// The newest Pods are those of the revision that is being deployed.
	slices.SortFunc(list.Items, func(a, b unstructured.Unstructured) int {
		return b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time)
	})
	for k := range list.Items {
		pod, err := toPod(&list.Items[k])
		if err != nil {
			continue
		}
		if trouble := PodTrouble(pod); trouble != "" {
			return fmt.Sprintf("Pod %s: %s", pod.Name, trouble)
		}
	}
	return ""
}
