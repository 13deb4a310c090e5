package upstream

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestATarballIsFetchedFromWhereTheIndexSays(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "other "+r.URL.RequestURI())
	})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "identity", r.Header.Get("Accept-Encoding"))
		_, _ = io.WriteString(w, "own "+r.URL.RequestURI())
	})
	tests := []struct{ name, repository, url, want string }{
		{"relative", "/charts", "demo-1.0.0.tgz", "own /charts/demo-1.0.0.tgz"},
		{"relative to a URL with a slash", "/charts/", "x/demo-1.0.0.tgz", "own /charts/x/demo-1.0.0.tgz"},
		{"relative to the host", "/charts", "/files/demo.tgz", "own /files/demo.tgz"},
		{"relative with the repository's query", "/charts?token=t", "demo.tgz", "own /charts/demo.tgz?token=t"},
		{"relative with a query of its own", "/charts?token=t", "demo.tgz?v=1", "own /charts/demo.tgz?v=1"},
		{"absolute on the same host", "/charts?token=t", server.URL + "/demo.tgz", "own /demo.tgz"},
		{"absolute on another host, without our query", "/charts?token=t", other.URL + "/demo.tgz", "other /demo.tgz"},
		{"on another host without a scheme, without our query", "/charts?token=t", other.URL[len("http:"):] + "/demo.tgz", "other /demo.tgz"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUpstream(t, Config{URL: server.URL + tt.repository})
			d, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0", URLs: []string{tt.url}})
			require.NoError(t, err)
			assert.Equal(t, int64(len(tt.want)), d.SizeBytes)
			assert.Equal(t, MediaTypeChart, d.MediaType)
			assert.Empty(t, d.Digest)
			assert.Equal(t, tt.want, readAll(t, d.Body))
		})
	}
}

func TestATarballThatIsLabelledAsGzipIsNotUnzipped(t *testing.T) {
	chart := gzipped(t, []byte("a tar"))
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(chart)
	})
	d, err := newUpstream(t, Config{URL: server.URL}).Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0", URLs: []string{"demo.tgz"}})
	require.NoError(t, err)
	assert.Equal(t, string(chart), readAll(t, d.Body))
}

func TestTheNextURLIsTriedWhenOneFails(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good.tgz" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "chart")
	})
	u := newUpstream(t, Config{URL: server.URL})
	d, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0", URLs: []string{
		"missing.tgz", "http://" + deadHost(t) + "/refused.tgz", "ftp://x/y", "http://%zz", "good.tgz",
	}})
	require.NoError(t, err)
	assert.Equal(t, "chart", readAll(t, d.Body))
}

func TestFetchClassifiesErrors(t *testing.T) {
	dead := deadHost(t)
	tests := []struct {
		name    string
		handler http.HandlerFunc
		urls    []string
		reason  chartcachev1.ErrorReason
		says    string
	}{
		{name: "no URL", urls: []string{}, reason: notFound, says: "gives no URL"},
		{name: "a malformed URL", urls: []string{"http://%zz?s3cret"}, reason: notFound, says: "malformed"},
		{name: "a URL without a host", urls: []string{"http:///x"}, reason: notFound, says: "malformed"},
		{name: "a URL of another protocol", urls: []string{"file:///etc/passwd"}, reason: notFound},
		{name: "a protocol that is not ours", urls: []string{"ftp://example.invalid/x"}, reason: notFound, says: "neither HTTP nor OCI"},
		{name: "a malformed OCI URL", urls: []string{"oci://example.invalid/"}, reason: notFound, says: "OCI URL"},
		{name: "a password in a URL to a dead host", urls: []string{"http://u:s3cret@" + dead + "/x?s3cret"}, reason: unreachableReason, says: "at " + dead},
		{name: "401", handler: status(401), reason: unauthorized},
		{name: "404", handler: status(404), reason: notFound, says: "demo 1.0.0"},
		{name: "the first error counts", handler: status(500), urls: []string{"a.tgz?s3cret", "http://" + dead + "/x"}, reason: failed},
		{name: "a large tarball", handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) }, reason: tooLargeReason, says: "100 bytes (limit --max-chart-bytes)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.handler == nil {
				tt.handler = status(200)
			}
			server := serve(t, tt.handler)
			if tt.urls == nil {
				tt.urls = []string{"demo.tgz?sig=s3cret"}
			}
			u := newUpstream(t, Config{URL: server.URL, Limits: Limits{ChartBytes: 100}})
			_, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0", URLs: tt.urls})
			assertReason(t, tt.reason, err, tt.says)
		})
	}
}

func TestReadingATarballClassifiesErrors(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		reason  chartcachev1.ErrorReason
	}{
		{"a body that ends early", truncated, unreachableReason},
		{"a large body of unknown length", func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(make([]byte, 2000))
		}, tooLargeReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, tt.handler)
			u := newUpstream(t, Config{URL: server.URL, Limits: Limits{ChartBytes: 1500}})
			d, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0", URLs: []string{"demo.tgz"}})
			require.NoError(t, err)
			_, err = io.ReadAll(d.Body)
			assertReason(t, tt.reason, err, "")
			require.NoError(t, d.Body.Close())
		})
	}
}

func TestAnHTTPRepositoryCannotBeAskedForOneChart(t *testing.T) {
	u := newUpstream(t, Config{URL: "http://example.invalid"})
	_, err := u.Versions(t.Context(), "demo")
	require.ErrorIs(t, err, ErrNotListable)

	digest, manifest, created, err := u.Describe(t.Context(), Chart{Name: "demo", Digest: "abc"})
	require.NoError(t, err)
	assert.Equal(t, "abc", digest)
	assert.Empty(t, manifest)
	assert.Zero(t, created)

	manifest, err = u.ManifestDigest(t.Context(), Chart{Name: "demo", Version: "1.0.0", Digest: "abc"})
	require.NoError(t, err)
	assert.Empty(t, manifest)
}

func TestAnHTTPIndexMayPlaceChartsInARegistry(t *testing.T) {
	registry := newRegistry(t)
	registry.push(t, "charts/demo", "1.0.0_x", chartOf("the chart"))
	server := serve(t, status(404))
	u := newUpstream(t, Config{URL: server.URL, PlainHTTP: true, Credentials: Credentials{Username: "u", Password: "s3cret"}})
	for _, url := range []string{registry.oci() + "/charts/demo:1.0.0_x", registry.oci() + "/charts/demo"} {
		d, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0+x", URLs: []string{url}})
		require.NoError(t, err)
		assert.Equal(t, "the chart", readAll(t, d.Body))
	}
	registry.requireAuthorization(t, false)
}
