package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// NewTransport returns the default transport of Config.Transport: with a connection pool of its own, and the proxy of the
// environment. The deadline of a whole request is the context's; the timeouts here only make a dead host fail before it.
func NewTransport(t *tls.Config) http.RoundTripper {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: 15 * time.Second,
		ForceAttemptHTTP2:   true,
		// Some servers make a large index anew for each request. One that accepts and never answers must not hold one of
		// the few turns to sync for the whole timeout of its repository.
		ResponseHeaderTimeout: time.Minute,
		MaxIdleConnsPerHost:   ociListConcurrency,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// A header is never worth more; the default is 10 MiB.
		MaxResponseHeaderBytes: 1 << 20,
		// The index asks for gzip itself; a tarball must arrive as it is stored, also from servers that label a .tgz
		// with "Content-Encoding: gzip".
		DisableCompression: true,
	}
}

// tlsConfig turns credentials into a TLS configuration.
func tlsConfig(c Credentials) (*tls.Config, error) {
	t := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Only where the repository's owner asks for it.
		InsecureSkipVerify: c.InsecureSkipVerify,
	}
	if len(c.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, err, "cannot read the system's certificates")
		}
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, invalid("the CA of the repository holds no PEM certificate")
		}
		t.RootCAs = pool
	}
	if (len(c.Cert) > 0) != (len(c.Key) > 0) {
		return nil, invalid("a client certificate needs both the certificate and its key")
	}
	if len(c.Cert) > 0 {
		pair, err := tls.X509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, err,
				"the client certificate of the repository and its key are not a PEM pair")
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// sameOrigin says whether a and b have the same scheme, host and port; a default port equals none. A step from plain
// HTTP to TLS on the default ports of one host counts as staying.
func sameOrigin(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// checkRedirect returns a redirect policy: at most limit hops, HTTP only, and no Referer, since the URL that redirected
// may hold a token in its query. authorize is called for every hop, because net/http rebuilds the headers of each hop
// from the first request.
func checkRedirect(limit int, authorize func(*http.Request)) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if len(via) > limit {
			return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE,
				"upstream redirects more than %d times (limit --%s)", limit, FlagRedirects)
		}
		if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
			return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED,
				"upstream redirects to a URL that is not HTTP")
		}
		req.Header.Del("Referer")
		authorize(req)
		return nil
	}
}
