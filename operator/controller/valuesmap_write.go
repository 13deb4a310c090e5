package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

const (
	// writesPerPass bounds how many ConfigMaps are written before other repositories have a turn.
	writesPerPass = 64
	// maxValuesBytes is what the API server takes as the data of a ConfigMap (MaxSecretSize in k8s.io/kubernetes/pkg/apis/core).
	maxValuesBytes = 1 << 20
	// repairPause is how often a ConfigMap that somebody else keeps writing is looked at.
	repairPause = time.Minute
	// firstValuesRetry and longestValuesRetry are the pauses before a ConfigMap that could not be made is tried again, unless its
	// chart changes.
	firstValuesRetry   = time.Minute
	longestValuesRetry = time.Hour
	// cacheGrace is how long the cache may need to hear of a ConfigMap that was made. It mostly takes milliseconds.
	cacheGrace = 10 * time.Second
)

// configMap is one of our ConfigMaps, by its metadata.
type configMap struct {
	valuesmap.Existing
	uid             types.UID
	resourceVersion string
}

// madeConfigMap is one that was made a moment ago.
type madeConfigMap struct {
	configMap
	at time.Time
}

// observe reads which ConfigMaps there are.
func (p *valuesPass) observe(ctx context.Context, namer *valuesmap.Namer) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kindConfigMap + "List"))
	owner := repositoryKey(p.repository.Namespace, p.repository.Name)
	if err := p.known.List(ctx, list, kube.MatchingFields{indexValuesOwner: owner}, kube.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the ConfigMaps of the repository: %w", err)
	}
	p.existing = make(map[string]*configMap, len(list.Items))
	for i := range list.Items {
		object := &list.Items[i]
		if !object.DeletionTimestamp.IsZero() {
			continue // somebody's finalizer holds it
		}
		have := &configMap{uid: object.UID, resourceVersion: object.ResourceVersion, Existing: valuesmap.Existing{
			Name: object.Name, Chart: namer.ChartOf(object.Name, object.Labels, object.Annotations),
			Digest: object.Annotations[valuesmap.DigestAnnotation],
		}}
		have.UnusedSince, _ = time.Parse(time.RFC3339, object.Annotations[valuesmap.UnusedAnnotation]) // unreadable: counts anew
		have.Foreign = metav1.GetControllerOf(object).UID != p.repository.UID
		have.Touched = p.isTouched(have)
		p.existing[have.Name] = have
	}
	for name, made := range p.made {
		if end := made.at.Add(cacheGrace); p.existing[name] == nil && p.now.Before(end) {
			p.existing[name] = &made.configMap
			p.until(end) // it may have been deleted meanwhile
			continue
		}
		delete(p.made, name)
	}
	maps.DeleteFunc(p.seen, func(name, _ string) bool { return p.existing[name] == nil })
	maps.DeleteFunc(p.repaired, func(name string, _ time.Time) bool { return p.existing[name] == nil })
	maps.DeleteFunc(p.contests, func(name string, _ contest) bool { return p.existing[name] == nil })
	return nil
}

// contest is that somebody else changed a ConfigMap at the same moment as we would have.
type contest struct {
	since, last time.Time
	times       int // from since to last
}

// contested notes that, and looks again: at once the first time, since mostly it is the cache that was late, and then with a pause.
// What happens before the cache had time to catch up is still the same time.
func (p *valuesPass) contested(name string) {
	p.done.Lock()
	defer p.done.Unlock()
	c := p.contests[name]
	switch {
	case p.now.Sub(c.since) >= repairPause:
		c = contest{since: p.now, last: p.now, times: 1}
	case p.now.Sub(c.last) >= conflictPause:
		c.last, c.times = p.now, c.times+1
	}
	if c.times == 1 {
		p.until(p.now.Add(conflictPause))
	} else {
		p.until(c.since.Add(repairPause))
	}
	p.contests[name] = c
}

// isContested reports whether a ConfigMap is to be left alone for now because somebody else keeps changing it.
func (p *valuesPass) isContested(name string) bool {
	end := p.contests[name].since.Add(repairPause)
	if p.contests[name].times < 2 || !end.After(p.now) {
		return false
	}
	p.until(end)
	return true
}

// isTouched reports whether somebody else wrote a ConfigMap since it was last seen or written here.
func (p *valuesPass) isTouched(have *configMap) bool {
	seen, ok := p.seen[have.Name]
	if !ok {
		p.seen[have.Name] = have.resourceVersion
		return false
	}
	if !isNewer(have.resourceVersion, seen) {
		return false // the cache may be late
	}
	if last, ok := p.repaired[have.Name]; ok && p.now.Sub(last) < repairPause {
		p.until(last.Add(repairPause))
		return false
	}
	return true
}

// isNewer compares resource versions, which are numbers for the kinds of Kubernetes itself.
func isNewer(a, b string) bool {
	left, errLeft := strconv.ParseUint(a, 10, 64)
	right, errRight := strconv.ParseUint(b, 10, 64)
	return errLeft == nil && errRight == nil && left > right
}

// act does what was planned; more says that something is left for the next pass.
func (p *valuesPass) act(ctx context.Context, plan *valuesmap.Plan) (more bool, err error) {
	since := p.now.UTC().Format(time.RFC3339)
	for _, step := range []struct {
		done  string
		names []string
		do    func(context.Context, *configMap) error
	}{
		{"removed", plan.Remove, p.remove},
		{"marked as unused", plan.Age, func(ctx context.Context, have *configMap) error { return p.annotate(ctx, have, &since) }},
		{"marked as used", plan.Revive, func(ctx context.Context, have *configMap) error { return p.annotate(ctx, have, nil) }},
	} {
		for _, name := range step.names {
			if err := p.change(ctx, step.done, name, step.do); err != nil {
				return false, err
			}
		}
	}
	p.dropProblems(plan.Write)
	writes := slices.DeleteFunc(slices.Clone(plan.Write), func(w valuesmap.Write) bool {
		return p.isHeld(w.Name, w.Digest) || p.isContested(w.Name)
	})
	if len(writes) > writesPerPass {
		writes, more = writes[:writesPerPass], true
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(valuesAtOnce)
	for _, w := range writes {
		group.Go(func() error { return p.write(groupCtx, w) })
	}
	return more, group.Wait()
}

// change does something to a ConfigMap that is there. One that must not be changed, or that somebody else changes, is not in the way of
// others.
func (p *valuesPass) change(ctx context.Context, done, name string, do func(context.Context, *configMap) error) error {
	key := done + " " + name // no ConfigMap has a space in its name
	if p.isContested(name) {
		return nil
	}
	if p.isHeld(key, "") {
		p.spared[key] = true
		return nil
	}
	err := do(ctx, p.existing[name])
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		p.contested(name)
		return nil
	case isRefused(err):
		p.problem(key, "", firstValuesRetry, "ConfigMap %s cannot be %s, which the API server refuses: %s", name, done, err)
		p.spared[key] = true
		return nil
	}
	return fmt.Errorf("ConfigMap %s could not be %s: %w", name, done, err)
}

// write makes a ConfigMap, or writes it again.
func (p *valuesPass) write(ctx context.Context, w valuesmap.Write) error {
	if !w.Exists {
		taken, err := p.isTaken(ctx, w.Name)
		if err != nil {
			return err
		}
		if taken {
			p.problem(w.Name, w.Digest, firstValuesRetry, "ConfigMap %s exists and is not of this repository, so it is left alone; "+
				"delete or rename it to get the values of chart %s", w.Name, w.Chart)
			p.done.Lock()
			p.problems[w.Name].taken = true
			p.done.Unlock()
			return nil
		}
	}
	detail, err := p.charts.Detail(ctx, client.ChartRequest{
		Source: p.source, Chart: w.Chart.Name, Version: w.Chart.Version, MinRevision: p.newest(p.source),
	}, client.PartValues)
	switch {
	case err != nil && isAbout(ctx, err):
		p.problem(w.Name, w.Digest, retryAfter(err), "the values of chart %s could not be read: %s", w.Chart, err)
		return nil
	case err != nil:
		return err
	case len(detail.Values) > maxValuesBytes:
		p.problem(w.Name, detail.Version.Digest, 0, "values.yaml of chart %s has %d bytes, and a ConfigMap holds at most %d",
			w.Chart, len(detail.Values), maxValuesBytes)
		return nil
	}
	if w.Exists {
		err = p.rewrite(ctx, w, &detail)
	} else {
		err = p.create(ctx, w, &detail)
	}
	switch {
	case apierrors.IsAlreadyExists(err): // the cache is late: the event of its creation wakes us
		return nil
	case apierrors.IsConflict(err):
		p.contested(w.Name)
		return nil
	case isRefused(err):
		p.problem(w.Name, detail.Version.Digest, firstValuesRetry, "ConfigMap %s of chart %s is refused by the API server: %s", w.Name, w.Chart, err)
		return nil
	case apierrors.IsNotFound(err): // it was deleted meanwhile: that is an event, too
		return nil
	case err != nil:
		return fmt.Errorf("write ConfigMap %s: %w", w.Name, err)
	}
	return nil
}

// isRefused reports whether the API server will not have a change, while others may go through.
func isRefused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) || apierrors.IsForbidden(err) && !isEnding(err)
}

// isEnding reports whether a namespace is being deleted.
func isEnding(err error) bool { return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) }

// isTaken reports whether somebody else has a ConfigMap of that name.
func (p *valuesPass) isTaken(ctx context.Context, name string) (bool, error) {
	object := configMapMetadata()
	err := p.known.Get(ctx, types.NamespacedName{Namespace: p.repository.Namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (p *valuesPass) create(ctx context.Context, w valuesmap.Write, detail *client.Detail) error {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.repository.Namespace, Name: w.Name, Labels: valuesmap.Labels(p.repository.Name, w.Chart),
			Annotations: valuesmap.Annotations(p.repository.Name, w.Chart, detail.Version.Digest),
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(p.repository, v1alpha1.GroupVersion.WithKind(kindRepository)),
			},
		},
		Data: map[string]string{valuesmap.DataKey: detail.Values},
	}
	// Nobody waits for the end of these before the repository is gone.
	object.OwnerReferences[0].BlockOwnerDeletion = nil
	if err := p.client.Create(ctx, object); err != nil {
		return err
	}
	p.written(w, object.ResourceVersion, true)
	p.done.Lock()
	defer p.done.Unlock()
	p.made[w.Name] = madeConfigMap{at: p.now, configMap: configMap{
		Existing: valuesmap.Existing{Name: w.Name, Chart: w.Chart, Digest: detail.Version.Digest}, uid: object.UID, resourceVersion: object.ResourceVersion,
	}}
	return nil
}

// rewrite makes a ConfigMap hold what it should. Other labels, annotations and keys stay. One that holds it already is not written.
func (p *valuesPass) rewrite(ctx context.Context, w valuesmap.Write, detail *client.Detail) error {
	have := p.existing[w.Name]
	object, err := p.patch(ctx, have, map[string]any{
		"labels":      valuesmap.Labels(p.repository.Name, w.Chart),
		"annotations": valuesmap.Annotations(p.repository.Name, w.Chart, detail.Version.Digest),
	}, map[string]any{valuesmap.DataKey: detail.Values})
	if err != nil {
		return err
	}
	p.written(w, object.ResourceVersion, object.ResourceVersion != have.resourceVersion)
	if have.Touched {
		p.done.Lock()
		p.repaired[w.Name] = p.now
		p.done.Unlock()
	}
	return nil
}

// annotate sets since when a ConfigMap is unused; nil for not.
func (p *valuesPass) annotate(ctx context.Context, have *configMap, unusedSince *string) error {
	object, err := p.patch(ctx, have, map[string]any{"annotations": map[string]*string{valuesmap.UnusedAnnotation: unusedSince}}, nil)
	if err != nil {
		return err
	}
	have.resourceVersion = object.ResourceVersion
	if !have.Touched { // else it is to be written again, once it is wanted
		p.seen[have.Name] = object.ResourceVersion
	}
	return nil
}

// patch changes a ConfigMap unless somebody else did meanwhile.
func (p *valuesPass) patch(
	ctx context.Context, have *configMap, metadata, data map[string]any,
) (*metav1.PartialObjectMetadata, error) {
	metadata["resourceVersion"] = have.resourceVersion
	body := map[string]any{"metadata": metadata}
	if data != nil {
		body["data"] = data
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	object := configMapMetadata()
	object.Namespace, object.Name = p.repository.Namespace, have.Name
	return object, p.client.Patch(ctx, object, kube.RawPatch(types.MergePatchType, raw))
}

func (p *valuesPass) remove(ctx context.Context, have *configMap) error {
	object := configMapMetadata()
	object.Namespace, object.Name = p.repository.Namespace, have.Name
	if err := p.client.Delete(ctx, object, kube.Preconditions{UID: &have.uid, ResourceVersion: &have.resourceVersion}); err != nil {
		return err
	}
	p.metrics.removed(p.repository)
	p.changes.removed = append(p.changes.removed, have.Name)
	return nil
}

// written notes that a ConfigMap holds what it should; news says that it did not before.
func (p *valuesPass) written(w valuesmap.Write, resourceVersion string, news bool) {
	p.done.Lock()
	defer p.done.Unlock()
	delete(p.problems, w.Name)
	p.seen[w.Name] = resourceVersion
	if !news {
		return
	}
	p.metrics.written(p.repository, w.Chart.Name)
	if w.Exists {
		p.changes.renewed = append(p.changes.renewed, w.Name)
	} else {
		p.changes.made = append(p.changes.made, w.Name)
	}
}
