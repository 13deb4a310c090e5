package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const index = "apiVersion: v1\nentries: {}\n"

func TestTheIndexIsReadBelowTheURL(t *testing.T) {
	tests := []struct{ name, url, asked string }{
		{"at the top", "", "/index.yaml"},
		{"at the top with a slash", "/", "/index.yaml"},
		{"in a folder", "/charts/stable", "/charts/stable/index.yaml"},
		{"in a folder with a slash", "/charts/stable/", "/charts/stable/index.yaml"},
		{"with a query", "/charts?token=a%2Fb", "/charts/index.yaml?token=a%2Fb"},
		{"with an escaped slash", "/a%2Fb", "/a%2Fb/index.yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, tt.asked, r.URL.RequestURI())
				assert.Equal(t, "tester", r.UserAgent())
				assert.Empty(t, r.Header.Get("Authorization"))
				_, _ = io.WriteString(w, index)
			})
			u := newUpstream(t, Config{URL: server.URL + tt.url, UserAgent: "tester"})
			l, err := u.List(t.Context(), Validators{}, nil)
			require.NoError(t, err)
			assert.False(t, l.Unchanged)
			assert.Nil(t, l.Charts)
			assert.Equal(t, index, readAll(t, l.Index))
		})
	}
}

func TestAnUnchangedIndexIsNotRead(t *testing.T) {
	validators := Validators{ETag: `"abc"`, LastModified: "Thu, 01 Jan 2026 00:00:00 GMT"}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == validators.ETag && r.Header.Get("If-Modified-Since") == validators.LastModified {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", validators.ETag)
		w.Header().Set("Last-Modified", validators.LastModified)
		_, _ = io.WriteString(w, index)
	})
	u := newUpstream(t, Config{URL: server.URL})

	first, err := u.List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Equal(t, index, readAll(t, first.Index))
	assert.Equal(t, validators, first.Validators)

	second, err := u.List(t.Context(), first.Validators, nil)
	require.NoError(t, err)
	assert.Equal(t, Listing{Unchanged: true, Validators: validators}, second)

	third, err := u.List(t.Context(), Validators{ETag: `"old"`}, nil)
	require.NoError(t, err)
	assert.Equal(t, index, readAll(t, third.Index))
}

func TestAbsurdValidatorsAreNotKept(t *testing.T) {
	server := serve(t, status(http.StatusOK, "ETag", strings.Repeat("x", 2000), "Last-Modified", strings.Repeat("y", 2000)))
	l, err := newUpstream(t, Config{URL: server.URL}).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Zero(t, l.Validators)
	require.NoError(t, l.Index.Close())
}

func TestTheIndexIsUnzipped(t *testing.T) {
	large := bytes.Repeat([]byte("entries: {}\n"), 10_000)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "gzip", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(gzipped(t, large))
	})
	l, err := newUpstream(t, Config{URL: server.URL}).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Equal(t, string(large), readAll(t, l.Index))
}

func TestListClassifiesAnswers(t *testing.T) {
	dead := deadHost(t)
	tests := []struct {
		name    string
		handler http.HandlerFunc
		reason  chartcachev1.ErrorReason
		says    string
		wait    time.Duration
	}{
		{name: "401", handler: status(401), reason: unauthorized, says: "HTTP 401"},
		{name: "403", handler: status(403), reason: unauthorized, says: "check the credentials"},
		{name: "404", handler: status(404), reason: notFound, says: "HTTP 404"},
		{name: "410", handler: status(410), reason: notFound},
		{name: "429", handler: status(429), reason: rateLimited},
		{name: "429 with seconds", handler: status(429, "Retry-After", "120"), reason: rateLimited, wait: 2 * time.Minute},
		{name: "429 with a date", handler: status(429, "Retry-After", "Fri, 02 Jan 2026 03:05:05 GMT"), reason: rateLimited, wait: time.Minute},
		{name: "429 with a date that is past", handler: status(429, "Retry-After", "Fri, 02 Jan 2020 03:05:05 GMT"), reason: rateLimited},
		{name: "429 with nonsense", handler: status(429, "Retry-After", "soon"), reason: rateLimited},
		{name: "429 with a year", handler: status(429, "Retry-After", "31536000"), reason: rateLimited, wait: 24 * time.Hour},
		{name: "503 with Retry-After", handler: status(503, "Retry-After", "5"), reason: rateLimited, wait: 5 * time.Second},
		{name: "503", handler: status(503), reason: failed, says: "HTTP 503"},
		{name: "500", handler: status(500), reason: failed},
		{name: "204", handler: status(204), reason: failed},
		{name: "304 without a question", handler: status(304), reason: failed},
		{name: "an unknown content encoding", handler: status(200, "Content-Encoding", "br"), reason: failed, says: "encoding"},
		{name: "a broken connection", handler: reset, reason: unreachableReason, says: "broke off"},
		{name: "a redirect without a target", handler: status(302), reason: failed},
		{name: "a redirect to another protocol", handler: status(302, "Location", "ftp://example.invalid/s3cret"), reason: failed, says: "not HTTP"},
		{
			name: "a redirect that loops", says: "3 times (limit --max-redirects)", reason: tooLargeReason,
			handler: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/index.yaml?s3cret", http.StatusFound)
			},
		},
		{name: "a signed redirect to a dead host", handler: status(302, "Location", "http://"+dead+"/x?sig=s3cret"), reason: unreachableReason, says: "refuses connections"},
		{name: "a redirect with a password to a dead host", handler: status(302, "Location", "http://u:s3cret@"+dead+"/x"), reason: unreachableReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, tt.handler)
			u := newUpstream(t, Config{URL: server.URL + "/?token=s3cret", Limits: Limits{Redirects: 3}})
			_, err := u.List(t.Context(), Validators{}, nil)
			assertReason(t, tt.reason, err, tt.says)
			if classified, ok := errors.AsType[*cacheerr.Error](err); assert.True(t, ok) {
				assert.Equal(t, tt.wait, classified.RetryAfter)
			}
		})
	}
}

func TestReadingTheIndexClassifiesErrors(t *testing.T) {
	encoded := func(content []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(content)
		}
	}
	whole := gzipped(t, []byte(index))
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 0xff
	tests := []struct {
		name    string
		handler http.HandlerFunc
		reason  chartcachev1.ErrorReason
		says    string
	}{
		{"a body that ends early", truncated, unreachableReason, "broke off"},
		{"gzip that ends early", encoded(whole[:len(whole)-4]), unreachableReason, "broke off"},
		{"an empty body instead of gzip", encoded(nil), unreachableReason, "broke off"},
		{"garbage instead of gzip", encoded([]byte("<html>this is not gzip")), indexRejected, "gzip"},
		{"gzip with a wrong checksum", encoded(flipped), indexRejected, "gzip"},
		{"a gzip bomb", encoded(gzipped(t, make([]byte, 1<<20))), tooLargeReason, "1000 bytes (limit --max-index-bytes)"},
		{"endless empty gzip members", encoded(bytes.Repeat(gzipped(t, nil), 1000)), tooLargeReason, "--max-index-bytes"},
		{
			"a large body of unknown length",
			func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(make([]byte, 600))
				_ = http.NewResponseController(w).Flush()
				_, _ = w.Write(make([]byte, 401))
			},
			tooLargeReason, "1000 bytes (limit --max-index-bytes)",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, tt.handler)
			l, err := newUpstream(t, Config{URL: server.URL, Limits: Limits{IndexBytes: 1000}}).List(t.Context(), Validators{}, nil)
			require.NoError(t, err)
			data, err := io.ReadAll(l.Index)
			assertReason(t, tt.reason, err, tt.says)
			assert.LessOrEqual(t, len(data), 1000)
			require.NoError(t, l.Index.Close())
		})
	}
}

func TestAnIndexOfExactlyTheLimitIsRead(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1000)) })
	l, err := newUpstream(t, Config{URL: server.URL, Limits: Limits{IndexBytes: 1000}}).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Len(t, readAll(t, l.Index), 1000)

	_, err = newUpstream(t, Config{URL: server.URL, Limits: Limits{IndexBytes: 999}}).List(t.Context(), Validators{}, nil)
	assertReason(t, tooLargeReason, err, "999 bytes (limit --max-index-bytes)")
}

func TestAnUpstreamThatHangsEndsWithTheContext(t *testing.T) {
	t.Run("before the answer", func(t *testing.T) {
		server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := newUpstream(t, Config{URL: server.URL}).List(ctx, Validators{}, nil)
		assertReason(t, unreachableReason, err, "in time")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("in the middle of the body", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "apiVersion")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		l, err := newUpstream(t, Config{URL: server.URL}).List(ctx, Validators{}, nil)
		require.NoError(t, err)
		cause := errors.New("shutting down")
		cancel(cause)
		_, err = io.ReadAll(l.Index)
		assertReason(t, unreachableReason, err, "cancelled")
		require.ErrorIs(t, err, cause)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, l.Index.Close())
	})
}

func TestHostsThatDoNotAnswer(t *testing.T) {
	plain := serve(t, status(200))
	secure := httptest.NewTLSServer(status(200))
	secure.Config.ErrorLog = discardLog()
	t.Cleanup(secure.Close)
	tests := []struct{ name, url, says string }{
		{"nothing listens", "http://" + deadHost(t), "refuses connections"},
		{"TLS against plain HTTP", strings.Replace(plain.URL, "http", "https", 1), "plain HTTP"},
		{"a certificate of an unknown authority", secure.URL, "give its CA"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newUpstream(t, Config{URL: tt.url}).List(t.Context(), Validators{}, nil)
			assertReason(t, unreachableReason, err, tt.says)
		})
	}
}

func TestUnreachableSaysWhy(t *testing.T) {
	tests := []struct {
		err  error
		says string
	}{
		{&net.DNSError{IsNotFound: true}, "the host's name does not exist"},
		{&net.DNSError{IsTemporary: true}, "the host's name cannot be resolved"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "the host refuses connections"},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, "the host does not answer in time"},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, "the connection to the host fails"},
		{tls.RecordHeaderError{}, "the TLS handshake with the host fails"},
		{tls.AlertError(42), "the TLS handshake with the host fails"},
		{http.ErrSchemeMismatch, "the host speaks plain HTTP where TLS is expected"},
		{io.ErrUnexpectedEOF, "the connection broke off"},
		{errors.New("malformed HTTP response"), ""},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.says, unreachable(fmt.Errorf("wrapped: %w", tt.err)))
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Fri, 02 Jan 2026 03:05:05 GMT")
	f.Add("-1")
	f.Add("99999999999999999999")
	f.Fuzz(func(t *testing.T, value string) {
		wait, _ := retryAfter(value, now())
		assert.GreaterOrEqual(t, wait, time.Duration(0))
		assert.LessOrEqual(t, wait, maxRetryAfter)
	})
}
