package upstream

import (
	"crypto/tls"
	"crypto/x509"
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

func TestAHostThatRefusesOurCertificateRefusesAccess(t *testing.T) {
	cert, key := clientCertificate(t)
	anyOne := func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }
	for name, test := range map[string]struct {
		wants       func(*tls.Config)
		http2       bool
		credentials Credentials
	}{
		"none is shown":                    {wants: anyOne},
		"none is shown by HTTP/2":          {wants: anyOne, http2: true},
		"of a strange authority":           {wants: strange, credentials: Credentials{Cert: cert, Key: key}},
		"of a strange one by HTTP/2":       {wants: strange, credentials: Credentials{Cert: cert, Key: key}, http2: true},
		"of a strange one, before TLS 1.3": {wants: strangeBefore13, credentials: Credentials{Cert: cert, Key: key}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serveTLS(t, test.http2, test.wants)
			test.credentials.CA = certificatePEM(server)
			for _, url := range []string{server.URL, strings.Replace(server.URL, "https://", "oci://", 1)} {
				// With TLS 1.3 the request may be on its way when the host refuses, and then its reason is lost with the connection.
				require.EventuallyWithT(t, func(c *assert.CollectT) {
					_, err := newUpstream(t, Config{URL: url, Credentials: test.credentials}).List(t.Context(), Validators{}, nil)
					require.ErrorContains(c, err, "client certificate")
					require.Equal(c, chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, cacheerr.ReasonOf(err))
				}, time.Minute, time.Millisecond)
			}
		})
	}
}

// strange wants a certificate of an authority that issued none.
func strange(c *tls.Config) {
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
}

func strangeBefore13(c *tls.Config) {
	strange(c)
	c.MaxVersion = tls.VersionTLS12
}

func TestAHostThatEndsTheHandshakeForAnotherReasonIsUnreachable(t *testing.T) {
	for says, limits := range map[string]func(*tls.Config){
		"it may want a client certificate":      func(c *tls.Config) { c.MaxVersion, c.ClientAuth = tls.VersionTLS12, tls.RequireAnyClientCert },
		"the TLS handshake with the host fails": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
	} {
		server := serveTLS(t, false, limits)
		credentials := Credentials{CA: certificatePEM(server)}
		_, err := newUpstream(t, Config{URL: server.URL, Credentials: credentials}).List(t.Context(), Validators{}, nil)
		assertReason(t, chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, err, says)
	}
}

// serveTLS serves over TLS as limits say.
func serveTLS(t *testing.T, http2 bool, limits func(*tls.Config)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(status(http.StatusOK))
	server.Config.ErrorLog = discardLog()
	server.EnableHTTP2 = http2
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	limits(server.TLS)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}
