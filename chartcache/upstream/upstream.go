// Package upstream reads remote chart repositories: HTTP repositories, which publish an index.yaml, and OCI registries.
//
// It speaks the protocols and nothing else: it bounds what it reads, keeps credentials where they belong and classifies
// every failure as a cacheerr.Error. It keeps nothing on disk, verifies no chart (package blob does), and never puts a
// credential, a URL with user information or a query, or text that upstream sent into the message of an error.
package upstream

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrNotListable says that this kind of repository cannot be asked for the versions of one chart: its index lists all of
// them at once.
var ErrNotListable = errors.New("the repository lists its charts in an index")

// Chart names one version of a chart as the repository lists it.
type Chart struct {
	// Name of the chart; for OCI the path below the repository's URL.
	Name string
	// Version as the repository spells it, with "+" (OCI tags are mapped by this package).
	Version string
	// URLs of the tarball, in the order to try them, absolute or relative to the repository's URL. HTTP only.
	URLs []string
	// Digest of the tarball as the index gives it ("sha256:..." or bare hexadecimal digits); empty when it gives none.
	Digest string
	// ManifestDigest pins the manifest, so that a tag that moved meanwhile is not followed. OCI only; empty means that
	// the tag of Version decides.
	ManifestDigest string
}

// Validators are what upstream gave to recognise a listing by. The zero value recognises nothing.
type Validators struct {
	// ETag is the entity tag, with its quotes.
	ETag string
	// LastModified is the Last-Modified header as it was sent.
	LastModified string
}

// Listing is what a repository holds.
type Listing struct {
	// Unchanged says that upstream still holds what the validators name; nothing else is set then.
	Unchanged bool
	// Validators of this listing, for the next one. Zero when upstream gives none.
	Validators Validators
	// Index is the stream of index.yaml, unzipped and bounded. The caller closes it. Its Read returns a cacheerr.Error.
	// Nil for OCI.
	Index io.ReadCloser
	// Charts are the versions by chart path below the repository's URL, in the order of the registry. Nil for HTTP.
	Charts map[string][]string
}

// Download is a tarball that is about to be read.
type Download struct {
	// Body is the tarball. The caller closes it. Its Read returns a cacheerr.Error.
	Body io.ReadCloser
	// SizeBytes is the size that upstream promises; -1 when it promises none.
	SizeBytes int64
	// MediaType of the body.
	MediaType string
	// Digest is what upstream's manifest promises for the body, "sha256:..."; empty for HTTP.
	Digest string
	// ManifestDigest is the digest of the OCI manifest; empty for HTTP.
	ManifestDigest string
	// Provenance is the .prov file that the manifest names; nil when there is none.
	Provenance []byte
}

// Upstream is one remote repository. Its methods may be called concurrently. Every error is a cacheerr.Error, or
// ErrNotListable, or wraps one of them; a context that ends is UPSTREAM_UNREACHABLE with the context's cause wrapped.
type Upstream interface {
	// List reads what the repository holds. known names the charts that were asked for so far: a registry without a
	// catalogue is listed by them, and one of them that the registry no longer has is left out. For OCI it first checks
	// that /v2/ answers with the credentials.
	List(ctx context.Context, since Validators, known []string) (Listing, error)
	// Versions lists the versions of one chart where the repository can be asked for one chart (OCI): CHART_NOT_FOUND
	// when there is no such chart. HTTP returns ErrNotListable.
	Versions(ctx context.Context, chart string) ([]string, error)
	// Describe returns the digest of the tarball, the digest of the manifest and the time of publication of an OCI chart
	// version, without the tarball. HTTP returns the index's digest as given. A time that is not known is zero.
	Describe(ctx context.Context, c Chart) (digest, manifestDigest string, created time.Time, err error)
	// ManifestDigest returns the digest of the manifest that the tag of c.Version names now, whatever c.ManifestDigest
	// says, by one request without a body. It tells whether Describe would return anything new. HTTP returns "".
	ManifestDigest(ctx context.Context, c Chart) (string, error)
	// Fetch opens the tarball; where there are several URLs, it tries the next one when one fails. The body is not
	// verified.
	Fetch(ctx context.Context, c Chart) (Download, error)
}
