package v1alpha1

// Finalizers of the objects.
const (
	RepositoryFinalizer = GroupName + "/repository-finalizer"
	ReleaseFinalizer    = GroupName + "/release-finalizer"
)

// Annotations by which people ask for something once; any new value counts.
const (
	// ReconcileAnnotation asks to look at the object now.
	ReconcileAnnotation = GroupName + "/reconcile"
	// RetryAnnotation asks to forget failures and try again now.
	RetryAnnotation = GroupName + "/retry"
	// ForceAnnotation asks for one upgrade even when nothing changed.
	ForceAnnotation = GroupName + "/force"
)

// DriftDetectionAnnotation with the value "disabled", on an object of a release, leaves the object out of drift detection.
const DriftDetectionAnnotation = GroupName + "/drift-detection"

// Labels on the records of Helm releases that the operator writes.
const (
	// OwnerLabel names the HelmRelease that owns a record, by a hash of its namespace and name.
	OwnerLabel = GroupName + "/owner"
	// OperationLabel names the operation that wrote a record.
	OperationLabel = GroupName + "/operation"
)

// Condition types.
const (
	// ConditionReady says whether the object is as its spec wants it. It is derived from all else.
	ConditionReady = "Ready"
	// ConditionSyncing is True while a repository syncs.
	ConditionSyncing = "Syncing"
	// ConditionFailed is True while the last sync or operation is one that failed.
	ConditionFailed = "Failed"
	// ConditionReleased says whether the Helm release is deployed.
	ConditionReleased = "Released"
	// ConditionProgressing is True while a Helm operation runs.
	ConditionProgressing = "Progressing"
	// ConditionStalled is True when only an edit can help.
	ConditionStalled = "Stalled"
	// ConditionTestSuccess is the outcome of the chart's tests.
	ConditionTestSuccess = "TestSuccess"
	// ConditionDrifted is True while objects in the cluster differ from the release, and Unknown while they cannot be compared. It
	// is there only while drift detection is on.
	ConditionDrifted = "Drifted"
)

// Reasons of conditions and events.
const (
	ReasonSyncStarted          = "SyncStarted"
	ReasonSyncCompleted        = "SyncCompleted"
	ReasonSyncFailed           = "SyncFailed"
	ReasonAuthenticationFailed = "AuthenticationFailed"
	ReasonSuspended            = "Suspended"
	ReasonConfigurationError   = "ConfigurationError"
	ReasonInvalidURL           = "InvalidURL"

	// ReasonValuesConfigMapsUpdated is of events that ConfigMaps with default values were made, updated or removed.
	ReasonValuesConfigMapsUpdated = "ValuesConfigMapsUpdated"
	// ReasonValuesConfigMapsFailed is of events that some could not be.
	ReasonValuesConfigMapsFailed = "ValuesConfigMapsFailed"

	ReasonInstallStarted     = "InstallStarted"
	ReasonInstallCompleted   = "InstallCompleted"
	ReasonInstallFailed      = "InstallFailed"
	ReasonUpgradeStarted     = "UpgradeStarted"
	ReasonUpgradeCompleted   = "UpgradeCompleted"
	ReasonUpgradeFailed      = "UpgradeFailed"
	ReasonUninstallStarted   = "UninstallStarted"
	ReasonUninstallCompleted = "UninstallCompleted"
	ReasonUninstallFailed    = "UninstallFailed"
	ReasonRolledBack         = "RolledBack"
	ReasonRollbackSucceeded  = "RollbackSucceeded"
	ReasonRollbackFailed     = "RollbackFailed"
	ReasonDependencyNotReady = "DependencyNotReady"
	ReasonReleaseSuspended   = "ReleaseSuspended"
	ReasonRepositoryNotFound = "RepositoryNotFound"
	ReasonChartNotFound      = "ChartNotFound"
	ReasonValuesError        = "ValuesError"
	ReasonDriftDetected      = "DriftDetected"
	ReasonDriftCorrected     = "DriftCorrected"
	ReasonNoDrift            = "NoDrift"
	ReasonDriftUnknown       = "DriftUnknown"
	ReasonTestFailed         = "TestFailed"
	ReasonTestSucceeded      = "TestSucceeded"
)
