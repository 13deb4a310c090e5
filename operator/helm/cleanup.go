package helm

import (
	"errors"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/resource"
)

// What Helm writes on objects of a release.
const (
	managedByLabel        = "app.kubernetes.io/managed-by"
	managedByHelm         = "Helm"
	releaseNameAnnotation = "meta.helm.sh/release-name"
	releaseNSAnnotation   = "meta.helm.sh/release-namespace"
)

// deleteCreated deletes the objects that a failed operation created. Those whose creation itself failed are not among
// them: they have no UID from the server, and an object of that name is somebody else's.
func (op *operation) deleteCreated() {
	op.mu.Lock()
	created := op.created
	op.mu.Unlock()
	made := created.Filter(func(info *resource.Info) bool {
		accessor, err := meta.Accessor(info.Object)
		return err == nil && accessor.GetUID() != ""
	})
	if len(made) == 0 {
		return
	}
	if _, errs := op.kube.inner.Delete(made); len(errs) > 0 {
		op.logFailure("Objects of the failed operation could not be deleted", errs...)
	}
}

// leftovers returns the manifests of failed revisions that are newer than the deployed one, the revision except aside.
// Helm compares a new revision with the deployed one only, so what they created stays for ever.
func (op *operation) leftovers(history []Revision, except int) []string {
	var manifests []string
	for _, revision := range history {
		if revision.Status == StatusDeployed {
			break
		}
		if revision.Status != StatusFailed || revision.Revision == except {
			continue
		}
		rls, err := op.config.Releases.Get(op.target.Name, revision.Revision)
		if err != nil {
			op.logFailure("Failed revision could not be read; what it created may stay", err)
			continue
		}
		manifests = append(manifests, rls.Manifest)
	}
	return manifests
}

// pruning is the client of an upgrade or a rollback that also deletes what failed revisions left. It does so while the record
// of the new revision is pending: whoever is stopped before it says "deployed" leaves a failed revision behind, and the next
// operation finds all leftovers again. Once the record says so, nobody looks at older failed revisions any more.
type pruning struct {
	*kubeClient
	manifests []string
}

// prune makes the operation delete what earlier manifests have and the new revision lacks.
func (op *operation) prune(manifests []string) {
	if len(manifests) > 0 {
		op.config.KubeClient = &pruning{kubeClient: op.kube, manifests: manifests}
	}
}

// Update updates the objects, then deletes leftovers.
func (p *pruning) Update(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	result, err := p.kubeClient.Update(original, target, force)
	if err == nil {
		p.op.aside(func() { p.op.deleteLeftovers(p.manifests, target) })
	}
	return result, err
}

// UpdateThreeWayMerge is Update with a three-way merge for custom resources, too.
func (p *pruning) UpdateThreeWayMerge(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	result, err := p.kubeClient.UpdateThreeWayMerge(original, target, force)
	if err == nil {
		p.op.aside(func() { p.op.deleteLeftovers(p.manifests, target) })
	}
	return result, err
}

// aside does something whose failure is not why the action fails, if it does.
func (op *operation) aside(do func()) {
	op.mu.Lock()
	stage, cause := op.stage, op.cause
	op.mu.Unlock()
	do()
	op.mu.Lock()
	defer op.mu.Unlock()
	if !op.interrupted {
		op.stage, op.cause = stage, cause
	}
}

// deleteLeftovers deletes objects of earlier manifests that are not wanted, if they still say that they belong to the
// release and do not ask to be kept. As where Helm deletes what a revision lacks, a failure is logged and ends nothing.
func (op *operation) deleteLeftovers(manifests []string, wanted kube.ResourceList) {
	for _, manifest := range manifests {
		// Kinds that are unknown meanwhile are left out of what Build returns.
		old, err := op.kube.Build(strings.NewReader(manifest), false)
		if err != nil {
			op.logFailure("Objects of a failed revision stay", err)
			continue
		}
		extra := old.Difference(wanted).Filter(op.owns)
		if len(extra) == 0 {
			continue
		}
		if _, errs := op.kube.Delete(extra); len(errs) > 0 {
			op.logFailure("Objects of a failed revision could not be deleted", errs...)
		}
	}
}

// deleteOutlived deletes what the deployed revision and failed ones have and the newest revision lacks. Helm's uninstall
// looks at the newest revision only, and forgets the others.
func (op *operation) deleteOutlived(history []Revision) error {
	if history[0].Status == StatusDeployed || history[0].Status == StatusUninstalled {
		return nil
	}
	manifestOf := func(revision int) (kube.ResourceList, error) {
		rls, err := op.config.Releases.Get(op.target.Name, revision)
		if err != nil {
			return nil, fmt.Errorf("read revision %d: %w", revision, err)
		}
		// Kinds that are unknown meanwhile are left out of what Build returns.
		objects, err := op.kube.Build(strings.NewReader(rls.Manifest), false)
		if err != nil {
			return nil, fmt.Errorf("read the objects of revision %d: %w", revision, err)
		}
		return objects, nil
	}
	newest, err := manifestOf(history[0].Revision)
	if err != nil {
		return err
	}
	for _, revision := range history[1:] {
		if revision.Status != StatusFailed && revision.Status != StatusDeployed {
			continue
		}
		objects, err := manifestOf(revision.Revision)
		if err != nil { // a damaged record must not keep the release for ever
			op.logFailure("An earlier revision could not be read; what only it has may stay", err)
			continue
		}
		if extra := objects.Difference(newest).Filter(op.owns); len(extra) > 0 {
			if _, errs := op.kube.Delete(extra); len(errs) > 0 {
				return fmt.Errorf("delete objects of revision %d: %w", revision.Revision, errors.Join(errs...))
			}
		}
		if revision.Status == StatusDeployed {
			break
		}
	}
	return nil
}

// owns reports whether the live object belongs to the release and may be deleted.
func (op *operation) owns(info *resource.Info) bool {
	if err := info.Get(); err != nil {
		return false
	}
	accessor, err := meta.Accessor(info.Object)
	if err != nil {
		return false
	}
	annotations := accessor.GetAnnotations()
	return accessor.GetLabels()[managedByLabel] == managedByHelm &&
		annotations[releaseNameAnnotation] == op.target.Name &&
		annotations[releaseNSAnnotation] == op.target.Namespace &&
		annotations[kube.ResourcePolicyAnno] != kube.KeepPolicy
}

// logFailure logs errors that do not fail the action.
func (op *operation) logFailure(message string, errs ...error) {
	for _, err := range errs {
		op.log.Error(errors.New(op.mask.text(describe(err))), message)
	}
}
