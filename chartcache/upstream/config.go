package upstream

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Defaults of Limits.
const (
	// DefaultIndexBytes is twenty times the largest public index.
	DefaultIndexBytes int64 = 512 << 20
	// DefaultChartBytes is what Helm accepts as an unpacked chart; a tarball is smaller.
	DefaultChartBytes int64 = 100 << 20
	// DefaultTags is more versions than any public chart has.
	DefaultTags = 10_000
	// DefaultRedirects is what net/http follows.
	DefaultRedirects = 10
	// DefaultHostRate is below what public registries allow a client without credentials, and lists 500 charts in ten seconds.
	DefaultHostRate = 50
)

// Names of the flags that set Limits, without dashes. Errors name them, so the process that owns the flags must use
// these names.
const (
	FlagIndexBytes = "max-index-bytes"
	FlagChartBytes = "max-chart-bytes"
	FlagTags       = "max-tags"
	FlagRedirects  = "max-redirects"
	FlagHostRate   = "max-host-requests-per-second"
)

const defaultUserAgent = "helm-operator-chartcache"

// Limits bounds what upstream can make us read. A zero field means its default; a negative one is CONFIGURATION_INVALID.
type Limits struct {
	// IndexBytes bounds an index.yaml after unzipping, and on the wire; default 512 MiB.
	IndexBytes int64
	// ChartBytes bounds a tarball; default 100 MiB.
	ChartBytes int64
	// Tags bounds the tags of one chart, and the charts of one catalogue; default 10000.
	Tags int
	// Redirects bounds the redirects of one request; default 10.
	Redirects int
	// HostRate bounds the requests per second to one host, of all repositories of a Pool together; default 50. Twice as many
	// may come at once.
	HostRate int
}

// Credentials prove to upstream who we are. The zero value is anonymous.
type Credentials struct {
	// Username and Password for basic authentication, or for the token service of a registry. They are never sent to
	// another host than the repository's (PassCredentials apart), and never without TLS when the repository uses TLS.
	Username, Password string
	// CA, Cert and Key are PEM. CA is added to the system's pool; Cert and Key are a client certificate.
	CA, Cert, Key []byte
	// InsecureSkipVerify accepts any server certificate.
	InsecureSkipVerify bool
	// PassCredentials sends Username and Password to other hosts too, when the index names them or the repository
	// redirects there. HTTP only.
	PassCredentials bool
}

// Config describes one repository.
type Config struct {
	// URL of the repository: http, https or oci, without user information.
	URL string
	// PlainHTTP talks plain HTTP to an OCI registry; for HTTP repositories the URL decides.
	PlainHTTP bool
	// Credentials for it; zero is anonymous.
	Credentials Credentials
	// Limits on what is read; zero fields mean defaults.
	Limits Limits
	// Transport makes the transport for a TLS configuration, which it must not change; nil means NewTransport,
	// one for each repository. Pool shares them.
	Transport func(*tls.Config) http.RoundTripper
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// UserAgent of every request; default "helm-operator-chartcache".
	UserAgent string

	// tokens are those of the pool.
	tokens *tokens
}

// New returns the repository that cfg describes, without talking to it. It fails with CONFIGURATION_INVALID, or with
// INTERNAL when the system's certificates cannot be read.
func New(cfg Config) (Upstream, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	u, err := parseRepositoryURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "oci" {
		return newOCI(cfg, u)
	}
	return newHTTP(cfg, u)
}

func (c Config) withDefaults() (Config, error) {
	if c.Limits.IndexBytes < 0 || c.Limits.ChartBytes < 0 || c.Limits.Tags < 0 || c.Limits.Redirects < 0 || c.Limits.HostRate < 0 {
		return c, invalid("a limit on what is read from upstream is negative")
	}
	if c.Limits.IndexBytes == 0 {
		c.Limits.IndexBytes = DefaultIndexBytes
	}
	if c.Limits.ChartBytes == 0 {
		c.Limits.ChartBytes = DefaultChartBytes
	}
	if c.Limits.Tags == 0 {
		c.Limits.Tags = DefaultTags
	}
	if c.Limits.Redirects == 0 {
		c.Limits.Redirects = DefaultRedirects
	}
	if c.Limits.HostRate == 0 {
		c.Limits.HostRate = DefaultHostRate
	}
	if c.tokens == nil {
		c.tokens = newTokens()
	}
	if c.Transport == nil {
		c.Transport = NewTransport
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.UserAgent == "" {
		c.UserAgent = defaultUserAgent
	}
	return c, nil
}

// parseRepositoryURL checks what both kinds of repositories demand of their URL. Messages leave the URL out: a malformed
// one may hold anything, a password included.
func parseRepositoryURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, invalid("the URL of the repository is malformed")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "oci":
		return nil, invalid("the URL of the repository must start with http://, https:// or oci://")
	case u.Hostname() == "":
		return nil, invalid("the URL of the repository names no host")
	case !utf8.ValidString(u.Host): // from an escape such as %ff
		return nil, invalid("the URL of the repository names a host that is not text")
	case u.User != nil:
		return nil, invalid("the URL of the repository holds credentials; give them apart from it")
	case u.Fragment != "":
		return nil, invalid("the URL of the repository holds a fragment (#...); remove it")
	}
	return u, nil
}

// displayURL is u as it may be shown: without user information, query and fragment, which may hold tokens.
func displayURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

func invalid(format string, args ...any) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, format, args...)
}
