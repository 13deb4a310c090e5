// Package metrics shows what chartcache does as Prometheus metrics: the repository metrics that dashboards of the
// original helm-operator read, and chartcache_* ones.
//
// It depends on the Prometheus client and the types of the libraries that it is told about. Series of a repository go
// when the repository goes. It must never put a URL into a label.
package metrics
