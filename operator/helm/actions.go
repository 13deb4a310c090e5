package helm

import (
	"context"
	"fmt"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	rspb "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Install deploys a chart under a name that is not in use, and returns the revision that it made. Errors are *Error.
func (c *Client) Install(ctx context.Context, o InstallOptions) (Release, error) {
	op := c.begin(ctx, kindInstall, o.Target, o.Values)
	op.strict = o.StrictFields
	op.call(o.Callbacks)
	if err := validName(o.Name); err != nil {
		return Release{}, err
	}
	if err := op.begun(); err != nil {
		return Release{}, err
	}
	chrt, err := loadChart(o.ChartSource)
	if err != nil {
		return Release{}, err
	}
	op.mask.allow(chrt.Name())
	if err := op.checkName(o.Replace); err != nil {
		return Release{}, err
	}
	if err := op.checkValues(chrt, o.ChartSource, o.Values, nil); err != nil {
		return Release{}, err
	}
	makeNamespace, err := op.needsNamespace(o.CreateNamespace)
	if err != nil {
		return Release{}, err
	}
	// With definitions of its own, a chart changes what the cluster can do before it is rendered: Helm asks again then.
	skipCRDs := o.SkipCRDs || o.CRDs == CRDsSkip || len(chrt.CRDObjects()) == 0
	if !skipCRDs {
		if err := op.checkFits(chrt, o.Values, ""); err != nil {
			return Release{}, op.error(err, 0)
		}
	}
	if !skipCRDs && o.CRDs == CRDsCreateReplace {
		skipCRDs = true
		if err := op.applyCRDs(o.ChartSource, o.Values, true); err != nil {
			return Release{}, err
		}
	}
	newKinds := !skipCRDs
	if !newKinds {
		if err := op.useCapabilities(); err != nil {
			return Release{}, err
		}
	}

	install := action.NewInstall(op.config)
	install.ReleaseName = o.Name
	install.Namespace = o.Namespace
	install.CreateNamespace = makeNamespace
	install.SkipCRDs = skipCRDs
	install.Replace = o.Replace
	install.TakeOwnership = o.TakeOwnership
	install.SkipSchemaValidation = true // done above
	install.Labels = o.Labels
	install.PostRenderer = op.postRenderer(o.PostRender)
	if makeNamespace {
		install.PostRenderer = fitting{op: op, next: install.PostRenderer, chart: chrt, values: o.Values}
	}
	install.Timeout = timeoutOr(o.Timeout)
	install.Wait = o.Wait
	install.WaitForJobs = o.WaitForJobs
	install.DisableHooks = o.DisableHooks

	_, err = install.RunWithContext(context.Background(), chrt, copyValues(o.Values))
	if newKinds {
		c.caps.forget()
	}
	// What a failed install created stays: the next upgrade over it, or an uninstall, deals with it.
	return op.finish(err, false)
}

// Upgrade deploys a chart over a release, and returns the revision that it made. Errors are *Error.
func (c *Client) Upgrade(ctx context.Context, o UpgradeOptions) (Release, error) {
	op := c.begin(ctx, kindUpgrade, o.Target, o.Values)
	op.strict = o.StrictFields
	op.call(o.Callbacks)
	if err := op.begun(); err != nil {
		return Release{}, err
	}
	chrt, err := loadChart(o.ChartSource)
	if err != nil {
		return Release{}, err
	}
	op.mask.allow(chrt.Name())
	history, err := op.history()
	if err != nil {
		return Release{}, err
	}
	values := copyValues(o.Values)
	var reuse *reused
	if o.ReuseValues && !o.ResetValues {
		if reuse, values, err = op.reuse(values); err != nil {
			return Release{}, err
		}
		chrt.Values = copyValues(reuse.defaults)
	}
	if err := op.checkValues(chrt, o.ChartSource, values, reuse); err != nil {
		return Release{}, err
	}
	if len(chrt.CRDObjects()) > 0 && (o.CRDs == CRDsCreate || o.CRDs == CRDsCreateReplace) {
		if err := op.checkFits(chrt, values, ""); err != nil {
			return Release{}, op.error(err, 0)
		}
		if err := op.applyCRDs(o.ChartSource, values, o.CRDs == CRDsCreateReplace); err != nil {
			return Release{}, err
		}
	}
	if err := op.useCapabilities(); err != nil {
		return Release{}, err
	}

	upgrade := action.NewUpgrade(op.config)
	upgrade.Namespace = o.Namespace
	upgrade.Force = o.Force
	// Reuse is done above. Helm left alone would keep the old values when there are no new ones.
	upgrade.ResetValues = true
	upgrade.Recreate = o.Recreate
	upgrade.MaxHistory = o.MaxHistory
	upgrade.TakeOwnership = o.TakeOwnership
	upgrade.SkipSchemaValidation = true // done above
	upgrade.Labels = o.Labels
	upgrade.PostRenderer = op.postRenderer(o.PostRender)
	upgrade.Timeout = timeoutOr(o.Timeout)
	upgrade.Wait = o.Wait
	upgrade.WaitForJobs = o.WaitForJobs
	upgrade.DisableHooks = o.DisableHooks

	op.prune(op.leftovers(history, 0))
	_, err = upgrade.RunWithContext(context.Background(), o.Name, chrt, values)
	return op.finish(err, o.CleanupOnFail)
}

// Rollback deploys the chart and the values of an earlier revision again, as a new revision, and returns that. Errors are
// *Error.
func (c *Client) Rollback(ctx context.Context, o RollbackOptions) (Release, error) {
	op := c.begin(ctx, kindRollback, o.Target, nil)
	op.call(o.Callbacks)
	if err := op.begun(); err != nil {
		return Release{}, err
	}
	history, err := op.history()
	if err != nil {
		return Release{}, err
	}
	if !hasRevision(history, o.ToRevision) {
		return Release{}, newError(StageValidate, ErrNotFound, "there is no revision %d to roll back to", o.ToRevision)
	}

	rollback := action.NewRollback(op.config)
	rollback.Version = o.ToRevision
	rollback.Force = o.Force
	rollback.MaxHistory = o.MaxHistory
	rollback.Timeout = timeoutOr(o.Timeout)
	rollback.Wait = o.Wait
	rollback.WaitForJobs = o.WaitForJobs
	rollback.DisableHooks = o.DisableHooks

	// Helm itself removes what the newest revision has too much.
	op.prune(op.leftovers(history, history[0].Revision))
	return op.finish(rollback.Run(o.Name), o.CleanupOnFail)
}

// Uninstall deletes the objects of a release and waits until they are gone, then deletes its records or, with KeepHistory,
// keeps them. It returns false when there was nothing to uninstall. Objects that do not go within the timeout are an
// error, and the release stays "uninstalling": call it again. Errors are *Error.
func (c *Client) Uninstall(ctx context.Context, o UninstallOptions) (bool, error) {
	op := c.begin(ctx, kindUninstall, o.Target, nil)
	op.call(o.Callbacks)
	if err := op.begun(); err != nil {
		return false, err
	}
	history, err := op.records.history()
	if err != nil {
		return false, newError(StageStorage, err, "%s", op.mask.text(describe(err)))
	}
	if len(history) == 0 || history[0].Status == StatusUninstalled && o.KeepHistory {
		return false, nil
	}

	op.isRetry(history)
	if err := op.deleteOutlived(history); err != nil {
		return true, op.error(err, 0)
	}
	uninstall := action.NewUninstall(op.config)
	uninstall.DisableHooks = o.DisableHooks
	uninstall.KeepHistory = o.KeepHistory
	uninstall.Wait = true
	uninstall.Timeout = timeoutOr(o.Timeout)
	if _, err := uninstall.Run(o.Name); err != nil {
		return true, op.error(err, 0)
	}
	// Helm only logs that it could not write.
	if err := op.refused(); err != nil {
		return true, op.error(err, 0)
	}
	if err := op.records.writeError(); err != nil {
		return true, newError(StageStorage, err, "%s", op.mask.text(describe(err)))
	}
	return true, nil
}

// checkName returns an error when an install would find a release of its name. Helm's own check passes when the records
// cannot be read.
func (op *operation) checkName(replace bool) error {
	history, err := op.records.history()
	if err != nil {
		return newError(StageStorage, err, "%s", op.mask.text(describe(err)))
	}
	op.isRetry(history)
	if len(history) == 0 {
		return nil
	}
	last := history[0]
	if last.Status.Pending() {
		return newError(StageValidate, ErrPending, "revision %d of the release is %s", last.Revision, last.Status)
	}
	if replace && (last.Status == StatusUninstalled || last.Status == StatusFailed) {
		return nil
	}
	return newError(StageValidate, ErrNameInUse,
		"the release exists: its newest revision %d is %s", last.Revision, last.Status)
}

// history returns the revisions of a release that exists and has no operation pending.
func (op *operation) history() ([]Revision, error) {
	history, err := op.records.history()
	if err != nil {
		return nil, newError(StageStorage, err, "%s", op.mask.text(describe(err)))
	}
	if len(history) == 0 {
		return nil, newError(StageValidate, ErrNotFound,
			"there is no release %s in namespace %s", op.target.Name, op.target.Namespace)
	}
	if last := history[0]; last.Status.Pending() {
		return nil, newError(StageValidate, ErrPending, "revision %d of the release is %s", last.Revision, last.Status)
	}
	op.isRetry(history)
	return history, nil
}

func hasRevision(history []Revision, number int) bool {
	for _, revision := range history {
		if revision.Revision == number {
			return true
		}
	}
	return false
}

// needsNamespace reports whether Helm has to create the namespace. It does not leave that to Helm alone, because creating
// needs a right that looking does not, and most namespaces exist.
func (op *operation) needsNamespace(create bool) (bool, error) {
	if !create {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(detached(op.ctx), requestTimeout)
	defer cancel()
	_, err := op.who.kube.CoreV1().Namespaces().Get(ctx, op.target.Namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		return false, nil
	case apierrors.IsNotFound(err):
		return true, nil
	default:
		return false, newError(StageApply, err, "look for namespace %s: %s", op.target.Namespace, describe(err))
	}
}

// reuse merges values into those of the deployed revision, or of the newest one when none is deployed, as helm upgrade
// --reuse-values does.
func (op *operation) reuse(values map[string]any) (*reused, map[string]any, error) {
	base, err := op.base()
	if err != nil {
		return nil, nil, newError(StageStorage, err, "%s", op.mask.text(describe(err)))
	}
	op.mask.learn(base.Config)
	defaults, err := chartutil.CoalesceValues(base.Chart, base.Config)
	if err != nil {
		return nil, nil, newError(StageValidate, err, "%s", op.mask.text("rebuild the old values: "+describe(err)))
	}
	return &reused{defaults: defaults}, chartutil.CoalesceTables(values, copyValues(base.Config)), nil
}

// base returns the revision that an upgrade starts from.
func (op *operation) base() (*rspb.Release, error) {
	last, err := op.config.Releases.Last(op.target.Name)
	if err != nil {
		return nil, fmt.Errorf("read the release: %w", err)
	}
	if last.Info.Status == rspb.StatusDeployed {
		return last, nil
	}
	if deployed, err := op.config.Releases.Deployed(op.target.Name); err == nil {
		return deployed, nil
	}
	return last, nil
}
