// Package controller reconciles HelmRepository and HelmRelease objects.
//
// It is thin: the state of repositories comes from chartcache, and package release decides what is done about releases.
// What is here is the traffic: which events wake which objects, how objects are read and written, and the one watch that
// tells what changed in chartcache. Nothing is polled.
//
// It depends on controller-runtime, package release and the client of chartcache. It must never update an object whole
// (metadata and status are patched, by optimistic lock), never write a status that did not change, and never watch
// more than metadata of anything beside the two kinds.
//
// The operator needs, beside the rights for what charts contain: helmreleases and helmrepositories get, list, watch and
// patch, their status patch; events create and patch; secrets get, list, create, update, patch and delete for the records of
// releases; configmaps get, list, watch, create, patch and delete for default values of charts; namespaces get and create; leases in its own namespace for the election of a leader.
package controller
