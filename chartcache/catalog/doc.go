// Package catalog is the domain of chartcache: the set of repositories, when they sync, what is served while they do not,
// what a version means, and the tarballs.
//
// It owns the folder with indexes and sync states, and uses upstream to read repositories, index to keep what they list
// and blob to keep tarballs. It must never know Kubernetes or gRPC, write credentials to disk, or serve what was synced
// from one URL under another.
package catalog
