// Package source says where the repositories of chartcache come from: HelmRepository objects of a Kubernetes cluster, or
// a repositories.yaml file of Helm. Both end in catalog.Put and catalog.Delete, so that the chartcache library knows
// neither.
//
// It depends on the catalog, the API types and client-go. It reads Secrets with a plain GET when a repository syncs and
// keeps none of them; it must never write to the cluster, and never put a credential into an error or a log line.
package source
