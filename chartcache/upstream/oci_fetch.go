package upstream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	ociref "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	mediaTypeManifest = ocispec.MediaTypeImageManifest
	// maxManifestBytes is what the distribution specification tells registries to accept.
	maxManifestBytes int64 = 4 << 20
	// maxProvenanceBytes is far above a signed Chart.yaml with a digest.
	maxProvenanceBytes int64 = 64 << 10
)

// chartManifest is the manifest of one chart version, checked to be one.
type chartManifest struct {
	repo       ociref.Repository
	digest     string
	chart      ocispec.Descriptor
	provenance *ocispec.Descriptor
	created    time.Time
}

// newClient returns the client of the registry: authenticated against host only, redirects bounded.
func (r *ociRepository) newClient(t *tls.Config, host string) *auth.Client {
	credentials := auth.Credential{Username: r.cfg.Credentials.Username, Password: r.cfg.Credentials.Password}
	return &auth.Client{
		Client: &http.Client{
			Transport: rateLimits{RoundTripper: r.cfg.Transport(t), cfg: r.cfg, display: r.display},
			// auth.Client takes the credentials off a request that leaves the registry's origin.
			CheckRedirect: checkRedirect(r.cfg.Limits.Redirects, func(*http.Request) {}),
		},
		Header:     http.Header{"User-Agent": {r.cfg.UserAgent}},
		Credential: auth.StaticCredential(host, credentials),
		Cache:      r.cfg.tokens.of(host, r.cfg.Credentials, r.cfg.Now()),
		ClientID:   r.cfg.UserAgent,
	}
}

// Describe reads the manifest of a chart version.
func (r *ociRepository) Describe(ctx context.Context, c Chart) (string, string, time.Time, error) {
	m, err := r.manifest(ctx, c)
	if err != nil {
		return "", "", time.Time{}, err
	}
	return m.chart.Digest.String(), m.digest, m.created, nil
}

// ManifestDigest asks for the header of a manifest. A registry whose answer does not tell the digest is asked for the
// manifest itself.
func (r *ociRepository) ManifestDigest(ctx context.Context, c Chart) (string, error) {
	c.ManifestDigest = ""
	repo, reference, err := r.locate(ctx, c)
	if err != nil {
		return "", err
	}
	desc, err := repo.Manifests().Resolve(ctx, reference)
	if err == nil {
		return desc.Digest.String(), nil
	}
	if !headUnusable(err) {
		return "", r.registryError(ctx, err, r.cannotRead("manifest", c))
	}
	m, err := r.manifest(ctx, c)
	if err != nil {
		return "", err
	}
	return m.digest, nil
}

// headUnusable says whether err means that a registry did answer a HEAD request, but without the headers that oras needs
// (an error without a type), or that it knows no such request.
func headUnusable(err error) bool {
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return answer.StatusCode == http.StatusMethodNotAllowed || answer.StatusCode == http.StatusNotImplemented
	}
	_, failed := errors.AsType[*url.Error](err)
	_, known := errors.AsType[*cacheerr.Error](err)
	return !failed && !known && !errors.Is(err, errdef.ErrNotFound) && !errors.Is(err, auth.ErrBasicCredentialNotFound)
}

// Fetch reads the manifest and the provenance of a chart version and opens its tarball.
func (r *ociRepository) Fetch(ctx context.Context, c Chart) (Download, error) {
	m, err := r.manifest(ctx, c)
	if err != nil {
		return Download{}, err
	}
	what := r.cannotRead("tarball", c)
	if m.chart.Size > r.cfg.Limits.ChartBytes {
		return Download{}, tooLarge(what, r.cfg.Limits.ChartBytes, "bytes", FlagChartBytes)
	}
	provenance, err := r.provenance(ctx, m, c)
	if err != nil {
		return Download{}, err
	}
	layer, err := m.repo.Blobs().Fetch(ctx, m.chart)
	if err != nil {
		return Download{}, r.registryError(ctx, err, what)
	}
	return Download{
		Body:           newBody(ctx, layer, r.cfg.Limits.ChartBytes, FlagChartBytes, what),
		SizeBytes:      m.chart.Size,
		MediaType:      MediaTypeChart,
		Digest:         m.chart.Digest.String(),
		ManifestDigest: m.digest,
		Provenance:     provenance,
	}, nil
}

func (r *ociRepository) cannotRead(part string, c Chart) string {
	return fmt.Sprintf("cannot read the %s of %s %s of %s", part, c.Name, c.Version, r.display)
}

func (r *ociRepository) provenance(ctx context.Context, m *chartManifest, c Chart) ([]byte, error) {
	if m.provenance == nil {
		return nil, nil
	}
	data, err := content.FetchAll(ctx, m.repo.Blobs(), *m.provenance)
	if err != nil {
		return nil, r.registryError(ctx, err, r.cannotRead("provenance", c))
	}
	return data, nil
}

// manifest reads the manifest that the version's tag, or the pin, names.
func (r *ociRepository) manifest(ctx context.Context, c Chart) (*chartManifest, error) {
	repo, reference, err := r.locate(ctx, c)
	if err != nil {
		return nil, err
	}
	what := r.cannotRead("manifest", c)
	desc, stream, err := repo.Manifests().FetchReference(ctx, reference)
	if err != nil {
		return nil, r.registryError(ctx, err, what)
	}
	defer func() { _ = stream.Close() }()
	if desc.MediaType != mediaTypeManifest {
		return nil, notAChart(what, "it is not an OCI image manifest")
	}
	if desc.Size > maxManifestBytes {
		return nil, notAChart(what, fmt.Sprintf("it is larger than %d bytes", maxManifestBytes))
	}
	data, err := content.ReadAll(stream, desc)
	if err != nil {
		return nil, r.registryError(ctx, err, what)
	}
	m, err := parseManifest(data, what)
	if err != nil {
		return nil, err
	}
	m.repo, m.digest = repo, desc.Digest.String()
	return m, nil
}

// locate returns where the manifest of a chart version is: its tag, or the digest that pins it.
func (r *ociRepository) locate(ctx context.Context, c Chart) (repo ociref.Repository, reference string, err error) {
	repo, ok := r.repository(ctx, c.Name)
	if !ok {
		return nil, "", r.noChart(c.Name)
	}
	reference = tagOf(c.Version)
	if c.ManifestDigest != "" {
		reference = c.ManifestDigest
	}
	if (ociref.Reference{Reference: reference}).ValidateReference() != nil || reference == "" {
		return nil, "", cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND,
			"%s: a registry cannot have a version of this name", r.cannotRead("manifest", c))
	}
	return repo, reference, nil
}

// parseManifest checks that a manifest is that of a Helm chart: Helm's config, one chart layer with a sha256 digest, and
// at most one provenance layer.
func parseManifest(data []byte, what string) (*chartManifest, error) {
	var parsed ocispec.Manifest
	if err := json.Unmarshal(data, &parsed); err != nil {
		return nil, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID, err, "%s: it is not JSON", what)
	}
	if parsed.Config.MediaType != MediaTypeConfig {
		return nil, notAChart(what, "it is not that of a Helm chart")
	}
	m := &chartManifest{}
	charts := 0
	for _, layer := range parsed.Layers {
		switch layer.MediaType {
		case MediaTypeChart:
			charts++
			m.chart = layer
		case MediaTypeProvenance:
			m.provenance = &layer
		}
	}
	if charts != 1 {
		return nil, notAChart(what, fmt.Sprintf("it has %d chart layers instead of one", charts))
	}
	if !usable(m.chart) {
		return nil, notAChart(what, "its chart layer has no sha256 digest or no size")
	}
	if m.provenance != nil && (!usable(*m.provenance) || m.provenance.Size > maxProvenanceBytes) {
		return nil, notAChart(what, fmt.Sprintf("its provenance layer has no sha256 digest, or not a size of 1 to %d bytes",
			maxProvenanceBytes))
	}
	if created, err := time.Parse(time.RFC3339, parsed.Annotations[ocispec.AnnotationCreated]); err == nil {
		m.created = created
	}
	return m, nil
}

func usable(layer ocispec.Descriptor) bool {
	return layer.Size > 0 && layer.Digest.Validate() == nil && layer.Digest.Algorithm() == digest.SHA256
}

func notAChart(what, why string) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID, "%s: %s", what, why)
}
