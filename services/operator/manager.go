package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/controller"
)

const (
	// leaderElectionID names the Lease. The original's, so that the two never work side by side.
	leaderElectionID = v1alpha1.GroupName
	// managerStopTimeout is how long the controllers have to end. The operations that run are interrupted and their
	// records unlocked in that time. Less than the whole process has.
	managerStopTimeout = 20 * time.Second
	// lastAppliedAnnotation repeats a whole spec, values included; nobody here reads it.
	lastAppliedAnnotation = corev1.LastAppliedConfigAnnotation
)

// newManager prepares controller-runtime's manager, which works until ctx ends. Probes and metrics are served by this process and not by
// it.
func newManager(ctx context.Context, config *rest.Config, leader leadership, watched scope, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	stopTimeout, lease, renew, retry := managerStopTimeout, leaseDuration, renewDeadline, retryPeriod
	manager, err := ctrl.NewManager(leader.fenced(config), ctrl.Options{
		Scheme: scheme,
		Logger: shutdownLog(ctx, log, leader),
		Cache: cache.Options{
			DefaultTransform: stripObject,
			// Only that they changed matters.
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Secret{}: {Transform: stripMetadata}, &corev1.ConfigMap{}: {Transform: stripMetadata},
				&v1alpha1.HelmRelease{}: {Label: watched.selector},
			},
			DefaultNamespaces: watched.cached(),
			// A read of a kind that nobody watches on purpose must not start an informer of, say, all Secrets.
			ReaderFailOnMissingInformer: true,
		},
		Client: client.Options{Cache: &client.CacheOptions{
			DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Namespace{}, &corev1.ServiceAccount{}},
		}},
		Metrics:                             metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:              "0",
		LeaderElection:                      leader.lock != nil,
		LeaderElectionResourceLockInterface: leader.lock,
		LeaderElectionReleaseOnCancel:       true, // the process ends right after the manager
		LeaseDuration:                       &lease,
		RenewDeadline:                       &renew,
		RetryPeriod:                         &retry,
		GracefulShutdownTimeout:             &stopTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the controllers: %w", err)
	}
	return manager, nil
}

// cached are the namespaces that are cached; nil for all.
func (s scope) cached() map[string]cache.Config {
	if len(s.namespaces) == 0 {
		return nil
	}
	namespaces := make(map[string]cache.Config, len(s.namespaces))
	for _, namespace := range s.namespaces {
		namespaces[namespace] = cache.Config{}
	}
	return namespaces
}

// watchOwnKinds makes the informers of our kinds start with the cache and not with the controllers, so that a standby
// replica is ready to take over.
func watchOwnKinds(ctx context.Context, manager ctrl.Manager) error {
	for _, object := range []client.Object{&v1alpha1.HelmRelease{}, &v1alpha1.HelmRepository{}} {
		_, err := manager.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the CustomResourceDefinitions are not installed: %w", err)
		}
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	return nil
}

// stripObject takes out of a cached object what nobody reads and what may be as large as the rest.
func stripObject(in any) (any, error) {
	object, err := meta.Accessor(in)
	if err != nil {
		return in, nil //nolint:nilerr // Not an object, but a mark that one was deleted: left alone.
	}
	object.SetManagedFields(nil)
	if annotations := object.GetAnnotations(); annotations[lastAppliedAnnotation] != "" {
		delete(annotations, lastAppliedAnnotation)
		object.SetAnnotations(annotations)
	}
	return in, nil
}

// stripMetadata takes everything out of the cached metadata of an object but what says which one it is, in which version, and of
// which Helm release it is a record. The operator's own ConfigMaps keep what it knows them by.
func stripMetadata(in any) (any, error) {
	object, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return in, nil
	}
	labels := map[string]string{}
	for _, name := range controller.RecordLabels() {
		if value, ok := object.Labels[name]; ok {
			labels[name] = value
		}
	}
	if controller.KeepsMetadata(object) {
		object.ManagedFields = nil
		return object, nil
	}
	object.ObjectMeta = metav1.ObjectMeta{
		Namespace: object.Namespace, Name: object.Name, UID: object.UID, ResourceVersion: object.ResourceVersion, Labels: labels,
	}
	return object, nil
}
