package v1alpha1

// InstallSpec configures the first deployment.
type InstallSpec struct {
	// Timeout of the operation. Values below 1s count as 1s.
	// +kubebuilder:default="10m"
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// Wait until all objects are ready.
	// +kubebuilder:default=true
	// +optional
	Wait *bool `json:"wait,omitempty"`

	// WaitForJobs waits until all Jobs have completed, too, when wait is on.
	// +kubebuilder:default=true
	// +optional
	WaitForJobs *bool `json:"waitForJobs,omitempty"`

	// SkipCRDs leaves the chart's crds/ folder out.
	// +kubebuilder:default=false
	// +optional
	SkipCRDs bool `json:"skipCRDs,omitempty"`

	// Replace reuses the name of a release that was deleted but stays in the history.
	// +kubebuilder:default=false
	// +optional
	Replace bool `json:"replace,omitempty"`

	// DisableHooks leaves the chart's hooks out.
	// +kubebuilder:default=false
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`

	// TakeOwnership adopts objects that exist already and belong to no release or to another one.
	// +optional
	TakeOwnership bool `json:"takeOwnership,omitempty"`

	// DisableSchemaValidation does not check values against the chart's values.schema.json.
	// +optional
	DisableSchemaValidation bool `json:"disableSchemaValidation,omitempty"`

	// FieldValidation says what unknown fields in rendered objects do: Warn reports them, Strict refuses the operation
	// before anything is written.
	// +kubebuilder:default=Warn
	// +optional
	FieldValidation FieldValidation `json:"fieldValidation,omitempty"`

	// Remediation says what follows a failed first install: Retry upgrades over it, Uninstall removes it first.
	// +kubebuilder:default=Retry
	// +optional
	Remediation InstallRemediation `json:"remediation,omitempty"`
}

// FieldValidation says what unknown fields in rendered objects do.
// +kubebuilder:validation:Enum=Warn;Strict
type FieldValidation string

// Kinds of field validation.
const (
	FieldValidationWarn   FieldValidation = "Warn"
	FieldValidationStrict FieldValidation = "Strict"
)

// InstallRemediation says what follows a failed first install.
// +kubebuilder:validation:Enum=Retry;Uninstall
type InstallRemediation string

// Remediations of a failed first install.
const (
	InstallRemediationRetry     InstallRemediation = "Retry"
	InstallRemediationUninstall InstallRemediation = "Uninstall"
)

// UpgradeSpec configures every later deployment.
type UpgradeSpec struct {
	// Timeout of the operation. Values below 1s count as 1s.
	// +kubebuilder:default="10m"
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// Wait until all objects are ready.
	// +kubebuilder:default=true
	// +optional
	Wait *bool `json:"wait,omitempty"`

	// WaitForJobs waits until all Jobs have completed, too, when wait is on.
	// +kubebuilder:default=true
	// +optional
	WaitForJobs *bool `json:"waitForJobs,omitempty"`

	// Force replaces objects that cannot be patched.
	// +kubebuilder:default=false
	// +optional
	Force bool `json:"force,omitempty"`

	// ResetValues uses the values of the chart, ignoring those of the release before. It wins over reuseValues.
	// +kubebuilder:default=false
	// +optional
	ResetValues bool `json:"resetValues,omitempty"`

	// ReuseValues merges the values into those of the release before.
	// +kubebuilder:default=false
	// +optional
	ReuseValues bool `json:"reuseValues,omitempty"`

	// Recreate restarts the Pods of the release.
	// +kubebuilder:default=false
	// +optional
	Recreate bool `json:"recreate,omitempty"`

	// MaxHistory is how many revisions are kept; 0 keeps all.
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +optional
	MaxHistory *int32 `json:"maxHistory,omitempty"`

	// CleanupOnFail deletes objects that a failed upgrade created.
	// +kubebuilder:default=true
	// +optional
	CleanupOnFail *bool `json:"cleanupOnFail,omitempty"`

	// DisableHooks leaves the chart's hooks out.
	// +kubebuilder:default=false
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`

	// TakeOwnership adopts objects that exist already and belong to no release or to another one.
	// +optional
	TakeOwnership bool `json:"takeOwnership,omitempty"`

	// DisableSchemaValidation does not check values against the chart's values.schema.json.
	// +optional
	DisableSchemaValidation bool `json:"disableSchemaValidation,omitempty"`

	// FieldValidation says what unknown fields in rendered objects do: Warn reports them, Strict refuses the operation
	// before anything is written.
	// +kubebuilder:default=Warn
	// +optional
	FieldValidation FieldValidation `json:"fieldValidation,omitempty"`
}

// UninstallSpec configures the removal of a release. It waits until the objects are gone.
type UninstallSpec struct {
	// Timeout of the operation. Values below 1s count as 1s.
	// +kubebuilder:default="5m"
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// DisableHooks leaves the chart's hooks out.
	// +kubebuilder:default=false
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`

	// KeepHistory keeps the records of the release.
	// +kubebuilder:default=false
	// +optional
	KeepHistory bool `json:"keepHistory,omitempty"`
}

// RollbackSpec configures what happens when an upgrade fails.
type RollbackSpec struct {
	// Enabled rolls a failed upgrade back.
	// +kubebuilder:default=false
	// +optional
	Enabled bool `json:"enabled,omitempty"`

	// ToRevision is the revision to roll back to; 0 means the newest good one.
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +optional
	ToRevision int32 `json:"toRevision,omitempty"`

	// Timeout of the operation. Values below 1s count as 1s.
	// +kubebuilder:default="5m"
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// Wait until all objects are ready.
	// +kubebuilder:default=true
	// +optional
	Wait *bool `json:"wait,omitempty"`

	// CleanupOnFail deletes objects that a failed rollback created.
	// +kubebuilder:default=true
	// +optional
	CleanupOnFail *bool `json:"cleanupOnFail,omitempty"`

	// Force replaces objects that cannot be patched.
	// +kubebuilder:default=false
	// +optional
	Force bool `json:"force,omitempty"`

	// DisableHooks leaves the chart's hooks out.
	// +kubebuilder:default=false
	// +optional
	DisableHooks bool `json:"disableHooks,omitempty"`
}
