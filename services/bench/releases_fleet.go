package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// writers is how many objects are written at once by what stands for the people who apply them.
const writers = 16

// fleet is a number of HelmReleases in a namespace.
type fleet struct {
	objects   client.WithWatch
	namespace string
}

// newFleet makes the namespace.
func newFleet(ctx context.Context, kubeconfig, namespace string) (*fleet, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // the floor is what the API server can do
	scheme := runtime.NewScheme()
	err = errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), networkingv1.AddToScheme(scheme))
	if err != nil {
		return nil, err
	}
	f := &fleet{namespace: namespace}
	if f.objects, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if err := f.objects.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", namespace, err)
	}
	return f, nil
}

func releaseName(number int) string { return fmt.Sprintf("small-%04d", number) }

// release is a HelmRelease of the small chart.
func (f *fleet) release(name, version, values string) *v1alpha1.HelmRelease {
	r := &v1alpha1.HelmRelease{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name},
		Spec: v1alpha1.HelmReleaseSpec{
			Chart:   v1alpha1.ChartSpec{Name: smallChart, Version: version, Repository: &v1alpha1.RepositoryReference{Name: repositoryName(0)}},
			Install: &v1alpha1.InstallSpec{Wait: ptr.To(true)},
			Upgrade: &v1alpha1.UpgradeSpec{Wait: ptr.To(true)},
		},
	}
	if values != "" {
		r.Spec.Values = &v1alpha1.Values{Raw: []byte(values)}
	}
	return r
}

// each does something for a number of things, some at once.
func each(ctx context.Context, number int, do func(ctx context.Context, number int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	next := make(chan int)
	for range writers {
		group.Go(func() {
			for n := range next {
				if err := do(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	for n := range number {
		if ctx.Err() != nil {
			break
		}
		next <- n
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

// apply writes HelmReleases and returns how long it takes until all are Ready.
func (f *fleet) apply(ctx context.Context, number int, write func(ctx context.Context, number int) error) (time.Duration, error) {
	return f.applyUntil(ctx, number, isReady, write)
}

// applyUntil writes HelmReleases and returns how long it takes until all are as wanted.
func (f *fleet) applyUntil(
	ctx context.Context, number int, wanted func(*v1alpha1.HelmRelease) bool, write func(ctx context.Context, number int) error,
) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it took too long"))
	defer cancel()
	generations := make(map[string]int64, number)
	before, err := f.list(ctx)
	if err != nil {
		return 0, err
	}
	for i := range before.Items {
		generations[before.Items[i].Name] = before.Items[i].Generation
	}
	changes, err := f.watch(ctx, before.ResourceVersion)
	if err != nil {
		return 0, err
	}
	defer func() { changes.Stop() }()
	start := time.Now()
	written := make(chan error, 1)
	go func() { written <- each(ctx, number, write) }()
	done := map[string]bool{}
	notYet := "nothing"
	look := func(release *v1alpha1.HelmRelease) {
		if release.Generation > generations[release.Name] && wanted(release) {
			done[release.Name] = true
		} else if len(release.Status.Conditions) > 0 {
			notYet = fmt.Sprintf("%s: %+v", release.Name, release.Status.Conditions[0])
		}
	}
	for len(done) < number {
		select {
		case change, open := <-changes.ResultChan():
			if open {
				if release, ok := change.Object.(*v1alpha1.HelmRelease); ok {
					look(release)
				}
				continue
			}
			// The API server ends watches that are slow to read.
			next, err := f.again(ctx, look)
			if err != nil {
				return 0, err
			}
			changes = next
		case err := <-written:
			if err != nil {
				return 0, err
			}
			written = nil
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d HelmReleases are as they should be: %w; seen last: %s", len(done), number, context.Cause(ctx), notYet)
		}
	}
	return time.Since(start), nil
}

// watch watches the HelmReleases from a version on.
func (f *fleet) watch(ctx context.Context, version string) (watch.Interface, error) {
	changes, err := f.objects.Watch(ctx, &v1alpha1.HelmReleaseList{}, client.InNamespace(f.namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return nil, fmt.Errorf("watch HelmReleases: %w", err)
	}
	return changes, nil
}

// again looks at all HelmReleases and watches them from there on.
func (f *fleet) again(ctx context.Context, look func(*v1alpha1.HelmRelease)) (watch.Interface, error) {
	list, err := f.list(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		look(&list.Items[i])
	}
	return f.watch(ctx, list.ResourceVersion)
}

// isReady reports whether a release is Ready as its spec is now.
func isReady(release *v1alpha1.HelmRelease) bool {
	ready := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == release.Generation
}

// isWaiting reports whether the operation of a release waits for something.
func isWaiting(release *v1alpha1.HelmRelease) bool {
	return release.Status.Operation != nil && strings.Contains(release.Status.Operation.Message, "; waiting for ")
}

func (f *fleet) list(ctx context.Context) (*v1alpha1.HelmReleaseList, error) {
	list := &v1alpha1.HelmReleaseList{}
	if err := f.objects.List(ctx, list, client.InNamespace(f.namespace)); err != nil {
		return nil, fmt.Errorf("list HelmReleases: %w", err)
	}
	return list, nil
}

// install creates HelmReleases.
func (f *fleet) install(ctx context.Context, number int, version string) (time.Duration, error) {
	return f.apply(ctx, number, func(ctx context.Context, n int) error {
		return f.objects.Create(ctx, f.release(releaseName(n), version, ""))
	})
}

// upgrade asks them for another version.
func (f *fleet) upgrade(ctx context.Context, number int, version string) (time.Duration, error) {
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"chart":{"version":%q}}}`, version))
	return f.apply(ctx, number, func(ctx context.Context, n int) error {
		return f.objects.Patch(ctx, f.release(releaseName(n), version, ""), patch)
	})
}

// floor writes the objects of releases without any operator, and returns how long that takes: nothing can be faster.
func (f *fleet) floor(ctx context.Context, number int) (time.Duration, error) {
	start := time.Now()
	err := each(ctx, number, func(ctx context.Context, n int) error {
		for _, object := range smallObjectsOf(f.namespace, releaseName(n)) {
			if err := f.objects.Create(ctx, object); err != nil {
				return err
			}
		}
		return nil
	})
	return time.Since(start), err
}

// smallObjectsOf are the objects of one release, and the Secret that Helm makes of it.
func smallObjectsOf(namespace, name string) []client.Object {
	at := metav1.ObjectMeta{Namespace: namespace, Name: name}
	labels := map[string]string{"app": name}
	prefix := networkingv1.PathTypePrefix
	return []client.Object{
		&corev1.Secret{ObjectMeta: at, Data: map[string][]byte{"release": make([]byte, 4<<10)}},
		&corev1.ServiceAccount{ObjectMeta: at},
		&corev1.Service{ObjectMeta: at, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}},
		&appsv1.Deployment{ObjectMeta: at, Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.invalid/web:1"}}},
			},
		}},
		&networkingv1.Ingress{ObjectMeta: at, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: name + ".example.invalid",
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: name, Port: networkingv1.ServiceBackendPort{Number: 80},
				}},
			}}}},
		}}}},
	}
}
