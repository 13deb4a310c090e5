package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HelmReleaseStatus is what is known of a release. Values are never part of it: they may hold secrets.
type HelmReleaseStatus struct {
	// Conditions: Ready, Released, Failed, Progressing, and where they apply TestSuccess, Drifted and Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the newest generation of the spec that the conditions reflect.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// HelmRelease is the newest revision in Helm's storage.
	// +optional
	HelmRelease *HelmReleaseInfo `json:"helmRelease,omitempty"`

	// Failures are the newest five failures, newest first.
	// +kubebuilder:validation:MaxItems=5
	// +optional
	Failures []ReleaseFailure `json:"failures,omitempty"`

	// FailureCount is how many operations failed in a row since the desired state last changed. It drives the back-off.
	// +optional
	FailureCount int32 `json:"failureCount,omitempty"`

	// History lists the newest five revisions that this object deployed, newest first.
	// +kubebuilder:validation:MaxItems=5
	// +optional
	History []ReleaseRevision `json:"history,omitempty"`

	// DesiredDigest stands for what should be deployed: chart, values and what else changes the rendered objects.
	// +optional
	DesiredDigest string `json:"desiredDigest,omitempty"`

	// AppliedDigest is the desired digest of what is deployed.
	// +optional
	AppliedDigest string `json:"appliedDigest,omitempty"`

	// FailedDigest is the desired digest of what last failed. After a rollback it is not tried again until it changes or
	// a retry is asked for.
	// +optional
	FailedDigest string `json:"failedDigest,omitempty"`

	// ChartVersion is the version of the chart that should be deployed now.
	// +optional
	ChartVersion string `json:"chartVersion,omitempty"`

	// ChartDigest is the digest of the tarball of that version.
	// +optional
	ChartDigest string `json:"chartDigest,omitempty"`

	// LatestVersion is the newest stable version of the chart, when it is outside the constraint.
	// +optional
	LatestVersion string `json:"latestVersion,omitempty"`

	// Operation is the Helm operation that runs, or ran last. It is written before Helm is called, so that a restart
	// knows its own work.
	// +optional
	Operation *ReleaseOperation `json:"operation,omitempty"`

	// Drift lists the objects that differed from the release at the last look; not set when none did.
	// +optional
	Drift *DriftStatus `json:"drift,omitempty"`

	// HandledReconcile is the last value of the reconcile annotation that was acted on.
	// +optional
	HandledReconcile string `json:"handledReconcile,omitempty"`

	// HandledRetry is the last value of the retry annotation that was acted on.
	// +optional
	HandledRetry string `json:"handledRetry,omitempty"`

	// HandledForce is the last value of the force annotation that was acted on.
	// +optional
	HandledForce string `json:"handledForce,omitempty"`

	// LastAppliedConfiguration is a field of the original project. It is cleared: it held values.
	// +optional
	LastAppliedConfiguration string `json:"lastAppliedConfiguration,omitempty"`

	// OriginalValues is a field of the original project. It is cleared: it held values.
	// +optional
	OriginalValues string `json:"originalValues,omitempty"`
}

// HelmReleaseInfo is what Helm's storage says of a revision.
type HelmReleaseInfo struct {
	// Name of the release.
	// +optional
	Name string `json:"name,omitempty"`

	// Namespace of the release.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Revision of the release.
	// +optional
	Revision int `json:"revision,omitempty"`

	// Status as Helm calls it, such as deployed, failed or pending-upgrade.
	// +optional
	Status string `json:"status,omitempty"`

	// FirstDeployed is when the release was installed.
	// +optional
	FirstDeployed *metav1.Time `json:"firstDeployed,omitempty"`

	// LastDeployed is when the revision was deployed.
	// +optional
	LastDeployed *metav1.Time `json:"lastDeployed,omitempty"`

	// Description of the revision by Helm.
	// +optional
	Description string `json:"description,omitempty"`

	// Chart is the name and version of the chart, "name-version".
	// +optional
	Chart string `json:"chart,omitempty"`

	// AppVersion is the version of the packaged application.
	// +optional
	AppVersion string `json:"appVersion,omitempty"`
}

// ReleaseFailure is a failure.
type ReleaseFailure struct {
	// Time of the failure.
	Time metav1.Time `json:"time"`

	// Reason, as in the Ready condition.
	Reason string `json:"reason"`

	// Message says what failed.
	Message string `json:"message"`
}

// ReleaseRevision is a revision that this object deployed.
type ReleaseRevision struct {
	// Revision of the release.
	Revision int `json:"revision"`

	// Status as Helm calls it.
	Status string `json:"status"`

	// ChartVersion of the revision.
	// +optional
	ChartVersion string `json:"chartVersion,omitempty"`

	// AppVersion of the revision.
	// +optional
	AppVersion string `json:"appVersion,omitempty"`

	// Digest is the desired digest that the revision deployed.
	// +optional
	Digest string `json:"digest,omitempty"`

	// Deployed is when the revision was written.
	// +optional
	Deployed *metav1.Time `json:"deployed,omitempty"`

	// Tests says how the chart's tests of the revision ended, Passed or Failed; empty when they did not run.
	// +optional
	Tests TestOutcome `json:"tests,omitempty"`
}

// TestOutcome says how the tests of a revision ended.
// +kubebuilder:validation:Enum=Passed;Failed
type TestOutcome string

// Outcomes of tests.
const (
	TestsPassed TestOutcome = "Passed"
	TestsFailed TestOutcome = "Failed"
)

// OperationType is a kind of Helm operation.
// +kubebuilder:validation:Enum=Install;Upgrade;Rollback;Uninstall;Test
type OperationType string

// Kinds of operations.
const (
	OperationInstall   OperationType = "Install"
	OperationUpgrade   OperationType = "Upgrade"
	OperationRollback  OperationType = "Rollback"
	OperationUninstall OperationType = "Uninstall"
	OperationTest      OperationType = "Test"
)

// OperationPhase is how far an operation is.
// +kubebuilder:validation:Enum=Running;Succeeded;Failed;Interrupted
type OperationPhase string

// Phases of operations.
const (
	// OperationRunning was written before Helm was called.
	OperationRunning OperationPhase = "Running"
	// OperationSucceeded ended well.
	OperationSucceeded OperationPhase = "Succeeded"
	// OperationFailed ended with an error.
	OperationFailed OperationPhase = "Failed"
	// OperationInterrupted was cut off by a restart or a newer spec. That is no failure.
	OperationInterrupted OperationPhase = "Interrupted"
)

// ReleaseOperation is a Helm operation.
type ReleaseOperation struct {
	// ID is unique to the operation; records that it writes carry it as a label.
	ID string `json:"id"`

	// Type of the operation.
	Type OperationType `json:"type"`

	// Phase of the operation.
	Phase OperationPhase `json:"phase"`

	// Revision that the operation writes.
	// +optional
	Revision int `json:"revision,omitempty"`

	// Digest is the desired digest that the operation deploys.
	// +optional
	Digest string `json:"digest,omitempty"`

	// StartedAt is when the operation began.
	StartedAt metav1.Time `json:"startedAt"`

	// Message says what it is about, and how it ended.
	// +optional
	Message string `json:"message,omitempty"`
}

// DriftStatus lists objects that differ from the release.
type DriftStatus struct {
	// Digest stands for the set of all differences, without their values. A new one is told by an event.
	Digest string `json:"digest"`

	// Count of all objects that differ.
	Count int32 `json:"count"`

	// Objects that differ, by kind, namespace and name; the first twenty.
	// +kubebuilder:validation:MaxItems=20
	// +optional
	Objects []DriftedObject `json:"objects,omitempty"`
}

// DriftState says how an object differs.
// +kubebuilder:validation:Enum=Changed;Missing;Deleting
type DriftState string

// States of objects that differ.
const (
	// DriftChanged has other values in fields that the release owns.
	DriftChanged DriftState = "Changed"
	// DriftMissing does not exist.
	DriftMissing DriftState = "Missing"
	// DriftDeleting is being deleted; it can be made again when it is gone.
	DriftDeleting DriftState = "Deleting"
)

// DriftedObject is an object that differs.
type DriftedObject struct {
	// APIVersion of the object.
	APIVersion string `json:"apiVersion"`

	// Kind of the object.
	Kind string `json:"kind"`

	// Namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name of the object.
	Name string `json:"name"`

	// State of the object.
	State DriftState `json:"state"`

	// Fields that differ, by path; the first ten.
	// +kubebuilder:validation:MaxItems=10
	// +optional
	Fields []DriftedField `json:"fields,omitempty"`

	// FieldCount is the number of all fields that differ.
	// +optional
	FieldCount int32 `json:"fieldCount,omitempty"`

	// Corrections is how often in a row the object was corrected and differed again.
	// +optional
	Corrections int32 `json:"corrections,omitempty"`

	// Message says why the object was not corrected.
	// +optional
	Message string `json:"message,omitempty"`
}

// DriftedField is a field that differs. Values that are long, that may be secret, and all those of Secrets are left out.
type DriftedField struct {
	// Path of the field as a JSON pointer (RFC 6901). Items of lists are counted as in the release.
	Path string `json:"path"`

	// Want is the value that the release says, as JSON.
	// +optional
	Want string `json:"want,omitempty"`

	// Have is the value in the cluster, as JSON.
	// +optional
	Have string `json:"have,omitempty"`
}
