package upstream

import (
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	configurationInvalid = chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID
	unreachableReason    = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE
	unauthorized         = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED
	notFound             = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND
	failed               = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED
	rateLimited          = chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED
	indexRejected        = chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED
	tooLargeReason       = chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE
	chartInvalid         = chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID
	chartNotFound        = chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND
	digestMismatch       = chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH
)

// now is the time of every test.
func now() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// deadHost is a host and port where nothing listens.
func deadHost(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(nil)
	server.Close()
	return strings.TrimPrefix(server.URL, "http://")
}

func newUpstream(t *testing.T, cfg Config) Upstream {
	t.Helper()
	cfg.Now = now
	pool := NewPool(nil)
	t.Cleanup(pool.CloseIdleConnections)
	u, err := pool.New(cfg)
	require.NoError(t, err)
	return u
}

// assertReason checks the reason of an error, and that neither it nor its causes hold what tests use as secrets.
func assertReason(t *testing.T, reason chartcachev1.ErrorReason, err error, says string) {
	t.Helper()
	require.ErrorContains(t, err, says)
	assert.Equal(t, reason, cacheerr.ReasonOf(err), "%v (cause %v)", err, errors.Unwrap(err))
	for e := err; e != nil; e = errors.Unwrap(e) {
		assert.NotContains(t, e.Error(), "s3cret")
	}
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return string(data)
}

func certificatePEM(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

// status answers with a status, and headers as pairs.
func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "upstream says s3cret")
	}
}

// truncated promises more than it sends.
func truncated(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, "apiVersion")
}

// reset closes the connection without an answer.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
