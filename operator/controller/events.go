package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ketches/helm-operator/operator/release"
)

// events writes events of core/v1, which `kubectl get events --field-selector involvedObject.name=...` finds. The recorder
// of events.k8s.io does not fit: it counts events with the same reason as one and keeps the text of the first.
type events struct {
	broadcaster record.EventBroadcaster
	scheme      *runtime.Scheme
}

// The limits on the events of one object. A broken object makes two or three each time it is tried, at most every minute.
const (
	eventBurst     = 100
	eventPerSecond = 1. / 15
)

// newEvents begins to write events with the client of a manager, until the manager stops.
func newEvents(mgr ctrl.Manager) (*events, error) {
	client, err := typedcorev1.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster(record.WithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize: eventBurst, QPS: eventPerSecond,
	}))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.Events("")})
	err = mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		<-ctx.Done()
		broadcaster.Shutdown()
		return nil
	}))
	return &events{broadcaster: broadcaster, scheme: mgr.GetScheme()}, err
}

// recorder returns a recorder whose events name a component as their source.
func (e *events) recorder(component string) release.Events {
	return e.broadcaster.NewRecorder(e.scheme, corev1.EventSource{Component: component})
}
