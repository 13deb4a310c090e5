package upstream

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestDescribeAndFetch(t *testing.T) {
	r := newRegistry(t)
	demo := chartOf("the demo chart")
	demo.provenance = []byte("-----BEGIN PGP SIGNED MESSAGE-----")
	demo.annotations = map[string]string{"org.opencontainers.image.created": "2026-01-01T10:00:00Z"}
	manifestDigest := r.push(t, "charts/demo", "1.0.0_x", demo)
	u := ociUpstream(t, r, "/charts/", nil)
	chart := Chart{Name: "demo", Version: "1.0.0+x"}

	digest, gotManifest, created, err := u.Describe(t.Context(), chart)
	require.NoError(t, err)
	assert.Equal(t, digestOf([]byte("the demo chart")), digest)
	assert.Equal(t, manifestDigest, gotManifest)
	assert.Equal(t, time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC), created)
	assert.Zero(t, r.count("/blobs/"), "the tarball is not needed")

	d, err := u.Fetch(t.Context(), chart)
	require.NoError(t, err)
	assert.Equal(t, "the demo chart", readAll(t, d.Body))
	d.Body = nil
	assert.Equal(t, Download{
		SizeBytes: 14, MediaType: MediaTypeChart, Digest: digest, ManifestDigest: manifestDigest, Provenance: demo.provenance,
	}, d)

	r.push(t, "charts/demo", "1.0.0_x", chartOf("the tag moved"))
	d, err = u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0+x", ManifestDigest: manifestDigest})
	require.NoError(t, err)
	assert.Equal(t, "the demo chart", readAll(t, d.Body), "a pin does not follow the tag")
}

func TestTheDigestOfAManifestCostsOneRequestWithoutABody(t *testing.T) {
	r := newRegistry(t)
	before := r.push(t, "charts/demo", "1.0.0_x", chartOf("demo"))
	after := r.push(t, "charts/demo", "1.0.0_x", chartOf("the tag moved"))
	u := ociUpstream(t, r, "/charts", nil)
	digest, err := u.ManifestDigest(t.Context(), Chart{Name: "demo", Version: "1.0.0+x", ManifestDigest: before})
	require.NoError(t, err)
	assert.Equal(t, after, digest, "the tag counts, not the pin")
	assert.Equal(t, []string{"HEAD /v2/charts/demo/manifests/1.0.0_x"}, r.requests)
}

func TestARegistryThatCannotAnswerHEADIsAskedForTheManifest(t *testing.T) {
	tests := []struct {
		name string
		head http.HandlerFunc
	}{
		{"no digest", status(200, "Content-Type", mediaTypeManifest)},
		{"no content type", status(200, "Content-Type", "", "Docker-Content-Digest", digestOf([]byte("x")))},
		{"a malformed digest", status(200, "Content-Type", mediaTypeManifest, "Docker-Content-Digest", "s3cret")},
		{"a method that is not allowed", status(405)},
		{"a method that is not implemented", status(501)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry(t)
			want := r.push(t, "demo", "1.0.0", chartOf("demo"))
			r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
				if req.Method != http.MethodHead {
					return false
				}
				tt.head(w, req)
				return true
			}
			digest, err := ociUpstream(t, r, "", nil).ManifestDigest(t.Context(), Chart{Name: "demo", Version: "1.0.0"})
			require.NoError(t, err)
			assert.Equal(t, want, digest)
			assert.Equal(t, 1, r.count("GET "))
		})
	}
}

func TestManifestDigestClassifiesFaults(t *testing.T) {
	tests := []struct {
		name, chart, version string
		handler              http.HandlerFunc
		reason               chartcachev1.ErrorReason
	}{
		{name: "no such version", version: "2.0.0", reason: notFound},
		{name: "no such chart", chart: "missing", reason: notFound},
		{name: "a name that no chart has", chart: "UPPER", reason: chartNotFound},
		{name: "a version that cannot be a tag", version: "1.0.0/../x", reason: notFound},
		{name: "refused", handler: status(403), reason: unauthorized},
		{name: "credentials are wanted", handler: status(401, "WWW-Authenticate", `Basic realm="x"`), reason: unauthorized},
		{name: "limited", handler: status(429, "Retry-After", "3"), reason: rateLimited},
		{name: "broken", handler: status(500), reason: failed},
		{name: "a connection that breaks off", handler: reset, reason: unreachableReason},
		{name: "a redirect that loops", handler: func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, req.URL.Path+"?s3cret", http.StatusTemporaryRedirect)
		}, reason: tooLargeReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry(t)
			r.push(t, "demo", "1.0.0", chartOf("demo"))
			if tt.handler != nil {
				r.intercept = func(w http.ResponseWriter, req *http.Request) bool { tt.handler(w, req); return true }
			}
			_, err := ociUpstream(t, r, "", nil).ManifestDigest(t.Context(),
				Chart{Name: cmp.Or(tt.chart, "demo"), Version: cmp.Or(tt.version, "1.0.0")})
			assertReason(t, tt.reason, err, "")
			assert.Zero(t, r.count("GET /v2/demo"), "asking again would not help")
		})
	}
}

func TestFetchRefusesWhatIsNotAChart(t *testing.T) {
	const layer = `{"mediaType":"` + MediaTypeChart + `","digest":"%s","size":%d}`
	sha256Digest := digestOf([]byte("x"))
	sha512Digest := "sha512:" + strings.Repeat("a", 128)
	of := func(layers ...string) string {
		return `{"config":{"mediaType":"` + MediaTypeConfig + `"},"layers":[` + strings.Join(layers, ",") + `]}`
	}
	provenance := strings.Replace(fmt.Sprintf(layer, sha256Digest, 2<<20), MediaTypeChart, MediaTypeProvenance, 1)
	tests := []struct {
		name, mediaType, content string
		reason                   chartcachev1.ErrorReason
		says                     string
	}{
		{"an image index", "application/vnd.oci.image.index.v1+json", "{}", chartInvalid, "not an OCI image manifest"},
		{"no JSON", mediaTypeManifest, "<html>", chartInvalid, "not JSON"},
		{"another config", mediaTypeManifest, `{"config":{"mediaType":"x"}}`, chartInvalid, "not that of a Helm chart"},
		{"no layer", mediaTypeManifest, of(), chartInvalid, "0 chart layers"},
		{"two charts", mediaTypeManifest, of(fmt.Sprintf(layer, sha256Digest, 1), fmt.Sprintf(layer, sha256Digest, 1)), chartInvalid, "2 chart layers"},
		{"another digest", mediaTypeManifest, of(fmt.Sprintf(layer, sha512Digest, 1)), chartInvalid, "sha256"},
		{"a malformed digest", mediaTypeManifest, of(fmt.Sprintf(layer, "sha256:../..", 1)), chartInvalid, "sha256"},
		{"a negative size", mediaTypeManifest, of(fmt.Sprintf(layer, sha256Digest, -1)), chartInvalid, "size"},
		{"a large provenance", mediaTypeManifest, of(fmt.Sprintf(layer, sha256Digest, 1), provenance), chartInvalid, "provenance"},
		{"a large chart", mediaTypeManifest, of(fmt.Sprintf(layer, sha256Digest, 101)), tooLargeReason, "100 bytes (limit --max-chart-bytes)"},
		{"a missing layer", mediaTypeManifest, of(fmt.Sprintf(layer, sha256Digest, 1)), notFound, "tarball"},
		{"a large manifest", mediaTypeManifest, strings.Repeat(" ", 5<<20), chartInvalid, "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry(t)
			r.pushManifest("demo", "1.0.0", manifest{mediaType: tt.mediaType, content: []byte(tt.content)})
			u := ociUpstream(t, r, "", func(cfg *Config) { cfg.Limits.ChartBytes = 100 })
			_, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0"})
			assertReason(t, tt.reason, err, tt.says)
		})
	}
}

func TestFetchClassifiesFaults(t *testing.T) {
	r := newRegistry(t)
	demo := chartOf("demo")
	demo.provenance = []byte("signed")
	manifestDigest := r.push(t, "demo", "1.0.0", demo)
	layer, prov := digestOf(demo.layer), digestOf(demo.provenance)
	tests := []struct {
		name, path, version string
		handler             http.HandlerFunc
		reason              chartcachev1.ErrorReason
	}{
		{name: "no such version", version: "2.0.0", reason: notFound},
		{name: "no version", version: "", reason: notFound},
		{name: "a version that cannot be a tag", version: "1.0.0/../x", reason: notFound},
		{name: "a broken manifest request", path: "/manifests/", handler: status(500), reason: failed},
		{name: "a manifest without type", path: "/manifests/", handler: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "") }, reason: failed},
		{name: "a manifest that is not what its digest says", path: "/manifests/", handler: status(200, "Content-Type", mediaTypeManifest, "Docker-Content-Digest", manifestDigest), reason: digestMismatch},
		{name: "a provenance that is not what its digest says", path: prov, handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "forged") }, reason: digestMismatch},
		{name: "a tarball of another length", path: layer, handler: status(200), reason: failed},
		{name: "a refused tarball", path: layer, handler: status(403), reason: unauthorized},
		{name: "a limited tarball", path: layer, handler: status(503, "Retry-After", "3"), reason: rateLimited},
		{name: "a signed redirect that fails", path: layer, handler: status(307, "Location", "http://"+deadHost(t)+"/x?sig=s3cret"), reason: unreachableReason},
		{name: "a signed redirect that is refused", path: layer, handler: func(w http.ResponseWriter, req *http.Request) {
			if req.URL.RawQuery != "" {
				fault(w, 500, "X")
				return
			}
			http.Redirect(w, req, req.URL.Path+"?sig=s3cret", http.StatusTemporaryRedirect)
		}, reason: failed},
		{name: "a redirect that loops", path: layer, handler: func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, req.URL.Path+"?s3cret", http.StatusTemporaryRedirect)
		}, reason: tooLargeReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			version := tt.version
			r.mu.Lock()
			r.intercept = nil
			if tt.handler != nil {
				version = "1.0.0"
				r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
					if !strings.Contains(req.URL.Path, tt.path) {
						return false
					}
					tt.handler(w, req)
					return true
				}
			}
			r.mu.Unlock()
			u := ociUpstream(t, r, "", nil) // a host that asked for fewer requests is left alone
			_, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: version})
			assertReason(t, tt.reason, err, "")
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"config":{"mediaType":"` + MediaTypeConfig + `"},"layers":[{"mediaType":"` + MediaTypeChart + `","digest":"` + digestOf(nil) + `","size":1}]}`))
	f.Add([]byte(`{"layers":[{"size":-1}]}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data, "cannot read it")
		if err != nil {
			assert.Equal(t, chartInvalid, cacheerr.ReasonOf(err))
			return
		}
		assert.True(t, usable(m.chart))
		assert.True(t, m.provenance == nil || usable(*m.provenance))
	})
}
