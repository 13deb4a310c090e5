package readiness

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// PodTrouble says why a Pod does not run, or nothing.
func PodTrouble(pod *corev1.Pod) string {
	for i := range pod.Status.Conditions {
		condition := &pod.Status.Conditions[i]
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return join(condition.Reason, condition.Message)
		}
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waiting := container.State.Waiting; waiting != nil {
			switch waiting.Reason {
			case "", "ContainerCreating", "PodInitializing":
			default:
				return fmt.Sprintf("container %s: %s", container.Name, join(waiting.Reason, waiting.Message))
			}
		}
		if ended := container.State.Terminated; ended != nil && ended.ExitCode != 0 {
			return fmt.Sprintf("container %s ended with exit code %d: %s",
				container.Name, ended.ExitCode, or(join(ended.Reason, ended.Message), "no reason given"))
		}
	}
	return ""
}

// podDefect returns what is wrong with a Pod that will not mend by itself, or nothing. These are containers whose image or
// configuration cannot be had and, when crashes counts, those that crash again and again.
func podDefect(pod *corev1.Pod, crashes bool) string {
	if pod.DeletionTimestamp != nil {
		return ""
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		waiting := container.State.Waiting
		if waiting == nil {
			continue
		}
		switch waiting.Reason {
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError":
		case "CrashLoopBackOff":
			if !crashes {
				continue
			}
		default:
			continue
		}
		return fmt.Sprintf("container %s: %s", container.Name, join(waiting.Reason, waiting.Message))
	}
	return ""
}

func toPod(object *unstructured.Unstructured) (*corev1.Pod, error) {
	var pod corev1.Pod
	if err := convert(object, &pod); err != nil {
		return nil, err
	}
	return &pod, nil
}
