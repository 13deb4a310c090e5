// Package drift compares an object of a release with the cluster, and mends it.
//
// What counts is what a manifest says: fields that others added are not looked at. Whether a field really differs is left to
// the API server: the patch that an upgrade would send is tried as a dry run, and its outcome is compared with the live
// object, so that defaults, other spellings of quantities and what admission webhooks change are no differences. When there is
// nothing to patch, nothing is asked.
//
// The package depends on the CRD types, apimachinery and client-go's types of the built-in kinds. It never imports Helm, never
// decides when to look or whether to mend, and never puts values of Secrets into what it returns.
package drift
