package helm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
)

// explainTimeout bounds the requests that find out why objects are not ready.
const explainTimeout = 10 * time.Second

// explainedPods is how many Pods of a workload are looked at.
const explainedPods = 20

// explain says which objects are not ready and why, in the form of enumerate.
func (w *waiter) explain(resources kube.ResourceList) string {
	ctx, cancel := context.WithTimeout(detached(w.op.ctx), explainTimeout)
	defer cancel()
	var names []string
	for _, info := range resources {
		ready, err := w.isReady(ctx, info)
		if ready && err == nil {
			continue
		}
		if len(names) >= namedObjects {
			// Only counted from here on: each explanation costs requests.
			names = append(names, "")
			continue
		}
		reason := w.reason
		switch {
		case err != nil:
			reason = objectName(info) + ": " + err.Error()
		case reason == "":
			reason = objectName(info) + " is not ready"
		}
		if why := w.why(ctx, info); why != "" {
			reason += ": " + why
		}
		names = append(names, reason)
	}
	return enumerate(names)
}

// why looks for what keeps a workload from being ready: Pods that cannot be made, scheduled or started.
func (w *waiter) why(ctx context.Context, info *resource.Info) string {
	object := kubeVersioned(info)
	if pod, ok := object.(*corev1.Pod); ok {
		live, err := w.op.client.kube.CoreV1().Pods(info.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return podTrouble(live)
	}
	if _, ok := object.(*appsv1.Deployment); ok {
		live, err := w.op.client.kube.AppsV1().Deployments(info.Namespace).Get(ctx, info.Name, metav1.GetOptions{})
		if err == nil {
			for _, condition := range live.Status.Conditions {
				if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
					return condition.Message
				}
			}
		}
	}
	if _, ok := object.(*corev1.Service); ok {
		return ""
	}
	selector, err := kube.SelectorsForObject(object)
	if err != nil {
		return ""
	}
	pods, err := w.op.client.kube.CoreV1().Pods(info.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: selector.String(),
		Limit:         explainedPods,
	})
	if err != nil {
		return ""
	}
	// The newest Pods are those of the revision that is being deployed.
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	for i := range pods.Items {
		if trouble := podTrouble(&pods.Items[i]); trouble != "" {
			return fmt.Sprintf("Pod %s: %s", pods.Items[i].Name, trouble)
		}
	}
	return ""
}

// podTrouble says why a Pod does not run, or nothing.
func podTrouble(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return join(condition.Reason, condition.Message)
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waiting := status.State.Waiting; waiting != nil {
			switch waiting.Reason {
			case "ContainerCreating", "PodInitializing":
			default:
				return fmt.Sprintf("container %s: %s", status.Name, join(waiting.Reason, waiting.Message))
			}
		}
		if ended := status.State.Terminated; ended != nil && ended.ExitCode != 0 {
			return fmt.Sprintf("container %s ended with exit code %d: %s",
				status.Name, ended.ExitCode, join(ended.Reason, ended.Message))
		}
	}
	return ""
}

// join joins a reason and a message of which either may be missing.
func join(reason, message string) string {
	return strings.Trim(reason+": "+message, ": ")
}

// kubeVersioned returns the typed form of an object, so far as client-go knows it.
func kubeVersioned(info *resource.Info) runtime.Object { return kube.AsVersioned(info) }
