// Package e2e tells whole stories: it starts the local control plane of deploy/local, a registry and a chart
// repository, and both services as real processes with the ServiceAccounts that deploy/manifests.yaml ships, so that
// exactly the shipped rights are what is tested. One control plane serves the whole package; each story has a
// namespace of its own.
package e2e
