package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
)

// answering is a transport that answers at once, without any host, and remembers when.
type answering struct {
	status int
	header http.Header
	times  []time.Time
}

func (a *answering) RoundTrip(*http.Request) (*http.Response, error) {
	a.times = append(a.times, time.Now())
	header := a.header
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(strings.NewReader("apiVersion: v1\n"))}, nil
}

// pooled returns repositories of one pool over a transport.
func pooled(t *testing.T, transport http.RoundTripper, limits Limits, urls ...string) []Upstream {
	t.Helper()
	pool := NewPool(func(*tls.Config) http.RoundTripper { return transport })
	var all []Upstream
	for _, u := range urls {
		up, err := pool.New(Config{URL: u, Limits: limits})
		require.NoError(t, err)
		all = append(all, up)
	}
	return all
}

func list(ctx context.Context, u Upstream) error {
	l, err := u.List(ctx, Validators{}, nil)
	if err == nil {
		_ = l.Index.Close()
	}
	return err
}

func TestAHostIsNotAskedFasterThanItsPaceByAllRepositoriesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &answering{status: http.StatusOK}
		both := pooled(t, transport, Limits{HostRate: 10}, "https://charts.example.com/a", "https://CHARTS.example.com/b")
		start := time.Now()
		for i := range 40 {
			require.NoError(t, list(t.Context(), both[i%2]))
		}
		// Twenty at once, and the other twenty within two seconds.
		assert.Less(t, transport.times[19].Sub(start), time.Millisecond)
		assert.InDelta(t, 2.0, transport.times[39].Sub(start).Seconds(), 0.11)
	})
}

func TestHostsHavePacesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &answering{status: http.StatusOK}
		both := pooled(t, transport, Limits{HostRate: 1}, "https://a.example.com", "https://b.example.com")
		start := time.Now()
		for range 2 {
			require.NoError(t, list(t.Context(), both[0]))
			require.NoError(t, list(t.Context(), both[1]))
		}
		assert.Zero(t, time.Since(start))
	})
}

func TestARequestThatWouldWaitForLongerThanItMayFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := pooled(t, &answering{status: http.StatusOK}, Limits{HostRate: 1}, "https://a.example.com")[0]
		for range 2 {
			require.NoError(t, list(t.Context(), one))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := list(ctx, one)
		assertReason(t, unreachableReason, err, "--"+FlagHostRate)
		assert.Zero(t, time.Since(start))
		require.NoError(t, list(t.Context(), one), "who waits gets its turn")
		assert.InDelta(t, 1.0, time.Since(start).Seconds(), 0.01, "the turn that was not taken was given back")
	})
}

func TestAHostThatAskedForFewerRequestsIsLeftAloneByAllRepositories(t *testing.T) {
	for name, status := range map[string]int{"429": http.StatusTooManyRequests, "503": http.StatusServiceUnavailable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &answering{status: status, header: http.Header{"Retry-After": {"60"}}}
				all := pooled(t, transport, Limits{}, "https://a.example.com/one", "https://a.example.com/two", "https://b.example.com")
				assertReason(t, rateLimited, list(t.Context(), all[0]), "fewer requests")
				time.Sleep(20 * time.Second) // fake time
				err := list(t.Context(), all[1])
				assertReason(t, rateLimited, err, "fewer requests")
				var e *cacheerr.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, 40*time.Second, e.RetryAfter)
				assert.Len(t, transport.times, 1, "it was not asked again")
				_ = list(t.Context(), all[2])
				assert.Len(t, transport.times, 2, "another host was")

				transport.status = http.StatusOK
				time.Sleep(40 * time.Second)
				require.NoError(t, list(t.Context(), all[1]))
			})
		})
	}
}

func TestAHostHasOneName(t *testing.T) {
	for raw, want := range map[string]string{
		"https://Charts.example.com./a": "charts.example.com", "https://charts.example.com:443": "charts.example.com",
		"http://charts.example.com:80": "charts.example.com", "http://charts.example.com:443": "charts.example.com:443",
		"oci://charts.example.com": "charts.example.com", "https://[::1]:8443": "[::1]:8443",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		assert.Equal(t, want, HostOf(u), raw)
	}
}

func TestOnlySoManyHostsAreRemembered(t *testing.T) {
	h := newHosts()
	for i := range maxHosts + 10 {
		h.get(fmt.Sprint(i), 1, now().Add(time.Duration(i)*time.Second))
	}
	assert.Len(t, h.byName, maxHosts)
	assert.NotContains(t, h.byName, "0", "the one that was asked longest ago is forgotten")
	assert.Contains(t, h.byName, fmt.Sprint(maxHosts+9))
}

func TestATokenIsAskedForOnceForAllSyncs(t *testing.T) {
	r := newRegistry(t)
	r.challenge = "Bearer"
	r.push(t, "charts/demo", "1.0.0", chartOf("demo"))
	pool := NewPool(nil)
	t.Cleanup(pool.CloseIdleConnections)
	clock := now()
	sync := func(password string) error {
		u, err := pool.New(Config{
			URL: r.oci() + "/charts", PlainHTTP: true, Credentials: Credentials{Username: "user", Password: password},
			Now: func() time.Time { return clock },
		})
		require.NoError(t, err)
		_, err = u.List(t.Context(), Validators{}, []string{"demo"})
		return err
	}
	require.NoError(t, sync("s3cret"))
	first := r.tokens
	for range 3 {
		require.NoError(t, sync("s3cret"))
	}
	assert.Equal(t, first, r.tokens, "later syncs use the tokens of the first one")

	assertReason(t, unauthorized, sync("wrong"), "refuses access")
	assert.Greater(t, r.tokens, first, "other credentials do not get the tokens of these")
	asked := r.tokens
	require.NoError(t, sync("s3cret"))
	assert.Equal(t, asked, r.tokens)

	clock = clock.Add(tokensAge)
	require.NoError(t, sync("s3cret"))
	assert.Greater(t, r.tokens, asked, "old tokens are forgotten")
}

func TestOnlySoManyTokensAreKept(t *testing.T) {
	kept := newTokens()
	first := kept.of("registry", Credentials{Username: "0", Password: "s3cret"}, now())
	for i := range maxTokenSets + 10 {
		kept.of("registry", Credentials{Username: fmt.Sprint(i), Password: "s3cret"}, now().Add(time.Duration(i)*time.Millisecond))
	}
	assert.Len(t, kept.sets, maxTokenSets)
	assert.NotSame(t, first, kept.of("registry", Credentials{Username: "0", Password: "s3cret"}, now().Add(time.Minute)))
	kept.of("registry", Credentials{}, now().Add(2*tokensAge))
	assert.Len(t, kept.sets, 1)
}
