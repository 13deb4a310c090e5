package release

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// resolvedChart is the chart that the spec means now.
type resolvedChart struct {
	ref           ChartRef
	version       client.ChartVersion
	newestVersion string
}

// pendingMargin is added to the timeout of an operation of someone else before it is taken over: clocks differ, and the
// timeout bounds each wait, not the whole.
const pendingMargin = time.Minute

// resolveTimeout bounds the question which chart is meant. It is long because a chart whose index entry has no digest is
// fetched first; the fetch goes on when the question has timed out, so that the next one is answered at once.
const resolveTimeout = 2 * time.Minute

// observe gathers the facts. Errors are those of the API server.
func (p *pass) observe(ctx context.Context) (*Facts, error) {
	f := p.remembered()
	p.settings, f.Problem = readSettings(p.draft)
	f.Target, f.Retry = p.settings.target, p.settings.retry
	f.PendingTimeout = p.settings.upgrade.Timeout + pendingMargin
	f.Running = p.running
	if f.Deleting {
		p.takeRequests(f)
		if f.Orphan && f.Running == nil {
			return f, nil // leaving it behind needs nothing from storage, which may be unreadable
		}
		deployed, ok := deployedTarget(p.draft)
		switch {
		case ok:
			f.Target = deployed
		case checkTarget(f.Target) != nil:
			return f, nil // nothing was ever deployed under such a name
		}
		if err := p.observeAccount(ctx, f); err != nil {
			return f, err
		}
		if err := p.observeDependents(ctx, f); err != nil {
			return f, err
		}
		return f, p.observeStorage(ctx, f)
	}
	if !f.Suspended {
		if err := p.observeWishes(ctx, f); err != nil {
			return f, err
		}
	}
	if f.Running != nil || (f.Problem != nil && checkTarget(f.Target) != nil) {
		return f, nil
	}
	return f, p.observeStorage(ctx, f)
}

// observeWishes finds out what should be deployed.
func (p *pass) observeWishes(ctx context.Context, f *Facts) error {
	p.takeRequests(f)
	if f.Problem == nil {
		if err := p.observeAccount(ctx, f); err != nil {
			return err
		}
		f.Problem = f.AccountProblem
	}
	if f.Problem == nil {
		if err := p.observeDependencies(ctx, f); err != nil {
			return err
		}
	}
	if f.Problem == nil {
		problem, err := p.composeValues(ctx)
		if err != nil {
			return err
		}
		f.Problem = problem
	}
	if f.Problem == nil {
		if err := p.observeChart(ctx, f); err != nil {
			return err
		}
	}
	p.noteDesired(f)
	return nil
}

// retryAccount is when a ServiceAccount that is missing is looked for again: nobody watches them.
const retryAccount = 30 * time.Second

// observeAccount finds out whether the ServiceAccount of the spec exists. To act as one that does not would work, with the rights
// that are bound to its name.
func (p *pass) observeAccount(ctx context.Context, f *Facts) error {
	name := p.draft.Spec.ServiceAccountName
	if name == "" {
		return nil
	}
	found, err := p.cfg.Objects.HasServiceAccount(ctx, types.NamespacedName{Namespace: p.key.Namespace, Name: name})
	if err != nil {
		return fmt.Errorf("read ServiceAccount %s/%s: %w", p.key.Namespace, name, err)
	}
	if !found {
		f.AccountProblem = &Problem{
			Reason: v1alpha1.ReasonConfigurationError, RetryAfter: retryAccount,
			Message: fmt.Sprintf("spec.serviceAccountName: ServiceAccount %s/%s does not exist", p.key.Namespace, name),
		}
	}
	return nil
}

// remembered returns the facts that the object itself holds.
func (p *pass) remembered() *Facts {
	spec := &p.draft.Spec
	f := &Facts{
		Now:       p.cfg.Now(),
		Deleting:  !p.draft.DeletionTimestamp.IsZero(),
		Orphan:    spec.DeletionPolicy == v1alpha1.DeletionPolicyOrphan,
		Suspended: spec.Suspend,
		Adopt:     spec.Release != nil && spec.Release.Adopt == v1alpha1.AdoptAlways,
		Rollback:  spec.Rollback != nil && spec.Rollback.Enabled,
		Tests:     spec.Test != nil && spec.Test.Enable,
		Reinstall: spec.Install != nil && spec.Install.Remediation == v1alpha1.InstallRemediationUninstall,
	}
	if spec.Release != nil {
		f.OnChange = spec.Release.OnChange
	}
	f.readStatus(&p.draft.Status)
	return f
}

// readStatus reads what the status remembers.
func (f *Facts) readStatus(status *v1alpha1.HelmReleaseStatus) {
	f.Applied, f.FailedDigest, f.Failures = status.AppliedDigest, status.FailedDigest, status.FailureCount
	f.Last, f.LastFailure, f.AppliedRevision, f.Tested = status.Operation, nil, 0, false
	if len(status.Failures) > 0 {
		f.LastFailure = &status.Failures[0]
	}
	f.FetchFailures = 0
	for i := range status.Failures {
		if !isFetchReason(status.Failures[i].Reason) {
			break
		}
		f.FetchFailures++
	}
	for i := range status.History {
		if status.History[i].Status == statusDeployed {
			f.AppliedRevision, f.Tested = status.History[i].Revision, status.History[i].Tests != ""
			break
		}
	}
}

// takeRequests reads the annotations by which people ask for something once.
func (p *pass) takeRequests(f *Facts) {
	annotations, status := p.draft.Annotations, &p.draft.Status
	if value := annotations[v1alpha1.ReconcileAnnotation]; value != "" {
		status.HandledReconcile = value // this pass is what was asked for
	}
	if f.Running != nil {
		return // the requests are for the time after it
	}
	if status.ObservedGeneration != p.draft.Generation {
		// An edit is a new try, also one that the digest does not cover, such as a longer timeout.
		status.FailureCount, status.FailedDigest = 0, ""
		f.Failures, f.FailedDigest = 0, ""
	}
	if value := annotations[v1alpha1.RetryAnnotation]; value != "" && value != status.HandledRetry {
		status.HandledRetry = value
		status.FailureCount, status.FailedDigest = 0, ""
		f.Failures, f.FailedDigest = 0, ""
	}
	if value := annotations[v1alpha1.ForceAnnotation]; value != "" && value != status.HandledForce {
		p.wantForce, f.Force = value, true
	}
}

// observeChart finds out which chart is meant, and with it what should be deployed. When that cannot be found out now but
// was found out for this very spec before, what was found then still holds.
func (p *pass) observeChart(ctx context.Context, f *Facts) error {
	problem, err := p.resolve(ctx)
	if err != nil {
		return err
	}
	status := &p.draft.Status
	digest := p.chart.version.Digest
	if problem == nil && p.cfg.ChartNews != nil {
		f.ChartNews = p.cfg.ChartNews(p.chart.ref.Source)
	}
	if problem != nil {
		f.ChartProblem = problem
		if !problem.Temporary || status.ObservedGeneration != p.draft.Generation || status.ChartDigest == "" {
			return nil
		}
		digest = status.ChartDigest
	}
	f.Desired = desiredDigest(digest, p.values.digest, f.Target, p.settings.render.Digest())
	return nil
}

// resolve asks chartcache which chart is meant.
func (p *pass) resolve(ctx context.Context) (*Problem, error) {
	ref, problem, err := p.chartRef(ctx)
	if problem != nil || err != nil {
		return problem, err
	}
	spec := &p.draft.Spec.Chart
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	resolved, err := p.cfg.Charts.Resolve(ctx, client.ChartRequest{
		Source: ref.Source, Chart: ref.Chart, Version: spec.Version, Digest: spec.Digest,
		MinRevision: p.cfg.MinRevision(ref.Source),
	})
	if err != nil {
		return p.resolveProblem(ref, err), nil
	}
	if resolved.Version.Digest == "" {
		return &Problem{
			Reason: v1alpha1.ReasonDependencyNotReady, Temporary: true, RetryAfter: retryDependency,
			Message: fmt.Sprintf("chartcache gave no digest for %s", ref),
		}, nil
	}
	p.chart = resolvedChart{ref: ref, version: resolved.Version, newestVersion: resolved.NewestVersion}
	return nil, nil
}

// resolveProblem says what an answer of chartcache means, and names what was asked for.
func (p *pass) resolveProblem(ref ChartRef, err error) *Problem {
	problem := chartProblem(err)
	wanted := ref.String()
	switch spec := &p.draft.Spec.Chart; {
	case spec.Digest != "":
		wanted += " with digest " + spec.Digest
	case spec.Version != "":
		wanted += fmt.Sprintf(" in version %q", spec.Version)
	}
	problem.Message = fmt.Sprintf("find %s: %s", wanted, problem.Message)
	if problem.Reason == v1alpha1.ReasonAuthenticationFailed && ref.Source.URL != "" {
		problem.Message += fmt.Sprintf("; no HelmRepository of namespace %s is for this URL: give the credentials in one", p.key.Namespace)
	}
	// The object exists (chartRef has looked), so it is only a matter of time until chartcache has seen it.
	if problem.Reason == v1alpha1.ReasonRepositoryNotFound && ref.Source.URL == "" {
		problem.Reason, problem.Temporary, problem.RetryAfter = v1alpha1.ReasonDependencyNotReady, true, retryDependency
	}
	return problem
}

// chartRef finds the repository of the chart.
func (p *pass) chartRef(ctx context.Context) (ChartRef, *Problem, error) {
	spec := &p.draft.Spec.Chart
	invalid := func(message string) (ChartRef, *Problem, error) {
		return ChartRef{}, &Problem{Reason: v1alpha1.ReasonConfigurationError, Stalled: true, Message: message}, nil
	}
	if len(SourceFields(spec)) == 0 {
		return invalid("spec.chart names no source: set repository, repositoryURL or ociRepository")
	}
	namespace, name, named := RepositoryOf(p.draft)
	if !named {
		repositories, err := p.cfg.Objects.Repositories(ctx, p.key.Namespace)
		if err != nil {
			return ChartRef{}, nil, fmt.Errorf("list HelmRepositories of %s: %w", p.key.Namespace, err)
		}
		ref, err := ResolveURL(spec, repositories)
		if err != nil {
			return invalid(err.Error())
		}
		return ref, nil, nil
	}
	if namespace != p.key.Namespace && p.cfg.DenyCrossNamespace {
		return invalid(fmt.Sprintf("spec.chart.repository.namespace: HelmRepositories of other namespaces (%s) are not allowed "+
			"by the operator's configuration", namespace))
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	_, found, err := p.cfg.Objects.Repository(ctx, key)
	if err != nil {
		return ChartRef{}, nil, fmt.Errorf("read HelmRepository %s: %w", key, err)
	}
	if !found {
		return ChartRef{}, &Problem{
			Reason: v1alpha1.ReasonRepositoryNotFound, Message: fmt.Sprintf("HelmRepository %s does not exist", key),
		}, nil
	}
	return ChartRef{Source: client.Named(namespace, name), Chart: spec.Name}, nil, nil
}

// noteDesired writes what should be deployed into the draft.
func (p *pass) noteDesired(f *Facts) {
	status := &p.draft.Status
	switch {
	case f.Problem == nil && f.ChartProblem == nil:
		status.DesiredDigest = f.Desired
		if f.Running == nil {
			p.noteChart()
		}
	case f.Desired == "" && f.Running == nil:
		// What was found out for another spec, or is known to be wrong now, must not be taken for an answer later.
		if f.ChartProblem != nil || status.ObservedGeneration != p.draft.Generation {
			status.DesiredDigest, status.ChartDigest, status.ChartVersion, status.LatestVersion = "", "", "", ""
		}
	}
}

// noteChart writes the chart that should be deployed into the draft.
func (p *pass) noteChart() {
	status, version := &p.draft.Status, p.chart.version
	p.republished = status.ChartVersion == version.Version && status.ChartDigest != "" && status.ChartDigest != version.Digest
	status.ChartVersion, status.ChartDigest = version.Version, version.Digest
	status.LatestVersion = newerThan(p.chart.newestVersion, version.Version)
}

// newerThan returns a version if it is newer than another, else nothing.
func newerThan(candidate, current string) string {
	a, err := semver.NewVersion(candidate)
	if err != nil {
		return ""
	}
	b, err := semver.NewVersion(current)
	if err != nil || !a.GreaterThan(b) {
		return ""
	}
	return candidate
}

// observeStorage reads what Helm's storage says.
func (p *pass) observeStorage(ctx context.Context, f *Facts) error {
	last, found, err := p.newest(ctx, f.Target)
	if err != nil {
		return err
	}
	newest := last.release
	if found {
		if f.Newest, err = p.recordOf(ctx, f.Target, &last); err != nil {
			return err
		}
	}
	if f.Newest.is(statusUninstalling) {
		f.PendingTimeout = p.settings.uninstall.Timeout + pendingMargin
	}
	p.recover(f, &newest)
	if err := p.observeElsewhere(ctx, f); err != nil {
		return err
	}
	p.noteNewest(f, &newest)
	f.KnownFailed = f.Newest != nil && slices.ContainsFunc(p.draft.Status.History, func(r v1alpha1.ReleaseRevision) bool {
		return r.Revision == f.Newest.Revision && r.Status == statusFailed
	})
	if f.Rollback && f.Newest.is(statusFailed) && f.FailedDigest != "" && (f.failedSame() || f.Desired == "") {
		history, err := p.cfg.Helm.History(ctx, f.Target.Namespace, f.Target.Name)
		if err != nil {
			return fmt.Errorf("read the history of the Helm release %s: %w", f.Target, err)
		}
		f.RollbackTo, f.RollbackProblem = rollbackTarget(history, p.draft.Status.History, int(p.draft.Spec.Rollback.ToRevision))
	}
	return nil
}

// recordOf returns what matters of a record.
func (p *pass) recordOf(ctx context.Context, target Target, last *seenRecord) (*Record, error) {
	release := &last.release
	record := &Record{
		Revision: release.Revision, Status: string(release.Status), Updated: release.LastDeployed,
		Operation: release.Labels[v1alpha1.OperationLabel], Description: release.Description,
	}
	if record.is(statusUninstalling) {
		record.Updated = release.Deleted
	}
	if !release.Written.IsZero() && (record.pending() || record.is(statusUninstalling)) {
		record.Updated = release.Written // whoever works on it may have a clock that is wrong
	}
	hash := release.Labels[v1alpha1.OwnerLabel]
	if hash != OwnerHash(p.key.Namespace, p.key.Name) {
		other, found, err := p.cfg.Objects.OtherOwner(ctx, p.key, target, hash)
		if err != nil {
			return nil, fmt.Errorf("look for another owner of the Helm release %s: %w", target, err)
		}
		switch {
		case found:
			record.Owner, record.OwnerName = OwnedByOther, other.String()
		case !p.statusNames(target, release):
			record.Owner = Foreign
		}
	}
	// A record does not tell how its manifests were changed after rendering.
	record.Equal = p.settings.render == nil && release.ChartName == path.Base(p.draft.Spec.Chart.Name) &&
		release.ChartVersion == p.chart.version.Version && p.values.digest != "" && p.values.digest == last.values
	return record, nil
}

// statusNames reports whether the status says that a release is ours. The time of the first deployment tells it from one
// that was made anew under the same name; statuses hold whole seconds.
func (p *pass) statusNames(target Target, release *helm.Release) bool {
	deployed, ok := deployedTarget(p.draft)
	if !ok || deployed != target {
		return false
	}
	first := p.draft.Status.HelmRelease.FirstDeployed
	if first == nil && strings.HasPrefix(p.draft.Status.HelmRelease.Status, pendingPrefix) {
		return false // it was only announced: a record of ours carries our label
	}
	return first == nil || first.Unix() == release.FirstDeployed.Unix()
}

// observeElsewhere finds a release of this object that the spec no longer names.
func (p *pass) observeElsewhere(ctx context.Context, f *Facts) error {
	deployed, ok := deployedTarget(p.draft)
	if !ok || f.Deleting || deployed == f.Target {
		return nil
	}
	release, found, err := p.cfg.Helm.Last(ctx, deployed.Namespace, deployed.Name)
	if err != nil {
		return fmt.Errorf("read the records of the Helm release %s: %w", deployed, err)
	}
	if !found {
		return nil
	}
	last := seen(deployed, &release)
	record, err := p.recordOf(ctx, deployed, &last)
	if err != nil {
		return err
	}
	if !record.absent() && record.Owner == Ours {
		f.Elsewhere = &deployed
	}
	return nil
}

// rollbackTarget returns the revision to roll back to: the one that the spec names, or else the newest good one; 0 when
// there is none. Helm
// marks a failed revision as superseded once a later one is there, so what the status knows to have failed is left out.
func rollbackTarget(history []helm.Revision, known []v1alpha1.ReleaseRevision, wanted int) (revision int, problem string) {
	bad := map[int]bool{}
	for _, k := range known {
		if k.Status == statusFailed {
			bad[k.Revision] = true
		}
	}
	good := func(r helm.Revision) bool { return r.Status.Good() && !bad[r.Revision] }
	if wanted > 0 {
		for _, r := range history {
			if r.Revision == wanted && good(r) {
				return wanted, ""
			}
		}
		return 0, fmt.Sprintf("rollback.toRevision names revision %d, which is not in the history or never was deployed", wanted)
	}
	newest := 0
	for _, r := range history { // newest first
		switch {
		case !good(r):
		case r.Status == helm.StatusDeployed: // a failed upgrade leaves the one before deployed
			return r.Revision, ""
		case newest == 0:
			newest = r.Revision
		}
	}
	return newest, ""
}
