package helm

import "time"

// Status is the state of a release record, in Helm's words.
type Status string

// States of a release record.
const (
	StatusUnknown         Status = "unknown"
	StatusDeployed        Status = "deployed"
	StatusUninstalled     Status = "uninstalled"
	StatusSuperseded      Status = "superseded"
	StatusFailed          Status = "failed"
	StatusUninstalling    Status = "uninstalling"
	StatusPendingInstall  Status = "pending-install"
	StatusPendingUpgrade  Status = "pending-upgrade"
	StatusPendingRollback Status = "pending-rollback"
)

// Pending reports whether an install, upgrade or rollback is under way, or was when its process ended. An uninstall is
// not pending: it is finished by uninstalling again.
func (s Status) Pending() bool {
	return s == StatusPendingInstall || s == StatusPendingUpgrade || s == StatusPendingRollback
}

// Good reports whether a revision with this status was deployed successfully once.
func (s Status) Good() bool { return s == StatusDeployed || s == StatusSuperseded }

// Release is what the newest record of a release says.
type Release struct {
	Name      string
	Namespace string
	// Revision counts from 1.
	Revision int
	Status   Status
	// FirstDeployed and LastDeployed are when the first revision and this one were begun.
	FirstDeployed, LastDeployed time.Time
	// Deleted is when the last uninstall was begun; zero when none was.
	Deleted time.Time
	// Written is when the record was written last, by the clock of the API server; zero when that is not known. The times above are
	// those of whoever ran Helm, on whatever machine.
	Written time.Time
	// Description is Helm's own line about the outcome.
	Description string
	ChartName   string
	// ChartVersion and AppVersion stand as in Chart.yaml.
	ChartVersion, AppVersion string
	// Labels of the record, without those that Helm keeps for itself.
	Labels map[string]string
	// ResourceVersion of the record.
	ResourceVersion string
	// Values are those that were given for this revision, the chart's defaults not included. They may hold secrets: they are
	// there to be compared, never to be shown or changed.
	Values map[string]any
	// Warnings are those that the API server gave while an action wrote objects; empty when the release was only read.
	Warnings []string
}

// Revision is what the labels of one record say.
type Revision struct {
	Revision int
	Status   Status
	// Labels of the record, without those that Helm keeps for itself.
	Labels map[string]string
	// ResourceVersion of the record.
	ResourceVersion string
	// Created is when the record was made.
	Created time.Time
}
