package catalog

import (
	"context"
	"time"

	"github.com/ketches/helm-operator/chartcache/upstream"
)

// Spec describes a configured repository.
type Spec struct {
	// Ref names it.
	Ref Ref
	// Generation of the object it comes from; 0 when it comes from none.
	Generation int64
	// URL of the repository (http, https or oci). It may change; what was synced from another URL is not served then.
	URL string
	// PlainHTTP talks plain HTTP to an OCI registry.
	PlainHTTP bool
	// Interval between syncs, jittered by a tenth; 0 means 30 minutes, and less than 5 seconds means 5 seconds.
	Interval time.Duration
	// Timeout of one sync, or of one download; 0 means 5 minutes, less than a second means a second, and more than an hour
	// means an hour.
	Timeout time.Duration
	// Suspend stops syncs. What is cached stays served; tarballs that its index names may still be downloaded.
	Suspend bool
	// Credentials reads the credentials; it is called at the start of each sync and each download, and its result is not
	// kept. Nil means anonymous. Its error should be a cacheerr.Error with reason CREDENTIALS_UNAVAILABLE or
	// CONFIGURATION_INVALID.
	Credentials func(ctx context.Context) (upstream.Credentials, error)
	// CredentialsID names what Credentials reads, where Generation does not tell (0, or the same after an edit): a
	// change of it syncs at once. It is kept in memory only.
	CredentialsID string
	// Invalid says why the spec cannot work, a cacheerr.Error with reason CONFIGURATION_INVALID: the repository is FAILED
	// with it and does not sync. Nil for a spec that can.
	Invalid error
}
