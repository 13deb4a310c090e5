package helm

import "time"

// Target names a release and says what is written on its records.
type Target struct {
	// Name of the release, at most 53 characters.
	Name string
	// Namespace of the release, of its records and of those of its objects that name none.
	Namespace string
	// ServiceAccount, "namespace/name", is as whom objects are read and written, hooks, lookup and the namespace included; the
	// operator when it is empty. Records are always read and written as the operator.
	ServiceAccount string
	// Labels for the record that the action writes, such as its owner and its operation.
	Labels map[string]string
}

// ChartSource is a chart and the values for it.
type ChartSource struct {
	// Chart is the tarball.
	Chart []byte
	// ChartName, when set, is what the chart must be called.
	ChartName string
	// Values for the chart. They are not changed.
	Values map[string]any
	// SkipSchemaValidation does not check the values against the chart's values.schema.json.
	SkipSchemaValidation bool
	// CRDs says what is done with the chart's definitions.
	CRDs CRDPolicy
	// StrictFields refuses objects with fields that the API server does not know, or that are there twice, before anything is
	// written. They are a warning otherwise.
	StrictFields bool
	// PostRender changes the manifests before they are applied; nil leaves them.
	PostRender PostRender
}

// Waiting says what an action waits for.
type Waiting struct {
	// Timeout of each wait and of each hook; 5 minutes when it is 0.
	Timeout time.Duration
	// Wait until all objects are ready.
	Wait bool
	// WaitForJobs waits until all Jobs have completed, too, when Wait is set.
	WaitForJobs bool
	// DisableHooks runs no hooks.
	DisableHooks bool

	Callbacks
}

// Callbacks tell the caller of an action how far it has come. Each may be nil. They are called from the goroutine that
// waits, one at a time, and the wait goes on when they return.
type Callbacks struct {
	// Progress gets one line about what the action waits for, such as "waiting for Deployment web: 1 of 3 available",
	// "waiting for 3 objects: Deployment a: 0 of 1 available; StatefulSet b: 1 of 2 updated and 1 more" or "waiting for hook
	// Job migrate: 0 of 1 completed", without values of the release. It is called when the text has changed, at most once a
	// second, and not about waits that take less than a second.
	Progress func(text string)
	// Idle is called when the action begins to wait for readiness, for deletion or for a hook, and will do nothing else until
	// it has called Busy: a bound on actions that render and apply need not count it meanwhile. Busy is called before the
	// action goes on, also when its context has ended, and may block until there is room again. They are called in turn,
	// Idle first, and only when there is something to wait for: an action may have no wait, or several.
	Idle, Busy func()
}

// InstallOptions are those of Install.
type InstallOptions struct {
	Target
	ChartSource
	Waiting

	// CreateNamespace creates the namespace when it is missing.
	CreateNamespace bool
	// SkipCRDs leaves the chart's crds/ folder out.
	SkipCRDs bool
	// Replace installs over a release that is uninstalled or failed but has records.
	Replace bool
	// TakeOwnership adopts objects that exist already and belong to no release or to another one.
	TakeOwnership bool
}

// UpgradeOptions are those of Upgrade.
type UpgradeOptions struct {
	Target
	ChartSource
	Waiting

	// Force replaces objects instead of patching them.
	Force bool
	// ResetValues uses the values of the chart and those given only. That is also what happens when neither ResetValues
	// nor ReuseValues is set; ResetValues wins over ReuseValues.
	ResetValues bool
	// ReuseValues merges the given values into those of the revision before.
	ReuseValues bool
	// Recreate restarts the Pods of updated objects.
	Recreate bool
	// MaxHistory is how many revisions are kept; 0 keeps all.
	MaxHistory int
	// CleanupOnFail deletes the objects that a failed upgrade created.
	CleanupOnFail bool
	// TakeOwnership adopts objects that exist already and belong to no release or to another one.
	TakeOwnership bool
}

// RollbackOptions are those of Rollback.
type RollbackOptions struct {
	Target
	Waiting

	// ToRevision is the revision whose chart and values are deployed again; it must be set.
	ToRevision int
	// Force replaces objects instead of patching them.
	Force bool
	// MaxHistory is how many revisions are kept; 0 keeps all.
	MaxHistory int
	// CleanupOnFail deletes the objects that a failed rollback created.
	CleanupOnFail bool
}

// UninstallOptions are those of Uninstall, which always waits until the objects are gone.
type UninstallOptions struct {
	Target

	// Timeout of the wait and of each hook; 5 minutes when it is 0.
	Timeout time.Duration
	// DisableHooks runs no hooks.
	DisableHooks bool
	// KeepHistory keeps the records of the release.
	KeepHistory bool

	Callbacks
}

// defaultTimeout stands in for a timeout of 0, which would make every wait fail at once. It is the Helm CLI's.
const defaultTimeout = 5 * time.Minute

// timeoutOr returns d, or the default when d is not positive.
func timeoutOr(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultTimeout
	}
	return d
}

// TestOptions are those of Test.
type TestOptions struct {
	Target
	// Timeout of each test; 5 minutes when it is 0.
	Timeout time.Duration
	// Include are the names of the tests to run, all when it is empty; Exclude are those to leave out.
	Include, Exclude []string
	// MarkFailed makes a revision whose tests fail a failed one, as if it had not been deployed.
	MarkFailed bool

	Callbacks
}
