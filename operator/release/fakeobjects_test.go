package release

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// fakeObjects is an API server for one HelmRelease.
type fakeObjects struct {
	mu           sync.Mutex
	stored       *v1alpha1.HelmRelease
	writes       int
	repositories []v1alpha1.HelmRepository
	other        *types.NamespacedName
	// releases are the other HelmReleases, values the ConfigMaps and Secrets by kind, namespace and name.
	releases map[types.NamespacedName]*v1alpha1.HelmRelease
	values   map[string]map[string][]byte
	broken   error    // of reads of values
	accounts []string // ServiceAccounts that exist
}

func (o *fakeObjects) write(release *v1alpha1.HelmRelease, change func(stored *v1alpha1.HelmRelease)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stored == nil || o.stored.ResourceVersion != release.ResourceVersion {
		return fmt.Errorf("patch: %w", ErrConflict)
	}
	change(o.stored)
	o.bump()
	o.stored.DeepCopyInto(release)
	return nil
}

func (o *fakeObjects) bump() {
	o.writes++
	o.stored.ResourceVersion = strconv.Itoa(o.writes)
}

func (o *fakeObjects) PatchStatus(_ context.Context, _, draft *v1alpha1.HelmRelease) error {
	status := draft.Status.DeepCopy()
	return o.write(draft, func(stored *v1alpha1.HelmRelease) { stored.Status = *status })
}

func (o *fakeObjects) AddFinalizer(_ context.Context, release *v1alpha1.HelmRelease) error {
	return o.write(release, func(stored *v1alpha1.HelmRelease) { stored.Finalizers = []string{v1alpha1.ReleaseFinalizer} })
}

func (o *fakeObjects) RemoveFinalizer(_ context.Context, release *v1alpha1.HelmRelease) error {
	return o.write(release, func(stored *v1alpha1.HelmRelease) { stored.Finalizers = nil })
}

func (o *fakeObjects) Fresh(context.Context, types.NamespacedName) (*v1alpha1.HelmRelease, bool, error) {
	release := o.get()
	return release, release != nil, nil
}

func (o *fakeObjects) Repository(_ context.Context, key types.NamespacedName) (*v1alpha1.HelmRepository, bool, error) {
	for i := range o.repositories {
		if o.repositories[i].Namespace == key.Namespace && o.repositories[i].Name == key.Name {
			return &o.repositories[i], true, nil
		}
	}
	return nil, false, nil
}

func (o *fakeObjects) Repositories(context.Context, string) ([]v1alpha1.HelmRepository, error) {
	return o.repositories, nil
}

func (o *fakeObjects) Release(_ context.Context, key types.NamespacedName) (*v1alpha1.HelmRelease, bool, error) {
	if key == appKey {
		return o.get(), true, nil
	}
	release, found := o.releases[key]
	return release, found, nil
}

func (o *fakeObjects) Dependents(_ context.Context, key types.NamespacedName) ([]v1alpha1.HelmRelease, error) {
	var dependents []v1alpha1.HelmRelease
	for _, release := range o.releases {
		if slices.Contains(DependenciesOf(release), key) {
			dependents = append(dependents, *release)
		}
	}
	return dependents, nil
}

func (o *fakeObjects) HasServiceAccount(_ context.Context, key types.NamespacedName) (bool, error) {
	return slices.Contains(o.accounts, key.String()), nil
}

func (o *fakeObjects) ValuesObject(_ context.Context, kind string, key types.NamespacedName) (map[string][]byte, bool, error) {
	data, found := o.values[kind+" "+key.String()]
	return data, found, o.broken
}

func (o *fakeObjects) OtherOwner(context.Context, types.NamespacedName, Target, string) (types.NamespacedName, bool, error) {
	if o.other == nil {
		return types.NamespacedName{}, false, nil
	}
	return *o.other, true, nil
}

func (o *fakeObjects) get() *v1alpha1.HelmRelease {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stored.DeepCopy()
}

// edit changes the object as a person does.
func (o *fakeObjects) edit(change func(*v1alpha1.HelmRelease)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	spec := o.stored.Spec.DeepCopy()
	change(o.stored)
	if !assert.ObjectsAreEqual(*spec, o.stored.Spec) {
		o.stored.Generation++
	}
	o.bump()
}
