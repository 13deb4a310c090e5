package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	// maxChartURLs bounds how many URLs of one chart version are tried.
	maxChartURLs = 10
	// maxValidatorBytes bounds what upstream can make us keep and send back as a validator.
	maxValidatorBytes = 1024
)

// httpRepository is a repository that publishes an index.yaml below its URL.
type httpRepository struct {
	cfg Config
	// base is the repository's URL, its path with a slash at the end.
	base   *url.URL
	client *http.Client
}

func newHTTP(cfg Config, u *url.URL) (*httpRepository, error) {
	t, err := tlsConfig(cfg.Credentials)
	if err != nil {
		return nil, err
	}
	r := &httpRepository{cfg: cfg, base: u.JoinPath("/")}
	r.client = &http.Client{
		Transport:     cfg.Transport(t),
		CheckRedirect: checkRedirect(cfg.Limits.Redirects, r.authorize),
	}
	return r, nil
}

// List reads the index, or learns that it is the one that since names.
func (r *httpRepository) List(ctx context.Context, since Validators, _ []string) (Listing, error) {
	what := "cannot read the index of " + displayURL(r.base)
	u := r.base.JoinPath("index.yaml")
	header := http.Header{"Accept-Encoding": {"gzip"}}
	if since.ETag != "" {
		header.Set("If-None-Match", since.ETag)
	}
	if since.LastModified != "" {
		header.Set("If-Modified-Since", since.LastModified)
	}
	resp, err := r.get(ctx, u, header, what)
	if err != nil {
		return Listing{}, err
	}
	if resp.StatusCode == http.StatusNotModified && since != (Validators{}) {
		_ = resp.Body.Close()
		return Listing{Unchanged: true, Validators: since}, nil
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return Listing{}, statusError(resp.StatusCode, resp.Header, r.cfg.Now(), what)
	}
	index := newBody(ctx, resp.Body, r.cfg.Limits.IndexBytes, FlagIndexBytes, what)
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		if resp.ContentLength > r.cfg.Limits.IndexBytes {
			_ = resp.Body.Close()
			return Listing{}, tooLarge(what, r.cfg.Limits.IndexBytes, "bytes", FlagIndexBytes)
		}
	case "gzip", "x-gzip":
		index = newGunzip(ctx, index)
	default:
		_ = resp.Body.Close()
		return Listing{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED,
			"%s: upstream uses a content encoding that was not asked for", what)
	}
	return Listing{Validators: validatorsOf(resp.Header), Index: index}, nil
}

// Versions returns ErrNotListable: the index lists all charts at once.
func (r *httpRepository) Versions(context.Context, string) ([]string, error) {
	return nil, ErrNotListable
}

// Describe returns what the index says, which may be nothing.
func (r *httpRepository) Describe(_ context.Context, c Chart) (string, string, time.Time, error) {
	return c.Digest, "", time.Time{}, nil
}

// ManifestDigest returns "": an index names no manifests.
func (r *httpRepository) ManifestDigest(context.Context, Chart) (string, error) { return "", nil }

// Fetch opens the first URL of c that answers with a body.
func (r *httpRepository) Fetch(ctx context.Context, c Chart) (Download, error) {
	what := "cannot read the tarball of " + c.Name + " " + c.Version + " of " + displayURL(r.base)
	if len(c.URLs) == 0 {
		return Download{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
			"%s: the index gives no URL", what)
	}
	var first error
	for _, raw := range c.URLs[:min(len(c.URLs), maxChartURLs)] {
		d, err := r.fetchURL(ctx, c, raw, what)
		if err == nil {
			return d, nil
		}
		// The first URL is the one that the repository prefers, so its error tells most.
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Download{}, first
}

func (r *httpRepository) fetchURL(ctx context.Context, c Chart, raw, what string) (Download, error) {
	u, err := r.resolve(raw)
	if err != nil {
		return Download{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
			"%s: the URL in the index is malformed", what)
	}
	if !sameOrigin(r.base, u) {
		what += hostOf(u)
	}
	switch u.Scheme {
	case "http", "https":
	case "oci":
		return r.fetchOCI(ctx, c, u, what)
	default:
		return Download{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
			"%s: the URL in the index is neither HTTP nor OCI", what)
	}
	resp, err := r.get(ctx, u, http.Header{"Accept-Encoding": {"identity"}}, what)
	if err != nil {
		return Download{}, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return Download{}, statusError(resp.StatusCode, resp.Header, r.cfg.Now(), what)
	}
	limit := r.cfg.Limits.ChartBytes
	if resp.ContentLength > limit {
		_ = resp.Body.Close()
		return Download{}, tooLarge(what, limit, "bytes", FlagChartBytes)
	}
	return Download{
		Body:      newBody(ctx, resp.Body, limit, FlagChartBytes, what),
		SizeBytes: resp.ContentLength,
		MediaType: MediaTypeChart,
	}, nil
}

// fetchOCI reads a chart version that an HTTP index places in a registry (oci://host/path/chart:tag).
func (r *httpRepository) fetchOCI(ctx context.Context, c Chart, u *url.URL, what string) (Download, error) {
	cfg := r.cfg
	cfg.Transport = func(*tls.Config) http.RoundTripper { return r.client.Transport }
	scheme := "https"
	if cfg.PlainHTTP {
		scheme = "http"
	}
	if !r.trusts(&url.URL{Scheme: scheme, Host: u.Host}) {
		cfg.Credentials.Username, cfg.Credentials.Password = "", ""
	}
	repository, chart, tag, ok := splitOCIChartURL(u)
	if !ok {
		return Download{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
			"%s: the OCI URL in the index is malformed", what)
	}
	registry, err := newOCI(cfg, repository)
	if err != nil {
		return Download{}, err
	}
	if tag == "" {
		tag = c.Version
	}
	return registry.Fetch(ctx, Chart{Name: chart, Version: tag})
}

// resolve makes the URL of a tarball absolute, as Helm does: relative to the repository, with the repository's query (a
// token, usually) when it has none of its own. The query is not given to other hosts.
func (r *httpRepository) resolve(raw string) (*url.URL, error) {
	ref, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	if ref.IsAbs() {
		if ref.Hostname() == "" {
			return nil, errors.New("no host")
		}
		return ref, nil
	}
	u := r.base.ResolveReference(ref)
	if u.RawQuery == "" && sameOrigin(r.base, u) {
		u.RawQuery = r.base.RawQuery
	}
	return u, nil
}

// get sends a request. The answer may have any status; the caller closes its body.
func (r *httpRepository) get(ctx context.Context, u *url.URL, header http.Header, what string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, requestError(ctx, err, what)
	}
	req.Header = header
	req.Header.Set("User-Agent", r.cfg.UserAgent)
	r.authorize(req)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, requestError(ctx, err, what)
	}
	return resp, nil
}

// authorize puts the repository's credentials on a request that may carry them and takes them off any other.
func (r *httpRepository) authorize(req *http.Request) {
	req.Header.Del("Authorization")
	c := r.cfg.Credentials
	if c.Username == "" && c.Password == "" {
		return
	}
	if r.trusts(req.URL) {
		req.SetBasicAuth(c.Username, c.Password)
	}
}

// trusts says whether requests for u may carry the repository's credentials.
func (r *httpRepository) trusts(u *url.URL) bool {
	if sameOrigin(r.base, u) {
		return true
	}
	return r.cfg.Credentials.PassCredentials && (u.Scheme == "https" || r.base.Scheme == "http")
}

// validatorsOf reads the validators of an answer; an absurd one counts as none.
func validatorsOf(h http.Header) Validators {
	v := Validators{ETag: h.Get("ETag"), LastModified: h.Get("Last-Modified")}
	if len(v.ETag) > maxValidatorBytes {
		v.ETag = ""
	}
	if len(v.LastModified) > maxValidatorBytes {
		v.LastModified = ""
	}
	return v
}

// plainHost matches hosts that may be shown although an index names them: no text hides in them.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$`)

// hostOf is " at HOST" for a host that may be shown, so that people see which of several hosts failed.
func hostOf(u *url.URL) string {
	if !plainHost.MatchString(u.Host) {
		return ""
	}
	return " at " + u.Host
}
