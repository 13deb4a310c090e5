// Package readiness waits for objects of a cluster: until they are ready, have run to their end, or are gone.
//
// It waits by watch. All waits of one Hub for objects of one kind in one namespace share one watch, which begins when the
// first of them needs it, at the resource version that the first one knows already, and ends with the last. It keeps only
// what somebody waits for. A watch that breaks, is too old (410), or meets a restarting or overloaded API server is begun
// again, with a list where events may have been missed: none of that ends a wait. An identity that may not list or watch
// looks at its objects one by one instead, with growing pauses.
//
// What ready means is told by kstatus, with the exceptions that Assess names. Some failures are definite and end a wait at
// once; those of containers end it after a grace period.
//
// The package depends on client-go and kstatus and on nothing of ours. It never writes to the cluster, and what it puts
// into texts comes from statuses of objects: callers mask what must not be shown.
package readiness
