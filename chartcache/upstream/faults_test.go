package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// raw answers with bytes as they are, and then closes the connection: by a reset if abort.
func raw(answer string, abort bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		if tcp, ok := conn.(*net.TCPConn); ok && abort {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

func TestFaultsOfUpstreamAreClearAndLeakNothing(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	hangInTheMiddle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "apiVersion")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\napiVersion: v1\n"
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		reason  chartcachev1.ErrorReason
		says    string
	}{
		"it hangs before it answers":           {hang, unreachableReason, "in time"},
		"it hangs in the middle":               {hangInTheMiddle, unreachableReason, "in time"},
		"it closes the connection at once":     {raw("", false), unreachableReason, "broke off"},
		"it resets the connection at once":     {raw("", true), unreachableReason, "connection"},
		"it resets the connection midway":      {raw(fmt.Sprintf(head, 1000), true), unreachableReason, "broke off"},
		"it sends less than it promises":       {raw(fmt.Sprintf(head, 1000), false), unreachableReason, "broke off"},
		"it ends a chunked body early":         {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", false), unreachableReason, "broke off"},
		"it promises more than is allowed":     {raw("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", false), tooLargeReason, "--max-index-bytes"},
		"it sends no HTTP":                     {raw("SSH-2.0-OpenSSH\r\n", false), failed, "cannot be understood"},
		"it sends an endless header":           {raw("HTTP/1.1 200 OK\r\nX-Long: "+strings.Repeat("x", 2<<20), false), failed, "cannot be understood"},
		"it redirects to itself":               {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, tooLargeReason, "--max-redirects"},
		"it redirects to what is no web page":  {status(http.StatusFound, "Location", "file:///etc/passwd"), failed, "not HTTP"},
		"it fails":                             {status(http.StatusInternalServerError), failed, "HTTP 500"},
		"it asks for fewer requests":           {status(http.StatusTooManyRequests, "Retry-After", "7"), rateLimited, "fewer requests"},
		"it zips what nobody can unzip":        {status(http.StatusOK, "Content-Encoding", "br"), failed, "encoding"},
		"it sends garbage instead of gzip":     {status(http.StatusOK, "Content-Encoding", "gzip"), indexRejected, "gzip"},
		"it refuses access without challenges": {status(http.StatusForbidden), unauthorized, "credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			server := serve(t, test.handler)
			pool := NewPool(nil)
			u, err := pool.New(Config{URL: server.URL, Now: now})
			require.NoError(t, err)
			patience := 30 * time.Second
			if test.says == "in time" {
				patience = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			l, err := u.List(ctx, Validators{}, nil)
			if err == nil {
				_, err = io.ReadAll(l.Index)
				require.NoError(t, l.Index.Close())
			}
			assertReason(t, test.reason, err, test.says)
			cancel()
			pool.CloseIdleConnections()
			server.Close()
			// The condition runs in a goroutine of its own.
			assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, 5*time.Second, 5*time.Millisecond,
				"nothing runs on behind a fault")
		})
	}
}

func TestWhatFollowsThePromisedLengthIsNotRead(t *testing.T) {
	server := serve(t, raw("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\napiVersion: v1\nentries: {}\n", false))
	l, err := newUpstream(t, Config{URL: server.URL}).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Equal(t, "apiVersion: v1\n", readAll(t, l.Index))
}

func TestAHostThatAcceptsAndNeverAnswersIsGivenUpBeforeTheTimeoutOfItsRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport, ok := NewTransport(nil).(*http.Transport)
		require.True(t, ok)
		var silent []net.Conn
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			silent = append(silent, theirs)
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		start := time.Now()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://charts.example.com", nil)
		require.NoError(t, err)
		_, err = transport.RoundTrip(request)
		require.ErrorContains(t, err, "timeout awaiting response headers")
		assert.Equal(t, time.Minute, time.Since(start))
		for _, conn := range silent {
			_ = conn.Close()
		}
	})
}

func TestARegistryWith10000TagsIsListedWhole(t *testing.T) {
	r := newRegistry(t)
	r.pageSize = 1000
	r.push(t, "charts/demo", "0.0.0", chartOf("demo"))
	for i := range DefaultTags - 1 {
		r.tags["charts/demo"] = append(r.tags["charts/demo"], fmt.Sprintf("1.%d.0", i))
	}
	u := ociUpstream(t, r, "/charts", nil)
	l, err := u.List(t.Context(), Validators{}, []string{"demo"})
	require.NoError(t, err)
	assert.Len(t, l.Charts["demo"], DefaultTags)
	assert.Equal(t, 10, r.count("/tags/list"), "a page at a time")

	r.tags["charts/demo"] = append(r.tags["charts/demo"], "2.0.0")
	_, err = u.Versions(t.Context(), "demo")
	assertReason(t, tooLargeReason, err, fmt.Sprintf("%d tags (limit --max-tags)", DefaultTags))
}

func TestAPageOfTagsOnAnotherHostGetsNoCredentials(t *testing.T) {
	other := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"tags":["2.0.0"]}`) })
	r := newRegistry(t)
	r.challenge = "Basic"
	r.push(t, "demo", "1.0.0", chartOf("demo"))
	r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, "/tags/list") || req.Header.Get("Authorization") == "" {
			return false
		}
		w.Header().Set("Link", "<"+other.URL+`/v2/demo/tags/list>; rel="next"`)
		_, _ = io.WriteString(w, `{"tags":["1.0.0"]}`)
		return true
	}
	_, _ = ociUpstream(t, r, "", withPassword).Versions(t.Context(), "demo") // whether such pages count does not matter
	assert.False(t, other.authorized)
}

func TestAHugeOrForeignImageInACatalogueDoesNotHideTheCharts(t *testing.T) {
	r := newRegistry(t)
	r.push(t, "demo", "1.0.0", chartOf("demo"))
	r.push(t, "image", "1.0.0", pushed{config: "application/vnd.oci.image.config.v1+json", layerType: "application/vnd.oci.image.layer.v1.tar+gzip", layer: []byte("x")})
	for i := range 11 {
		r.push(t, "huge", fmt.Sprintf("1.0.%d", i), chartOf("x"))
	}
	r.pushManifest("list", "1.0.0", manifest{mediaType: "application/vnd.oci.image.index.v1+json", content: []byte("{}")})
	l, err := ociUpstream(t, r, "", func(cfg *Config) { cfg.Limits.Tags = 10 }).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"demo": {"1.0.0"}}, l.Charts)
}
