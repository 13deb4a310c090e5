package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		name, from, to string
		same           bool
	}{
		{"equal", "https://a.example/x", "https://a.example/y", true},
		{"another spelling", "https://A.example", "https://a.EXAMPLE", true},
		{"the default port of TLS", "https://a.example", "https://a.example:443", true},
		{"the default port of HTTP", "http://a.example:80", "http://a.example", true},
		{"another port", "https://a.example", "https://a.example:8443", false},
		{"another host", "https://a.example", "https://b.example", false},
		{"a host below", "https://a.example", "https://x.a.example", false},
		{"an upgrade to TLS", "http://a.example", "https://a.example", true},
		{"an upgrade to TLS with ports", "http://a.example:80", "https://a.example:443", true},
		{"an upgrade on another port", "http://a.example:8080", "https://a.example", false},
		{"a downgrade from TLS", "https://a.example", "http://a.example", false},
		{"a downgrade on one port", "https://a.example:8080", "http://a.example:8080", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, err := url.Parse(tt.from)
			require.NoError(t, err)
			to, err := url.Parse(tt.to)
			require.NoError(t, err)
			assert.Equal(t, tt.same, sameOrigin(from, to))
		})
	}
}

// recorder answers every request and remembers its credentials.
type recorder struct {
	*httptest.Server
	user, password, referer string
	authorized              bool
}

func newRecorder(t *testing.T, next http.HandlerFunc) *recorder {
	r := &recorder{}
	r.Server = serve(t, func(w http.ResponseWriter, req *http.Request) {
		r.user, r.password, r.authorized = req.BasicAuth()
		r.referer = req.Referer()
		if next != nil {
			next(w, req)
			return
		}
		_, _ = io.WriteString(w, index)
	})
	return r
}

func TestCredentialsAreSentToTheRepositoryOnly(t *testing.T) {
	tests := []struct {
		name string
		pass bool
	}{
		{"without passCredentials they stay", false},
		{"with passCredentials they go along", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Credentials: Credentials{Username: "user", Password: "s3cret", PassCredentials: tt.pass}}

			t.Run("when it redirects", func(t *testing.T) {
				other := newRecorder(t, nil)
				own := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, other.URL+"/index.yaml", http.StatusFound)
				})
				cfg.URL = own.URL + "/?token=s3cret"
				l, err := newUpstream(t, cfg).List(t.Context(), Validators{}, nil)
				require.NoError(t, err)
				assert.Equal(t, index, readAll(t, l.Index))
				assert.True(t, own.authorized)
				assert.Equal(t, "user", own.user)
				assert.Equal(t, "s3cret", own.password)
				assert.Equal(t, tt.pass, other.authorized)
				assert.Empty(t, other.referer, "a Referer would give the token away")
			})
			t.Run("when the index names another host", func(t *testing.T) {
				other, own := newRecorder(t, nil), newRecorder(t, nil)
				cfg.URL = own.URL
				u := newUpstream(t, cfg)
				for _, raw := range []string{"own.tgz", other.URL + "/other.tgz"} {
					d, err := u.Fetch(t.Context(), Chart{Name: "demo", Version: "1.0.0", URLs: []string{raw}})
					require.NoError(t, err)
					require.NoError(t, d.Body.Close())
				}
				assert.True(t, own.authorized)
				assert.Equal(t, tt.pass, other.authorized)
			})
		})
	}
}

func TestCredentialsReturnToTheRepositoryAfterADetour(t *testing.T) {
	var own *recorder
	detour := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, own.URL+"/back", http.StatusFound)
	})
	own = newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/back" {
			http.Redirect(w, r, detour.URL, http.StatusFound)
		}
	})
	u := newUpstream(t, Config{URL: own.URL, Credentials: Credentials{Username: "user", Password: "s3cret"}})
	l, err := u.List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.Index.Close())
	assert.False(t, detour.authorized)
	assert.True(t, own.authorized)
}

func TestPassedCredentialsStillNeedTLSWhenTheRepositoryUsesIt(t *testing.T) {
	other := newRecorder(t, nil)
	own := httptest.NewTLSServer(http.RedirectHandler(other.URL, http.StatusFound))
	t.Cleanup(own.Close)
	u := newUpstream(t, Config{URL: own.URL, Credentials: Credentials{
		Username: "user", Password: "s3cret", PassCredentials: true, CA: certificatePEM(own),
	}})
	l, err := u.List(t.Context(), Validators{}, nil)
	require.NoError(t, err)
	require.NoError(t, l.Index.Close())
	assert.False(t, other.authorized)
}

// clientCertificate makes a self-signed client certificate.
func clientCertificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "chartcache"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = discardLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := certificatePEM(server)
	cert, key := clientCertificate(t)

	t.Run("a CA is trusted", func(t *testing.T) {
		_, err := newUpstream(t, Config{URL: server.URL, Credentials: Credentials{CA: ca}}).List(t.Context(), Validators{}, nil)
		assertReason(t, unauthorized, err, "HTTP 403")
	})
	t.Run("verification can be skipped", func(t *testing.T) {
		_, err := newUpstream(t, Config{URL: server.URL, Credentials: Credentials{InsecureSkipVerify: true}}).List(t.Context(), Validators{}, nil)
		assertReason(t, unauthorized, err, "HTTP 403")
	})
	t.Run("a client certificate is shown", func(t *testing.T) {
		u := newUpstream(t, Config{URL: server.URL, Credentials: Credentials{CA: ca, Cert: cert, Key: key}})
		l, err := u.List(t.Context(), Validators{}, nil)
		require.NoError(t, err)
		assert.Equal(t, "chartcache", readAll(t, l.Index))
	})
	t.Run("another CA is not enough", func(t *testing.T) {
		_, err := newUpstream(t, Config{URL: server.URL, Credentials: Credentials{CA: cert}}).List(t.Context(), Validators{}, nil)
		assertReason(t, unreachableReason, err, "give its CA")
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	cert, key := clientCertificate(t)
	tests := []struct {
		name string
		cfg  Config
		says string
	}{
		{"no URL", Config{}, "must start with"},
		{"a malformed URL", Config{URL: "http://u:s3cret@%zz"}, "malformed"},
		{"another protocol", Config{URL: "ftp://x"}, "must start with"},
		{"no host", Config{URL: "https:///charts"}, "no host"},
		{"a host that is not text", Config{URL: "https://%ff/charts"}, "not text"},
		{"a password in the URL", Config{URL: "https://u:s3cret@x"}, "holds credentials"},
		{"a fragment", Config{URL: "https://x#s3cret"}, "fragment"},
		{"a query with OCI", Config{URL: "oci://x/y?s3cret"}, "query"},
		{"an OCI path in capitals", Config{URL: "oci://x/Charts"}, "repository name"},
		{"an OCI path with a tag", Config{URL: "oci://x/charts:1"}, "no tag"},
		{"a username alone with OCI", Config{URL: "oci://x", Credentials: Credentials{Username: "u"}}, "both"},
		{"a CA that is not PEM", Config{URL: "https://x", Credentials: Credentials{CA: []byte("s3cret")}}, "no PEM certificate"},
		{"a client certificate without key", Config{URL: "https://x", Credentials: Credentials{Cert: cert}}, "both"},
		{"a client key without certificate", Config{URL: "oci://x", Credentials: Credentials{Key: key}}, "both"},
		{"a client certificate that is not PEM", Config{URL: "https://x", Credentials: Credentials{Cert: []byte("x"), Key: key}}, "PEM pair"},
		{"a negative limit", Config{URL: "https://x", Limits: Limits{Tags: -1}}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.cfg)
			assertReason(t, configurationInvalid, err, tt.says)
		})
	}
}

func TestAPoolSharesTransportsByTLSIdentity(t *testing.T) {
	cert, key := clientCertificate(t)
	made := 0
	pool := NewPool(func(*tls.Config) http.RoundTripper {
		made++
		return http.NewFileTransport(http.Dir(t.TempDir()))
	})
	for _, c := range []Credentials{
		{}, {Username: "u", Password: "p"}, {InsecureSkipVerify: true}, {CA: cert}, {Cert: cert, Key: key},
		{}, {CA: cert}, {Cert: cert, Key: key},
	} {
		_, err := pool.New(Config{URL: "https://x", Credentials: c})
		require.NoError(t, err)
	}
	assert.Equal(t, 4, made)
	pool.CloseIdleConnections()
}

// closable is a transport that counts how often it was told to close.
type closable struct {
	http.RoundTripper
	closed *int
}

func (c closable) CloseIdleConnections() { *c.closed++ }

func TestAPoolIsBounded(t *testing.T) {
	made, closed := 0, 0
	pool := NewPool(func(*tls.Config) http.RoundTripper {
		made++
		return closable{closed: &closed}
	})
	cert, _ := clientCertificate(t)
	for i := range poolTransports + 3 {
		_, err := pool.New(Config{URL: "https://x", Credentials: Credentials{CA: append(cert, strings.Repeat("\n", i)...)}})
		require.NoError(t, err)
	}
	assert.Equal(t, poolTransports+3, made)
	assert.Equal(t, 3, closed)
	pool.CloseIdleConnections()
	assert.Equal(t, 3+poolTransports, closed)
}

func TestRedactedHidesSecretPartsOfURLs(t *testing.T) {
	tests := []struct{ text, want string }{
		{`Get "https://x/y?sig=s3cret": EOF`, `Get "https://x/y?redacted": EOF`},
		{"https://u:s3cret@x/y failed", "https://redacted@x/y failed"},
		{"no URL at all", "no URL at all"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, redacted(stringError(tt.text)).Error())
	}
}

type stringError string

func (e stringError) Error() string { return string(e) }
