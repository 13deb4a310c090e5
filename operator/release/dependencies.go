package release

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// DependenciesOf returns the HelmReleases that must be Ready before a release is deployed, as its spec names them.
func DependenciesOf(release *v1alpha1.HelmRelease) []types.NamespacedName {
	keys := make([]types.NamespacedName, 0, len(release.Spec.DependsOn))
	for _, ref := range release.Spec.DependsOn {
		key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
		if key.Namespace == "" {
			key.Namespace = release.Namespace
		}
		keys = append(keys, key)
	}
	return keys
}

// IsReady reports whether a release is Ready as its spec is now.
func IsReady(release *v1alpha1.HelmRelease) bool {
	ready := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == release.Generation &&
		release.DeletionTimestamp.IsZero()
}

const (
	// namedReleases is how many releases a message names.
	namedReleases = 3
	// deletionSettles is how long the deletion of a release that others depend on waits for theirs. Who deletes several at once
	// deletes one after the other; deletion timestamps hold whole seconds.
	deletionSettles = 2 * time.Second
)

// observeDependencies finds out what must be Ready first.
func (p *pass) observeDependencies(ctx context.Context, f *Facts) error {
	var waiting []string
	for _, key := range DependenciesOf(p.draft) {
		dependency, found, err := p.cfg.Objects.Release(ctx, key)
		switch {
		case err != nil:
			return fmt.Errorf("read HelmRelease %s: %w", key, err)
		case !found:
			waiting = append(waiting, fmt.Sprintf("HelmRelease %s, which does not exist", key))
		case !IsReady(dependency):
			waiting = append(waiting, fmt.Sprintf("HelmRelease %s, which is not Ready", key))
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	cycle, err := p.findCycle(ctx)
	if err != nil {
		return err
	}
	if cycle != "" {
		f.Problem = &Problem{
			Reason: v1alpha1.ReasonConfigurationError, Stalled: true,
			Message: fmt.Sprintf("spec.dependsOn: these HelmReleases wait for each other: %s; remove one of the dependencies", cycle),
		}
		return nil
	}
	more := ""
	if len(waiting) > namedReleases {
		more = fmt.Sprintf(" and %d more", len(waiting)-namedReleases)
		waiting = waiting[:namedReleases]
	}
	f.DependencyProblem = &Problem{
		Reason: v1alpha1.ReasonDependencyNotReady, Temporary: true,
		Message: "spec.dependsOn: waiting for " + strings.Join(waiting, "; ") + more,
	}
	return nil
}

// findCycle returns a chain of dependencies that leads back to the release, such as "a/x -> a/y -> a/x"; empty when there is none.
func (p *pass) findCycle(ctx context.Context) (string, error) {
	path, err := p.pathTo(ctx, p.draft, p.key, map[types.NamespacedName]bool{})
	if len(path) == 0 || err != nil {
		return "", err
	}
	names := []string{p.key.String()}
	for _, key := range path {
		names = append(names, key.String())
	}
	return strings.Join(names, " -> "), nil
}

// pathTo returns a chain of dependencies of a release that ends with a wanted one; nothing when there is none.
func (p *pass) pathTo(
	ctx context.Context, from *v1alpha1.HelmRelease, wanted types.NamespacedName, seen map[types.NamespacedName]bool,
) ([]types.NamespacedName, error) {
	for _, key := range DependenciesOf(from) {
		if key == wanted {
			return []types.NamespacedName{key}, nil
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		next, found, err := p.cfg.Objects.Release(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("read HelmRelease %s: %w", key, err)
		}
		if !found {
			continue
		}
		rest, err := p.pathTo(ctx, next, wanted, seen)
		if err != nil || len(rest) > 0 {
			return append([]types.NamespacedName{key}, rest...), err
		}
	}
	return nil, nil
}

// observeDependents finds out which releases must be uninstalled before this one: those that depend on it and are being deleted,
// too, or soon may be. Releases that wait for each other are uninstalled in any order.
func (p *pass) observeDependents(ctx context.Context, f *Facts) error {
	dependents, err := p.cfg.Objects.Dependents(ctx, p.key)
	if err != nil {
		return fmt.Errorf("list the HelmReleases that depend on %s: %w", p.key, err)
	}
	settled := p.draft.DeletionTimestamp.Add(deletionSettles)
	for i := range dependents {
		dependent := &dependents[i]
		key := types.NamespacedName{Namespace: dependent.Namespace, Name: dependent.Name}
		path, err := p.pathTo(ctx, p.draft, key, map[types.NamespacedName]bool{})
		switch {
		case err != nil:
			return err
		case key == p.key, len(path) > 0:
		case !dependent.DeletionTimestamp.IsZero() && !hasFinalizer(dependent): // it is uninstalled; others keep the object
		case !dependent.DeletionTimestamp.IsZero():
			f.Dependent, f.DependentUntil = key.String(), time.Time{}
			return nil
		case f.Now.Before(settled) && settled.Before(f.Now.Add(clockSkew)): // else the clocks differ
			f.Dependent, f.DependentUntil = key.String(), settled
		}
	}
	return nil
}
