package helm

import (
	"context"
	"time"

	"helm.sh/helm/v3/pkg/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ketches/helm-operator/operator/internal/readiness"
)

// detached returns a context with the values of ctx that never ends.
func detached(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// waitedFor returns the objects as waits take them. What the API server answered when they were written says of most that
// they are ready already.
func waitedFor(resources kube.ResourceList) []readiness.Object {
	out := make([]readiness.Object, 0, len(resources))
	for _, info := range resources {
		object := readiness.Object{
			Kind:      info.Mapping.GroupVersionKind.Kind,
			Resource:  info.Mapping.Resource,
			Namespace: info.Namespace,
			Name:      info.Name,
		}
		// Without a UID it is a manifest, not an answer.
		if live, ok := info.Object.(*unstructured.Unstructured); ok && live.GetUID() != "" {
			object.Live = live
		}
		out = append(out, object)
	}
	return out
}

// waitOptions returns those of the next wait of an operation.
func (op *operation) waitOptions(timeout time.Duration) readiness.Options {
	return readiness.Options{
		Timeout: timeout,
		Reports: op.reports,
		Idle:    op.callbacks.Idle,
		Busy:    op.callbacks.Busy,
	}
}

// call tells an operation whom to tell about its waits.
func (op *operation) call(callbacks Callbacks) {
	op.callbacks = callbacks
	if callbacks.Progress == nil || op.unknown != nil {
		return
	}
	op.reports = op.who.hub.Reports(func(text string) { callbacks.Progress(op.mask.text(text)) })
}
