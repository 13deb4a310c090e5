package readiness

import (
	"fmt"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// State is how far an object has come.
type State int

// States of an object.
const (
	// Progressing objects are waited for.
	Progressing State = iota
	// Ready objects are as wanted.
	Ready
	// Failed objects will not get ready by themselves.
	Failed
)

// Goal is what a wait wants of objects.
type Goal int

// Goals of a wait.
const (
	// GoalReady wants objects to be ready. Jobs count as ready whatever they do.
	GoalReady Goal = iota
	// GoalReadyWithJobs wants objects to be ready and Jobs to have completed.
	GoalReadyWithJobs
	// GoalCompleted wants Jobs and Pods to have run to their end. Objects of other kinds are there, which is all that is
	// wanted of them.
	GoalCompleted
)

// Verdict is what the state of an object means.
type Verdict struct {
	State State
	// Text says what is missing, or what failed; empty when the object is ready.
	Text string
	// Steps grows while a workload comes forward: it counts its Pods that are updated, ready and available.
	Steps int64
}

// Kinds with rules of their own, with their groups.
const (
	kindDeployment  = "Deployment.apps"
	kindStatefulSet = "StatefulSet.apps"
	kindDaemonSet   = "DaemonSet.apps"
	kindReplicaSet  = "ReplicaSet.apps"
	kindController  = "ReplicationController"
	kindJob         = "Job.batch"
	kindPod         = "Pod"
	kindService     = "Service"
	kindClaim       = "PersistentVolumeClaim"
)

// deadlineReason is the reason of the condition of a Deployment that has made no progress for too long.
const deadlineReason = "ProgressDeadlineExceeded"

// kindOf returns the kind of an object with its group.
func kindOf(object *unstructured.Unstructured) string {
	return object.GroupVersionKind().GroupKind().String()
}

// Assess says what the state of an object, its status included, means for a goal. The rules are those of kstatus, except:
//
//   - Jobs are ready at once unless the goal names them; then they are when they have completed. kstatus calls a Job
//     current as soon as it has started.
//   - Pods fail by what they say themselves only when they are to complete. Being unschedulable never is a failure: a node
//     may come.
//   - A paused Deployment is ready: it does not come forward until somebody resumes it.
//   - A DaemonSet or StatefulSet that updates its Pods when somebody deletes them (OnDelete) is ready once it was observed.
//   - Workloads must have been observed by their controllers, which then is all that one with no replicas needs.
//   - A Job that has ended has, even if it is being deleted: its time to live may be over.
//   - Services need an address inside the cluster, those of type ExternalName aside. Load balancers are not waited for:
//     theirs may need an hour or a quota.
//   - ReplicationControllers, which kstatus does not know, are treated as ReplicaSets.
//   - Custom resources whose status kstatus cannot read are ready: it follows no convention that could tell.
func Assess(object *unstructured.Unstructured, goal Goal) Verdict { return assess(object, goal, "") }

// assess is Assess for an object that has passed a deadline before, which does not count; see passedDeadline.
func assess(object *unstructured.Unstructured, goal Goal, before string) Verdict {
	kind := kindOf(object)
	if goal == GoalCompleted {
		switch kind {
		case kindJob:
			return assessJob(object)
		case kindPod:
			return assessCompletion(object)
		default:
			return Verdict{State: Ready}
		}
	}
	if kind == kindJob && goal == GoalReady {
		return Verdict{State: Ready}
	}
	var job Verdict
	if kind == kindJob {
		job = assessJob(object)
	}
	switch {
	case job.State != Progressing:
		return job
	case object.GetDeletionTimestamp() != nil:
		return Verdict{Text: "is being deleted"}
	}
	switch kind {
	case kindJob:
		return job
	case kindPod:
		return assessPod(object)
	case kindDeployment, kindStatefulSet, kindDaemonSet, kindReplicaSet, kindController:
		return assessWorkload(object, kind, before)
	case kindService:
		return assessService(object)
	default:
		return fromKstatus(object)
	}
}

// fromKstatus returns what kstatus says.
func fromKstatus(object *unstructured.Unstructured) Verdict {
	result, err := status.Compute(object)
	switch {
	case err != nil, result.Status == status.CurrentStatus:
		return Verdict{State: Ready}
	case result.Status == status.FailedStatus:
		return Verdict{State: Failed, Text: failureText(result)}
	default:
		return Verdict{Text: progressText(object, result)}
	}
}

// failureText returns why kstatus calls an object failed: the reason of the condition and its message.
func failureText(result *status.Result) string {
	for _, condition := range result.Conditions {
		if condition.Type == status.ConditionStalled {
			return join(condition.Reason, condition.Message)
		}
	}
	return result.Message
}

func progressText(object *unstructured.Unstructured, result *status.Result) string {
	if kindOf(object) == kindClaim {
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		return fmt.Sprintf("is not bound (phase %s)", or(phase, "Pending"))
	}
	if result.Message == "" {
		return "is not ready"
	}
	return result.Message
}

func assessService(object *unstructured.Unstructured) Verdict {
	serviceType, _, _ := unstructured.NestedString(object.Object, "spec", "type")
	address, _, _ := unstructured.NestedString(object.Object, "spec", "clusterIP")
	if address != "" || serviceType == string(corev1.ServiceTypeExternalName) {
		return Verdict{State: Ready}
	}
	return Verdict{Text: "has no cluster IP"}
}

func assessJob(object *unstructured.Unstructured) Verdict {
	var job batchv1.Job
	if err := convert(object, &job); err != nil {
		return Verdict{Text: "has a status that cannot be read"}
	}
	for i := range job.Status.Conditions {
		condition := &job.Status.Conditions[i]
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete:
			return Verdict{State: Ready}
		case batchv1.JobFailed:
			return Verdict{State: Failed, Text: join(condition.Reason, condition.Message)}
		}
	}
	completions := int32(1)
	if job.Spec.Completions != nil {
		completions = *job.Spec.Completions
	}
	text := fmt.Sprintf("%d of %d completed", job.Status.Succeeded, completions)
	if job.Status.Failed > 0 {
		text += fmt.Sprintf(", %d failed", job.Status.Failed)
	}
	return Verdict{Text: text, Steps: int64(job.Status.Succeeded)}
}

// assessCompletion judges a Pod that is to run to its end.
func assessCompletion(object *unstructured.Unstructured) Verdict {
	pod, err := toPod(object)
	if err != nil {
		return Verdict{Text: "has a status that cannot be read"}
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return Verdict{State: Ready}
	case corev1.PodFailed:
		return Verdict{State: Failed, Text: join(pod.Status.Reason, or(PodTrouble(pod), pod.Status.Message))}
	default:
		return Verdict{Text: podText(pod)}
	}
}

// assessPod judges a Pod that is to be ready.
func assessPod(object *unstructured.Unstructured) Verdict {
	pod, err := toPod(object)
	if err != nil {
		return Verdict{Text: "has a status that cannot be read"}
	}
	for i := range pod.Status.Conditions {
		condition := &pod.Status.Conditions[i]
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return Verdict{State: Ready}
		}
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		return Verdict{State: Ready}
	case corev1.PodFailed:
		// Nothing starts a Pod again that belongs to no controller and has ended.
		return Verdict{State: Failed, Text: join(pod.Status.Reason, or(PodTrouble(pod), pod.Status.Message))}
	default:
		return Verdict{Text: podText(pod)}
	}
}

func podText(pod *corev1.Pod) string {
	text := fmt.Sprintf("is not ready (phase %s)", or(string(pod.Status.Phase), string(corev1.PodPending)))
	return join(text, PodTrouble(pod))
}

// counts are the numbers of a workload's Pods.
type counts struct{ wanted, exist, updated, ready, available int64 }

// assessWorkload judges what keeps a number of Pods running. before is a deadline that it had passed before it is judged.
func assessWorkload(object *unstructured.Unstructured, kind, before string) Verdict {
	if paused, _, _ := unstructured.NestedBool(object.Object, "spec", "paused"); paused && kind == kindDeployment {
		return Verdict{State: Ready}
	}
	observed, found, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if err != nil || !found || observed < object.GetGeneration() {
		return Verdict{Text: "has not been observed by its controller yet"}
	}
	n := podCounts(object, kind)
	verdict := Verdict{Steps: n.updated + n.ready + n.available}
	if n.wanted == 0 && kind != kindDaemonSet || kind == kindDaemonSet && updatesOnDelete(object) {
		verdict.State = Ready
		return verdict
	}
	judged := object
	if kind == kindController {
		judged = asReplicaSet(object)
	}
	of := fromKstatus(judged)
	if of.State == Failed && before != "" && passedDeadline(object) == before {
		of = Verdict{Text: "has not come forward since it passed its progress deadline earlier"}
	}
	verdict.State = of.State
	switch of.State {
	case Failed:
		verdict.Text = join(n.text(), of.Text)
	case Progressing:
		verdict.Text = join(or(n.text(), of.Text), replicaFailure(object))
	case Ready:
	}
	return verdict
}

// updatesOnDelete reports whether the Pods of a workload are updated when somebody deletes them. Helm does not wait for that.
func updatesOnDelete(object *unstructured.Unstructured) bool {
	strategy, _, _ := unstructured.NestedString(object.Object, "spec", "updateStrategy", "type")
	return strategy == string(appsv1.OnDeleteDaemonSetStrategyType)
}

// passedDeadline says when a Deployment was found to have made no progress for too long, as something to compare; it is
// empty while it was not. The controller keeps what it found in the past until the Deployment comes forward, and says that it
// has observed a change before it has: only a finding that was made after the change is about it. Both times are those of
// the controller's clock, so they are not compared with ours.
func passedDeadline(object *unstructured.Unstructured) string {
	if kindOf(object) != kindDeployment {
		return ""
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, ok := entry.(map[string]any)
		if !ok || condition["type"] != string(appsv1.DeploymentProgressing) || condition["reason"] != deadlineReason {
			continue
		}
		return fmt.Sprintf("%v %v", condition["lastUpdateTime"], condition["lastTransitionTime"])
	}
	return ""
}

func podCounts(object *unstructured.Unstructured, kind string) counts {
	field := func(missing int64, path ...string) int64 {
		if number, found, err := unstructured.NestedInt64(object.Object, path...); err == nil && found {
			return number
		}
		return missing
	}
	if kind == kindDaemonSet {
		return counts{
			wanted:    field(0, "status", "desiredNumberScheduled"),
			exist:     field(0, "status", "currentNumberScheduled"),
			updated:   field(0, "status", "updatedNumberScheduled"),
			ready:     field(0, "status", "numberReady"),
			available: field(0, "status", "numberAvailable"),
		}
	}
	n := counts{
		wanted:    field(1, "spec", "replicas"), // what the API server sets when none is given
		exist:     field(0, "status", "replicas"),
		updated:   field(0, "status", "updatedReplicas"),
		ready:     field(0, "status", "readyReplicas"),
		available: field(0, "status", "availableReplicas"),
	}
	switch kind {
	case kindReplicaSet, kindController:
		n.updated = n.exist // they know one revision only
	case kindStatefulSet:
		if _, found, err := unstructured.NestedInt64(object.Object, "status", "availableReplicas"); !found || err != nil {
			n.available = n.ready
		}
		// Pods below the partition stay as they are.
		partition := field(0, "spec", "updateStrategy", "rollingUpdate", "partition")
		n.updated = min(n.wanted, n.updated+partition)
	}
	return n
}

// text says what is missing, or nothing when the numbers do not tell.
func (n counts) text() string {
	switch {
	case n.updated < n.wanted:
		return fmt.Sprintf("%d of %d updated", n.updated, n.wanted)
	case n.available < n.wanted:
		return fmt.Sprintf("%d of %d available", n.available, n.wanted)
	case n.ready < n.wanted:
		return fmt.Sprintf("%d of %d ready", n.ready, n.wanted)
	case n.exist > n.wanted:
		return fmt.Sprintf("%d old Pods to go", n.exist-n.wanted)
	default:
		return ""
	}
}

// replicaFailure says why a workload cannot make Pods, such as a quota; nothing when it can.
func replicaFailure(object *unstructured.Unstructured) string {
	conditions, err := status.GetObjectWithConditions(object.Object)
	if err != nil {
		return ""
	}
	for _, condition := range conditions.Status.Conditions {
		if condition.Type == string(appsv1.DeploymentReplicaFailure) && condition.Status == corev1.ConditionTrue {
			return condition.Message
		}
	}
	return ""
}

// asReplicaSet returns a shallow copy of a ReplicationController under the name of a kind that kstatus knows. The fields
// that matter are the same.
func asReplicaSet(object *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: make(map[string]any, len(object.Object))}
	for key, value := range object.Object {
		out.Object[key] = value
	}
	out.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	return out
}

// convert fills a typed object.
func convert(object *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)
}

// join joins two texts of which either may be missing.
func join(first, second string) string {
	switch {
	case first == "":
		return second
	case second == "":
		return first
	default:
		return first + ": " + second
	}
}

func or(text, otherwise string) string {
	if strings.TrimSpace(text) == "" {
		return otherwise
	}
	return text
}
