package upstream

import (
	"context"
	"errors"
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

func ociUpstream(t *testing.T, r *registry, path string, change func(*Config)) Upstream {
	t.Helper()
	cfg := Config{URL: r.oci() + path, PlainHTTP: true}
	if change != nil {
		change(&cfg)
	}
	return newUpstream(t, cfg)
}

func withPassword(cfg *Config) {
	cfg.Credentials.Username, cfg.Credentials.Password = "user", "s3cret"
}

// noCatalogue makes a registry answer for its catalogue with a status.
func noCatalogue(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/v2/_catalog" {
			return false
		}
		fault(w, code, "UNSUPPORTED")
		return true
	}
}

func TestARegistryIsListedByItsCatalogue(t *testing.T) {
	r := newRegistry(t)
	r.pageSize = 2
	for _, tag := range []string{"1.0.0", "1.1.0", "1.2.0_build.5", "latest", "2.0.0"} {
		r.push(t, "charts/demo", tag, chartOf("demo "+tag))
	}
	r.push(t, "charts/team/other", "0.1.0", chartOf("other"))
	r.push(t, "charts", "1.0.0", chartOf("the path itself is no chart below it"))
	r.push(t, "charts2/near", "1.0.0", chartOf("another path"))
	r.push(t, "charts/image", "1.0.0", pushed{config: "application/vnd.oci.image.config.v1+json", layerType: "application/vnd.oci.image.layer.v1.tar+gzip", layer: []byte("x")})
	r.push(t, "charts/untagged", "edge", chartOf("no version"))
	r.pushManifest("charts/multi", "1.0.0", manifest{mediaType: "application/vnd.oci.image.index.v1+json", content: []byte(`{}`)})

	l, err := ociUpstream(t, r, "/charts", nil).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Nil(t, l.Index)
	assert.Equal(t, map[string][]string{
		"demo":       {"1.0.0", "1.1.0", "1.2.0+build.5", "latest", "2.0.0"},
		"team/other": {"0.1.0"},
	}, l.Charts)
	assert.Equal(t, "GET /v2/", r.requests[0], "the credentials are checked first")

	l, err = ociUpstream(t, r, "", nil).List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	assert.Contains(t, l.Charts, "charts/demo", "a whole registry can be a repository")
	assert.Contains(t, l.Charts, "charts2/near")
}

func TestARegistryWithoutCatalogueIsListedByWhatIsKnown(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 405, 501} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			r := newRegistry(t)
			r.intercept = noCatalogue(code)
			r.push(t, "charts/demo", "1.0.0", chartOf("demo"))
			r.push(t, "charts/unasked", "1.0.0", chartOf("unasked"))
			l, err := ociUpstream(t, r, "/charts", nil).List(t.Context(), Validators{}, []string{"demo", "gone", "NOT a name"})
			require.NoError(t, err)
			assert.Equal(t, map[string][]string{"demo": {"1.0.0"}}, l.Charts)
			assert.Zero(t, r.count("/manifests/"), "what was asked for needs no check")
		})
	}
}

func TestListFailsRatherThanLosingCharts(t *testing.T) {
	path := func(part string, handler http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			if !strings.Contains(req.URL.Path, part) {
				return false
			}
			handler(w, req)
			return true
		}
	}
	tests := []struct {
		name      string
		intercept func(http.ResponseWriter, *http.Request) bool
		reason    chartcachev1.ErrorReason
		says      string
	}{
		{"no registry at the host", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }, notFound, "cannot open the registry"},
		{"the registry refuses", func(w http.ResponseWriter, _ *http.Request) bool { fault(w, 403, "DENIED"); return true }, unauthorized, "HTTP 403"},
		{"the catalogue is broken", noCatalogue(500), failed, "catalogue"},
		{"the catalogue is limited", path("_catalog", status(429, "Retry-After", "7")), rateLimited, ""},
		{"the catalogue is garbage", path("_catalog", status(200)), failed, "cannot be understood"},
		{"the connection breaks off", path("tags", reset), unreachableReason, "broke off"},
		{"the tags are broken", path("tags", status(500)), failed, "versions of demo"},
		{"the tags are garbage", path("tags", status(200)), failed, ""},
		{"the tags end early", path("tags", truncated), failed, ""},
		{"a probe fails", path("manifests", status(502)), failed, "manifest"},
		{"everything that was asked for is refused", path("tags", status(401)), unauthorized, "check the credentials"},
		{"pages lead to another host", path("tags", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `<http://example.invalid/?s3cret>; rel="next"`)
			_, _ = io.WriteString(w, "{}")
		}), failed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry(t)
			r.intercept = tt.intercept
			r.push(t, "charts/demo", "1.0.0", chartOf("demo"))
			known := []string{"demo"}
			if tt.name == "a probe fails" {
				known = nil
			}
			_, err := ociUpstream(t, r, "/charts", nil).List(t.Context(), Validators{}, known)
			assertReason(t, tt.reason, err, tt.says)
		})
	}
}

func TestAChartThatIsRefusedWhileOthersAreNotIsLeftOut(t *testing.T) {
	r := newRegistry(t)
	r.push(t, "charts/demo", "1.0.0", chartOf("demo"))
	r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/charts/private/") {
			return false
		}
		fault(w, 403, "DENIED")
		return true
	}
	l, err := ociUpstream(t, r, "/charts", nil).List(t.Context(), Validators{}, []string{"demo", "private"})
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"demo": {"1.0.0"}}, l.Charts)
}

func TestListingIsBounded(t *testing.T) {
	limit := func(cfg *Config) { cfg.Limits.Tags = 3 }
	t.Run("tags of a chart", func(t *testing.T) {
		r := newRegistry(t)
		r.pageSize = 1
		for i := range 4 {
			r.push(t, "demo", fmt.Sprintf("1.0.%d", i), chartOf("x"))
		}
		_, err := ociUpstream(t, r, "", limit).Versions(t.Context(), "demo")
		assertReason(t, tooLargeReason, err, "(limit --max-tags)")
	})
	t.Run("charts of a catalogue", func(t *testing.T) {
		r := newRegistry(t)
		for i := range 4 {
			r.push(t, fmt.Sprintf("charts/c%d", i), "1.0.0", chartOf("x"))
		}
		_, err := ociUpstream(t, r, "/charts", limit).List(t.Context(), Validators{}, nil)
		assertReason(t, tooLargeReason, err, "3 charts (limit --max-tags)")
	})
	t.Run("other repositories of a catalogue", func(t *testing.T) {
		r := newRegistry(t)
		for i := range 31 {
			r.push(t, fmt.Sprintf("images/i%d", i), "1.0.0", chartOf("x"))
		}
		_, err := ociUpstream(t, r, "/charts", limit).List(t.Context(), Validators{}, nil)
		assertReason(t, tooLargeReason, err, "30 repositories (limit --max-tags)")
	})
	for _, part := range []string{"/tags/list", "/_catalog"} {
		t.Run("endless empty pages of "+part, func(t *testing.T) {
			r := newRegistry(t)
			r.push(t, "demo", "1.0.0", chartOf("x"))
			r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasSuffix(req.URL.Path, part) {
					return false
				}
				w.Header().Set("Link", "<"+req.URL.Path+`>; rel="next"`)
				_, _ = io.WriteString(w, "{}")
				return true
			}
			_, err := ociUpstream(t, r, "", limit).List(t.Context(), Validators{}, []string{"demo"})
			assertReason(t, tooLargeReason, err, "(limit --max-tags)")
		})
	}
}

func TestVersions(t *testing.T) {
	r := newRegistry(t)
	r.push(t, "charts/demo", "1.0.0_a.b", chartOf("demo"))
	r.tags["charts/empty"] = nil
	u := ociUpstream(t, r, "/charts", nil)
	versions, err := u.Versions(t.Context(), "demo")
	require.NoError(t, err)
	assert.Equal(t, []string{"1.0.0+a.b"}, versions)
	for _, chart := range []string{"missing", "empty", "../demo", "UPPER", ""} {
		_, err := u.Versions(t.Context(), chart)
		assertReason(t, chartNotFound, err, fmt.Sprintf("holds no chart %q", chart))
	}
	r.intercept = noCatalogue(404)
	assert.Zero(t, r.count("_catalog"))
}

func TestRegistryAuthentication(t *testing.T) {
	for _, challenge := range []string{"Basic", "Bearer"} {
		t.Run(challenge, func(t *testing.T) {
			r := newRegistry(t)
			r.challenge = challenge
			r.push(t, "charts/demo", "1.0.0", chartOf("demo"))

			t.Run("with the password everything is readable", func(t *testing.T) {
				u := ociUpstream(t, r, "/charts", withPassword)
				l, err := u.List(t.Context(), Validators{}, nil)
				require.NoError(t, err)
				assert.Contains(t, l.Charts, "demo")
				d, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0"})
				require.NoError(t, err)
				assert.Equal(t, "demo", readAll(t, d.Body))
				r.requireAuthorization(t, true)

				before := r.tokens
				for range 3 {
					_, err := u.Versions(t.Context(), "demo")
					require.NoError(t, err)
				}
				assert.Equal(t, before, r.tokens, "tokens are used again")
			})
			t.Run("without one it is refused", func(t *testing.T) {
				_, err := ociUpstream(t, r, "/charts", nil).List(t.Context(), Validators{}, nil)
				assertReason(t, unauthorized, err, "")
			})
			t.Run("with a wrong one it is refused", func(t *testing.T) {
				u := ociUpstream(t, r, "/charts", func(cfg *Config) {
					cfg.Credentials.Username, cfg.Credentials.Password = "user", "wrong-s3cret"
				})
				_, err := u.List(t.Context(), Validators{}, nil)
				assertReason(t, unauthorized, err, "")
			})
		})
	}
}

func TestARateLimitOfTheTokenServiceIsKept(t *testing.T) {
	r := newRegistry(t)
	r.challenge = "Bearer"
	r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/token" {
			return false
		}
		w.Header().Set("Retry-After", "9")
		fault(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		return true
	}
	_, err := ociUpstream(t, r, "", withPassword).List(t.Context(), Validators{}, nil)
	assertReason(t, rateLimited, err, r.host())
	classified, ok := errors.AsType[*cacheerr.Error](err)
	require.True(t, ok)
	assert.Equal(t, 9*time.Second, classified.RetryAfter)
}

func TestARegistryThatRedirectsABlobGivesNoCredentialsAway(t *testing.T) {
	storage := newRecorder(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "demo") })
	r := newRegistry(t)
	r.challenge = "Basic"
	r.push(t, "demo", "1.0.0", chartOf("demo"))
	r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.Contains(req.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, req, storage.URL, http.StatusTemporaryRedirect)
		return true
	}
	d, err := ociUpstream(t, r, "", withPassword).Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0"})
	require.NoError(t, err)
	assert.Equal(t, "demo", readAll(t, d.Body))
	assert.False(t, storage.authorized)
}

func TestARegistryThatSpeaksPlainHTTPNeedsConsent(t *testing.T) {
	r := newRegistry(t)
	u := ociUpstream(t, r, "", func(cfg *Config) { cfg.PlainHTTP = false })
	_, err := u.List(t.Context(), Validators{}, nil)
	assertReason(t, unreachableReason, err, "plain HTTP")
}

func TestARegistryThatHangsEndsWithTheContext(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	u := newUpstream(t, Config{URL: strings.Replace(server.URL, "http", "oci", 1), PlainHTTP: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := u.List(ctx, Validators{}, nil)
	assertReason(t, unreachableReason, err, "in time")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
