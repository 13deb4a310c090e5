// Package release is the engine that keeps a Helm release as a HelmRelease describes it.
//
// One pass is observe, decide, act, record:
//
//   - observe gathers Facts without side effects: the spec, the chart that it means now, the values, the newest record of
//     Helm's storage, and what the status remembers;
//   - Decide is a pure function from Facts to one Decision;
//   - act does it: short steps at once, Helm operations in the Runner, outside the reconcile workers. Before Helm is
//     called the intent stands in the status, written by optimistic lock;
//   - record writes the status once per step, and only when it changed, then emits the events of that step.
//
// The status has one writer, the reconcile worker that holds the object; the only exception is the shutdown of the
// process, when no worker runs any more and the Runner notes what it interrupted.
//
// The package depends on the CRD types, package helm, package values and the client of chartcache. It must never write
// values or credentials into a status, an event, a log line or an error, never read the cluster except through the
// interfaces of its Config, and never match on the text of an error.
package release
