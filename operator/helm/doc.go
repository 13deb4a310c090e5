// Package helm is the seam between the operator and Helm: it installs, upgrades, rolls back and uninstalls releases, and
// reads what Helm's storage says about them.
//
// It is the only package that imports helm.sh/helm. No type of Helm appears in its exported API, so that a move to another
// major version of Helm changes this package alone. It depends on Helm, on client-go and, of
// ours, on packages readiness and fence.
//
// It must never decide anything (when to install, what to retry, whom a release belongs to: that is package release), never
// read from the network except from the cluster's API server, and never put values of a release into an error or a log line.
//
// # One operation
//
// Each action runs as one operation with a Kubernetes client and a storage driver of its own. Helm gets a background
// context: cancelling inside Helm marks releases failed and leaves goroutines writing. The context that callers pass
// ends waits for readiness and for deletion only. When it does, the operation is fenced: every later write, of objects and
// of release records, is refused, so that the record stays as it was (pending) for MarkInterrupted or for the next start. A
// lost lease (Config.Fence) does the same at any moment.
//
// Waits are those of package readiness: by watches that all operations of a client share.
package helm
