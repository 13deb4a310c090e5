package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/bench/measured"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

// Figures of Flux 2 with the same index on the same kind of control plane: quoted, not measured here.
const (
	fluxTime     = "Flux: 18.7 s (quoted, not measured)"
	fluxPeak     = "Flux: 778 MB (quoted, not measured)"
	fluxResident = "Flux: 443 MB (quoted, not measured)"
)

// measureStack measures how long a HelmRepository takes from apply to Ready, with both services on a real control plane.
func (b *bench) measureStack(ctx context.Context) (err error) {
	upstream, err := b.startUpstream(ctx, b.runs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upstream.stop()) }()
	programs, err := localstack.Build(ctx, b.stackConfig(), "chartcache", "operator")
	if err != nil {
		return err
	}
	stack, err := localstack.Start(ctx, b.stackConfig(), programs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Stop()) }()
	objects, err := newObjects(stack.Info.Kubeconfig)
	if err != nil {
		return err
	}
	cache, err := stack.Chartcache("chartcache-stack", b.path("stack-data"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cache.Terminate(time.Minute)) }()
	if err := cache.Start(ctx); err != nil {
		return err
	}
	operator, err := stack.Operator("operator-stack", cache.GRPC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, operator.Terminate(time.Minute)) }()
	if err := operator.Start(ctx); err != nil {
		return err
	}
	err = b.applyToReady(ctx, objects, upstream.url, cache)
	return withLog(withLog(err, operator), cache)
}

func newObjects(kubeconfig string) (client.WithWatch, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.NewWithWatch(config, client.Options{Scheme: scheme})
}

// applyToReady applies one repository after the other.
func (b *bench) applyToReady(ctx context.Context, objects client.WithWatch, url string, cache *localstack.Service) error {
	var times []time.Duration
	var first measured.Process
	for number := range b.runs {
		took, err := applyOne(ctx, objects, repositoryName(number), url+repositoryPath(number))
		if err != nil {
			return err
		}
		times = append(times, took)
		p, err := measured.ReadProcess(cache.PID())
		if err != nil {
			return err
		}
		b.say("  apply to Ready: %s, chartcache %s, peak %s", seconds(took), megabytes(p.Resident), megabytes(p.Peak))
		if number == 0 {
			first = p
		}
	}
	last, err := measured.ReadProcess(cache.PID())
	if err != nil {
		return err
	}
	const what = "a HelmRepository with that index, both services on the local control plane: "
	b.table.within(what+"apply to Ready", fluxTime, slices.Min(times), 1500*time.Millisecond, fmt.Sprintf(" (slowest %s)", seconds(slices.Max(times))))
	b.table.below(what+"peak memory of chartcache", fluxPeak, last.Peak, 120*megabyte, fmt.Sprintf(" (%s after the first of %d)", megabytes(first.Peak), b.runs))
	b.table.inform(row{what: what + "resident memory of chartcache just after", baseline: fluxResident, ours: megabytes(last.Resident)})
	return nil
}

// applyOne creates a HelmRepository and returns how long it takes until it is Ready.
func applyOne(ctx context.Context, objects client.WithWatch, name, url string) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it took too long"))
	defer cancel()
	const namespace = metav1.NamespaceDefault
	changes, err := objects.Watch(ctx, &v1alpha1.HelmRepositoryList{}, client.InNamespace(namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		return 0, fmt.Errorf("watch HelmRepository %s: %w", name, err)
	}
	defer changes.Stop()
	start := time.Now()
	if err := objects.Create(ctx, &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url},
	}); err != nil {
		return 0, fmt.Errorf("create HelmRepository %s: %w", name, err)
	}
	status := "nothing"
	for {
		select {
		case change, open := <-changes.ResultChan():
			took := time.Since(start)
			if !open {
				return 0, fmt.Errorf("the watch of HelmRepository %s ended", name)
			}
			repository, ok := change.Object.(*v1alpha1.HelmRepository)
			if !ok {
				return 0, fmt.Errorf("the watch of HelmRepository %s sent %s", name, change.Type)
			}
			if meta.IsStatusConditionTrue(repository.Status.Conditions, v1alpha1.ConditionReady) {
				return took, nil
			}
			status = fmt.Sprintf("%+v", repository.Status.Conditions)
		case <-ctx.Done():
			return 0, fmt.Errorf("wait until HelmRepository %s is Ready: %w; its conditions are %s", name, context.Cause(ctx), status)
		}
	}
}
