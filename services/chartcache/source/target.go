package source

import (
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Catalog takes the repositories that a source finds.
type Catalog interface {
	// Put adds or changes a repository; an unchanged one is left alone.
	Put(catalog.Spec)
	// Delete forgets a repository.
	Delete(catalog.Ref)
}

// Bounds and defaults of the durations of a repository.
const (
	// leastInterval keeps a mistyped interval from becoming a hot loop on somebody's server.
	leastInterval = 10 * time.Second
	// leastTimeout leaves every upstream a chance.
	leastTimeout = time.Second
	// DefaultInterval is the interval of a repository that does not say one.
	DefaultInterval = 30 * time.Minute
	// DefaultTimeout is the timeout of a repository that does not say one.
	DefaultTimeout = 5 * time.Minute
)

// checkURL says why a URL cannot be one of a repository; nil when it can. field names it in the message, which never
// repeats the URL: what is wrong with it may be a password.
func checkURL(field, raw string) *cacheerr.Error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return wrong("%s is not a URL", field)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci":
		return wrong("%s must begin with https://, http:// or oci://", field)
	case u.User != nil:
		return wrong("%s must not hold a user name or password; use credentials instead", field)
	case u.Hostname() == "":
		return wrong("%s has no host", field)
	case !utf8.ValidString(u.Host): // from an escape such as %ff
		return wrong("%s has a host that is not text", field)
	case u.RawQuery != "" || u.ForceQuery:
		return wrong("%s must not have a query", field)
	case u.Fragment != "":
		return wrong("%s must not have a fragment", field)
	}
	return nil
}

// wrong is an error that only an edit of the configuration can mend.
func wrong(format string, args ...any) *cacheerr.Error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, format, args...)
}

// unavailable is the error for credentials that cannot be read.
func unavailable(format string, args ...any) *cacheerr.Error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE, format, args...)
}
