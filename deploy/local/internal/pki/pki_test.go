package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func load(t *testing.T, p Pair) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(p.Certificate, p.Key)
	require.NoError(t, err)
	return c
}

func TestServerAndClientAcceptEachOther(t *testing.T) {
	authority, err := NewAuthority("test", time.Now)
	require.NoError(t, err)
	serverPair, err := authority.Server("server", "127.0.0.1", "localhost")
	require.NoError(t, err)
	clientPair, err := authority.Client("alice", "system:masters")
	require.NoError(t, err)

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := r.TLS.PeerCertificates[0].Subject
		_, _ = w.Write([]byte(subject.CommonName + " " + subject.Organization[0]))
	}))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{load(t, serverPair)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	}
	server.StartTLS()
	defer server.Close()

	ask := func(config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	require.NoError(t, ask(&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{load(t, clientPair)}}))

	stranger, err := NewAuthority("stranger", time.Now)
	require.NoError(t, err)
	strangerPair, err := stranger.Client("alice", "system:masters")
	require.NoError(t, err)
	assert.Error(t, ask(&tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{load(t, strangerPair)}}),
		"the certificate of another authority is refused")
	assert.Error(t, ask(&tls.Config{RootCAs: stranger.Pool(), Certificates: []tls.Certificate{load(t, clientPair)}}))
}

func TestCertificatesHoldForAYearFromTheGivenClock(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	authority, err := NewAuthority("test", func() time.Time { return now })
	require.NoError(t, err)
	pair, err := authority.Client("alice")
	require.NoError(t, err)
	block, _ := pem.Decode(pair.Certificate)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	assert.Equal(t, now.Add(-time.Hour), certificate.NotBefore)
	assert.Equal(t, now.Add(lifetime), certificate.NotAfter)
}

func TestSigningKeyIsAKeyPair(t *testing.T) {
	pair, err := SigningKey()
	require.NoError(t, err)
	private, _ := pem.Decode(pair.Key)
	key, err := x509.ParseECPrivateKey(private.Bytes)
	require.NoError(t, err)
	public, _ := pem.Decode(pair.Certificate)
	parsed, err := x509.ParsePKIXPublicKey(public.Bytes)
	require.NoError(t, err)
	assert.True(t, key.PublicKey.Equal(parsed))
}
