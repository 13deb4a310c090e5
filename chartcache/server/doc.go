// Package server is the gRPC front of chartcache: it turns requests of the contract into calls of the catalog and the
// answers back, and holds the three tables that say how: which methods exist and what they may cost (methods.go), what a
// request must look like (validate.go), and which status an error becomes (errors.go).
//
// It depends on the catalog, the error values and the contract. It must never read a repository, keep state of its own
// beyond running calls, know Kubernetes, or let the cause of an error out: causes are for the log.
package server
