package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	ociref "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Media types of Helm charts in OCI registries.
const (
	MediaTypeChart      = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	MediaTypeConfig     = "application/vnd.cncf.helm.config.v1+json"
	MediaTypeProvenance = "application/vnd.cncf.helm.chart.provenance.v1.prov"
)

// ociRepository is a part of an OCI registry: the charts below a path.
type ociRepository struct {
	cfg      Config
	registry *remote.Registry
	// prefix is the path of the repository, without slashes at its ends; empty for a whole registry.
	prefix string
	// display is the repository's URL as it may be shown.
	display string
}

func newOCI(cfg Config, u *url.URL) (*ociRepository, error) {
	prefix := strings.Trim(u.Path, "/")
	switch {
	case u.RawQuery != "":
		return nil, invalid("the URL of an OCI repository has no query (?...); remove it")
	case (cfg.Credentials.Username == "") != (cfg.Credentials.Password == ""):
		return nil, invalid("the credentials of an OCI repository need both a username and a password")
	case prefix != "" && (ociref.Reference{Repository: prefix}).ValidateRepository() != nil:
		return nil, invalid("the path of the OCI repository is not a valid repository name " +
			"(lower-case letters, digits, '.', '_', '-' and '/'; no tag)")
	}
	t, err := tlsConfig(cfg.Credentials)
	if err != nil {
		return nil, err
	}
	registry, err := remote.NewRegistry(u.Host)
	if err != nil {
		return nil, invalid("the host of the OCI repository is malformed")
	}
	r := &ociRepository{cfg: cfg, registry: registry, prefix: prefix, display: displayURL(u)}
	registry.Client = r.newClient(t, u.Host)
	registry.PlainHTTP = cfg.PlainHTTP
	registry.ManifestMediaTypes = []string{mediaTypeManifest}
	// A tag has at most 128 characters, a repository 255.
	registry.MaxMetadataBytes = max(maxManifestBytes, int64(cfg.Limits.Tags)*300)
	registry.TagListMaxPages = cfg.Limits.Tags
	return r, nil
}

// rateLimits is a transport that turns a rate limit into an error. Requests for tokens are sent inside oras, which keeps
// the status of an answer but not how long it asks us to wait.
type rateLimits struct {
	http.RoundTripper
	cfg     Config
	display string
}

func (t rateLimits) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if !limited(resp) {
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, statusError(resp.StatusCode, resp.Header, t.cfg.Now(), "cannot read "+t.display)
}

// registryError classifies an error of oras. what says what failed.
func (r *ociRepository) registryError(ctx context.Context, err error, what string) error {
	if known, ok := errors.AsType[*cacheerr.Error](err); ok {
		return known
	}
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		e := statusError(answer.StatusCode, http.Header{}, r.cfg.Now(), what)
		e.Err = redacted(err)
		return e
	}
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return statusError(http.StatusNotFound, http.Header{}, r.cfg.Now(), what)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED,
			"%s: the registry asks for credentials, and the repository has none", what)
	case errors.Is(err, errdef.ErrTooManyPages):
		return tooLarge(what, int64(r.cfg.Limits.Tags), "pages", FlagTags)
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData),
		errors.Is(err, content.ErrInvalidDescriptorSize):
		return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH, redacted(err),
			"%s: the content is not what its digest says", what)
	default:
		return requestError(ctx, err, what)
	}
}

// repository returns the registry's repository of a chart; ok is false when the name cannot be one.
func (r *ociRepository) repository(ctx context.Context, chart string) (repo ociref.Repository, ok bool) {
	name := chart
	if r.prefix != "" {
		name = r.prefix + "/" + chart
	}
	repo, err := r.registry.Repository(ctx, name)
	return repo, err == nil
}

// tagOf maps a version to the tag that Helm pushes it under: "+" is not allowed in tags.
func tagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }

// versionOf undoes tagOf. A semantic version has no "_", so nothing is lost.
func versionOf(tag string) string { return strings.ReplaceAll(tag, "_", "+") }

// splitOCIChartURL takes oci://host/path/chart:tag apart; a tag that is left out is empty.
func splitOCIChartURL(u *url.URL) (repository *url.URL, chart, tag string, ok bool) {
	path := strings.Trim(u.Path, "/")
	parent := ""
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
		parent, path = path[:slash], path[slash+1:]
	}
	chart, tag, _ = strings.Cut(path, ":")
	return &url.URL{Scheme: "oci", Host: u.Host, Path: "/" + parent}, chart, tag, chart != "" && u.RawQuery == ""
}
