package release

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
	"github.com/ketches/helm-operator/operator/render"
)

// Bounds of the durations of a spec. What is shorter counts as the bound, so that no value makes a hot loop.
const (
	minInterval  = 10 * time.Second
	minOperation = time.Second
)

// maxNameLength is Helm's bound on the name of a release.
const maxNameLength = 53

// settings is what a spec says, with its defaults and its durations parsed.
type settings struct {
	target   Target
	interval time.Duration
	retry    RetryPolicy
	// account is the ServiceAccount, "namespace/name", as whom objects are written; the operator when it is empty.
	account string

	install   helm.InstallOptions
	upgrade   helm.UpgradeOptions
	rollback  helm.RollbackOptions
	uninstall helm.UninstallOptions
	render    *render.Renderer // nil: nothing is changed after rendering
	test      helm.TestOptions
	drift     driftSettings
}

// TargetOf is where a spec wants its release.
func TargetOf(release *v1alpha1.HelmRelease) Target {
	target := Target{Namespace: release.Namespace, Name: release.Name}
	if wanted := release.Spec.Release; wanted != nil {
		if wanted.Name != "" {
			target.Name = wanted.Name
		}
		if wanted.Namespace != "" {
			target.Namespace = wanted.Namespace
		}
	}
	return target
}

// deployedTarget is where a release is, as the status says; false when the status names none.
func deployedTarget(release *v1alpha1.HelmRelease) (Target, bool) {
	deployed := release.Status.HelmRelease
	if deployed == nil || deployed.Name == "" {
		return Target{}, false
	}
	return Target{Namespace: deployed.Namespace, Name: deployed.Name}, true
}

// readSettings reads a spec. The settings can be used even when there is a problem: what cannot be read has its default,
// so that a release can always be uninstalled.
func readSettings(release *v1alpha1.HelmRelease) (settings, *Problem) {
	r := reader{}
	s := settings{target: TargetOf(release)}
	spec := &release.Spec
	if spec.ServiceAccountName != "" {
		s.account = release.Namespace + "/" + spec.ServiceAccountName
	}
	s.interval = r.duration("interval", spec.Interval, 10*time.Minute, minInterval)
	s.retry = r.retry(spec.Retry)
	s.install = r.install(spec)
	s.upgrade = r.upgrade(spec.Upgrade)
	s.rollback = r.rollback(spec.Rollback)
	s.rollback.MaxHistory = s.upgrade.MaxHistory
	s.uninstall = r.uninstall(spec.Uninstall)
	s.setPostRender(r.postRender(s.target, spec))
	if crds := spec.CRDs; crds != nil {
		s.install.CRDs, s.upgrade.CRDs = helm.CRDPolicy(crds.Install), helm.CRDPolicy(crds.Upgrade)
	}
	s.test = r.test(spec.Test, s.upgrade.Timeout)
	s.drift = r.drift(spec.DriftDetection)
	if problem := checkTarget(s.target); problem != nil {
		return s, problem
	}
	return s, r.problem
}

// checkTarget says what is wrong with name or namespace.
func checkTarget(target Target) *Problem {
	problem := &Problem{Reason: v1alpha1.ReasonConfigurationError, Stalled: true}
	switch {
	case len(target.Name) > maxNameLength:
		problem.Message = fmt.Sprintf("the release name %q has %d characters, but Helm allows at most %d; set spec.release.name",
			target.Name, len(target.Name), maxNameLength)
	case len(validation.IsDNS1123Subdomain(target.Name)) > 0:
		problem.Message = fmt.Sprintf("spec.release.name: %q is not a valid release name: lower case letters, digits, "+
			"- and . only, with a letter or digit at both ends", target.Name)
	case len(validation.IsDNS1123Label(target.Namespace)) > 0:
		problem.Message = fmt.Sprintf("spec.release.namespace: %q is not a valid name of a namespace", target.Namespace)
	default:
		return nil
	}
	return problem
}

// reader reads the durations of a spec and keeps the first problem.
type reader struct{ problem *Problem }

func (r *reader) duration(field string, d v1alpha1.Duration, fallback, least time.Duration) time.Duration {
	parsed, err := d.Or(fallback, least)
	if err == nil {
		return parsed
	}
	if r.problem == nil {
		r.problem = &Problem{
			Reason: v1alpha1.ReasonConfigurationError, Stalled: true,
			Message: fmt.Sprintf("spec.%s: %v", field, err),
		}
	}
	return fallback
}

func (r *reader) retry(spec *v1alpha1.RetrySpec) RetryPolicy {
	if spec == nil {
		spec = &v1alpha1.RetrySpec{}
	}
	policy := RetryPolicy{
		Interval:    r.duration("retry.interval", spec.Interval, time.Minute, minOperation),
		MaxInterval: r.duration("retry.maxInterval", spec.MaxInterval, 15*time.Minute, minOperation),
	}
	if spec.Limit != nil {
		policy.Limit = max(1, *spec.Limit) // the first try is one
	}
	return policy
}

func (r *reader) install(spec *v1alpha1.HelmReleaseSpec) helm.InstallOptions {
	s := spec.Install
	if s == nil {
		s = &v1alpha1.InstallSpec{}
	}
	return helm.InstallOptions{
		ChartSource: helm.ChartSource{
			SkipSchemaValidation: s.DisableSchemaValidation, StrictFields: s.FieldValidation == v1alpha1.FieldValidationStrict,
		},
		Waiting: helm.Waiting{
			Timeout:      r.duration("install.timeout", s.Timeout, 10*time.Minute, minOperation),
			Wait:         orTrue(s.Wait),
			WaitForJobs:  orTrue(s.WaitForJobs),
			DisableHooks: s.DisableHooks,
		},
		CreateNamespace: spec.Release != nil && spec.Release.CreateNamespace,
		SkipCRDs:        s.SkipCRDs,
		Replace:         s.Replace,
		TakeOwnership:   s.TakeOwnership,
	}
}

// defaultMaxHistory is how many revisions are kept when the spec does not say.
const defaultMaxHistory = 10

func (r *reader) upgrade(s *v1alpha1.UpgradeSpec) helm.UpgradeOptions {
	if s == nil {
		s = &v1alpha1.UpgradeSpec{}
	}
	maxHistory := defaultMaxHistory
	if s.MaxHistory != nil {
		maxHistory = int(*s.MaxHistory)
	}
	return helm.UpgradeOptions{
		ChartSource: helm.ChartSource{
			SkipSchemaValidation: s.DisableSchemaValidation, StrictFields: s.FieldValidation == v1alpha1.FieldValidationStrict,
		},
		Waiting: helm.Waiting{
			Timeout:      r.duration("upgrade.timeout", s.Timeout, 10*time.Minute, minOperation),
			Wait:         orTrue(s.Wait),
			WaitForJobs:  orTrue(s.WaitForJobs),
			DisableHooks: s.DisableHooks,
		},
		Force:         s.Force,
		ResetValues:   s.ResetValues,
		ReuseValues:   s.ReuseValues,
		Recreate:      s.Recreate,
		MaxHistory:    maxHistory,
		CleanupOnFail: orTrue(s.CleanupOnFail),
		TakeOwnership: s.TakeOwnership,
	}
}

func (r *reader) rollback(s *v1alpha1.RollbackSpec) helm.RollbackOptions {
	if s == nil {
		s = &v1alpha1.RollbackSpec{}
	}
	wait := orTrue(s.Wait)
	return helm.RollbackOptions{
		Waiting: helm.Waiting{
			Timeout:      r.duration("rollback.timeout", s.Timeout, 5*time.Minute, minOperation),
			Wait:         wait,
			DisableHooks: s.DisableHooks,
		},
		Force:         s.Force,
		CleanupOnFail: orTrue(s.CleanupOnFail),
	}
}

func (r *reader) uninstall(s *v1alpha1.UninstallSpec) helm.UninstallOptions {
	if s == nil {
		s = &v1alpha1.UninstallSpec{}
	}
	return helm.UninstallOptions{
		Timeout:      r.duration("uninstall.timeout", s.Timeout, 5*time.Minute, minOperation),
		DisableHooks: s.DisableHooks,
		KeepHistory:  s.KeepHistory,
	}
}

// test reads how the chart's tests run. upgrade is the timeout of upgrades.
func (r *reader) test(s *v1alpha1.TestSpec, upgrade time.Duration) helm.TestOptions {
	if s == nil {
		s = &v1alpha1.TestSpec{}
	}
	options := helm.TestOptions{Timeout: r.duration("test.timeout", s.Timeout, upgrade, minOperation), MarkFailed: !s.IgnoreFailures}
	for _, filter := range s.Filters {
		if filter.Exclude {
			options.Exclude = append(options.Exclude, filter.Name)
		} else {
			options.Include = append(options.Include, filter.Name)
		}
	}
	return options
}

func orTrue(b *bool) bool { return b == nil || *b }
