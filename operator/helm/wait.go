package helm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"
)

// firstPoll is the first pause between two looks at an object. It doubles up to the client's Poll: most objects are ready
// at once or soon, and slow ones need no close look.
const firstPoll = 100 * time.Millisecond

// namedObjects is how many objects a message about a wait names.
const namedObjects = 3

// waiter looks at objects until they are ready, or gone.
type waiter struct {
	op      *operation
	jobs    bool
	checker kube.ReadyChecker
	// reason is what the checker said last. A waiter is used by one goroutine.
	reason string
}

func newWaiter(op *operation, jobs bool) *waiter {
	w := &waiter{op: op, jobs: jobs}
	w.checker = kube.NewReadyChecker(op.client.kube, func(format string, args ...any) {
		w.reason = fmt.Sprintf(format, args...)
	}, kube.PausedAsReady(true))
	return w
}

// detached returns a context with the values of ctx that never ends.
func detached(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// ready waits until all objects are ready. The error names those that are not, and why.
func (w *waiter) ready(ctx context.Context, resources kube.ResourceList, timeout time.Duration) error {
	done, err := w.poll(ctx, timeout, func(ctx context.Context) (bool, error) {
		for _, info := range resources {
			ready, err := w.isReady(ctx, info)
			if transient(err) {
				ready, err = false, nil // looked at again
			}
			if err != nil {
				return false, fmt.Errorf("%s: %w", objectName(info), err)
			}
			if !ready {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil || done {
		return err
	}
	return fmt.Errorf("%w after %s waiting for objects to be ready%s", ErrTimeout, timeout, w.explain(resources))
}

// gone waits until all objects are gone. The error names those that are not, and what holds them.
func (w *waiter) gone(ctx context.Context, resources kube.ResourceList, timeout time.Duration) error {
	remaining := resources
	done, err := w.poll(ctx, timeout, func(context.Context) (bool, error) {
		var left kube.ResourceList
		for _, info := range remaining {
			err := info.Get()
			switch {
			case apierrors.IsNotFound(err):
			case err == nil, transient(err):
				left = append(left, info)
			default:
				return false, fmt.Errorf("%s: %w", objectName(info), err)
			}
		}
		remaining = left
		return len(left) == 0, nil
	})
	if err != nil || done {
		return err
	}
	names := make([]string, 0, namedObjects)
	for _, info := range remaining {
		names = append(names, objectName(info)+heldBy(info))
	}
	return fmt.Errorf("%w after %s waiting for objects to be gone%s", ErrTimeout, timeout, enumerate(names))
}

// heldBy names the finalizers of an object.
func heldBy(info *resource.Info) string {
	accessor, err := meta.Accessor(info.Object)
	if err != nil || len(accessor.GetFinalizers()) == 0 {
		return ""
	}
	return " (finalizers " + strings.Join(accessor.GetFinalizers(), ", ") + ")"
}

// poll calls check until it is done, fails, or the time is over, which it tells by false and no error.
func (w *waiter) poll(
	ctx context.Context, timeout time.Duration, check func(context.Context) (bool, error),
) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := min(firstPoll, w.op.client.poll)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		done, err := check(ctx)
		switch {
		case ctx.Err() != nil:
			// What a check says when its requests were cut off means nothing, unless it was through.
			return done && err == nil, nil
		case done || err != nil:
			return done, err
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-timer.C:
		}
		pause = min(2*pause, w.op.client.poll)
		timer.Reset(pause)
	}
}

// isReady looks at one object. An error wrapping ErrFailed says that it never will be ready.
func (w *waiter) isReady(ctx context.Context, info *resource.Info) (bool, error) {
	w.reason = ""
	kube := w.op.client.kube
	switch object := kubeVersioned(info).(type) {
	case *batchv1.Job:
		if !w.jobs {
			return true, nil
		}
		job, err := kube.BatchV1().Jobs(info.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return w.jobReady(job)
	case *corev1.Service:
		service, err := kube.CoreV1().Services(info.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		// An address of a load balancer may need an hour or a quota; Helm 3 waits for it, we do not.
		return service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.ClusterIP != "", nil
	default:
		return w.checker.IsReady(ctx, info)
	}
}

func (w *waiter) jobReady(job *batchv1.Job) (bool, error) {
	for _, condition := range job.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete:
			return true, nil
		case batchv1.JobFailed:
			return false, fmt.Errorf("%w: %s: %s", ErrFailed, condition.Reason, condition.Message)
		}
	}
	w.reason = fmt.Sprintf("Job is not complete: %d active, %d failed", job.Status.Active, job.Status.Failed)
	return false, nil
}

// transient reports whether a look at an object may go better next time.
func transient(err error) bool {
	if err == nil || errors.Is(err, ErrFailed) {
		return false
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	code := status.Status().Code
	return code == 0 || code == http.StatusTooManyRequests ||
		(code >= http.StatusInternalServerError && code != http.StatusNotImplemented)
}

// enumerate returns ": a; b; c and 2 more", or nothing.
func enumerate(names []string) string {
	if len(names) == 0 {
		return ""
	}
	if more := len(names) - namedObjects; more > 0 {
		return fmt.Sprintf(": %s and %d more", strings.Join(names[:namedObjects], "; "), more)
	}
	return ": " + strings.Join(names, "; ")
}
