package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/services/internal/localstack"
	"github.com/ketches/helm-operator/services/internal/localstack/standin"
	"github.com/ketches/helm-operator/services/internal/tlsfiles/tlstest"
)

// hosts are servers over TLS, on loopback, whose certificates one authority issued that no system knows.
type hosts struct {
	*testing.T

	dir       string
	authority *tlstest.Authority
	// caFile is the authority's certificate, certFile and keyFile are a server's for 127.0.0.1.
	caFile, certFile, keyFile string
}

func newHosts(t *testing.T) *hosts {
	t.Helper()
	dir := t.TempDir()
	h := &hosts{
		T: t, dir: dir, authority: tlstest.NewAuthority(t, "test authority"),
		caFile: filepath.Join(dir, "ca.crt"), certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"),
	}
	h.authority.Write(h.caFile)
	h.authority.Issue("localhost", "127.0.0.1").Write(h.certFile, h.keyFile)
	return h
}

// ca returns the authority's certificate in PEM.
func (h *hosts) ca() string { return h.read(h.caFile) }

func (h *hosts) read(file string) string {
	h.Helper()
	content, err := os.ReadFile(file)
	require.NoError(h, err)
	return string(content)
}

// clientPair issues a client certificate, and returns it and its key in PEM.
func (h *hosts) clientPair(authority *tlstest.Authority, name string) (cert, key string) {
	h.Helper()
	certFile, keyFile := filepath.Join(h.dir, name+".crt"), filepath.Join(h.dir, name+".key")
	authority.Issue(name).Write(certFile, keyFile)
	return h.read(certFile), h.read(keyFile)
}

// serve serves a handler over TLS and returns its host and port. With clients, only who shows a certificate of that authority
// is let in.
func (h *hosts) serve(handler http.Handler, clients *tlstest.Authority) string {
	h.Helper()
	pair, err := tls.LoadX509KeyPair(h.certFile, h.keyFile)
	require.NoError(h, err)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		file := filepath.Join(h.dir, "clients.crt")
		clients.Write(file)
		server.TLS.ClientCAs, server.TLS.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		require.True(h, server.TLS.ClientCAs.AppendCertsFromPEM([]byte(h.read(file))))
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // that a client does not trust it is no news
	server.StartTLS()
	h.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// registry is an OCI registry with a login of somebody who may push.
type registry struct {
	*hosts

	name, host     string
	user, password string
	config         localstack.RegistryConfig
	accounts       *standin.Accounts // of its token service, if it has one
}

// basicRegistry starts a registry that asks for a name and a password itself.
func (h *hosts) basicRegistry(name, user, password string) *registry {
	h.Helper()
	r := h.newRegistry(name, user, password)
	r.config.Users = map[string]string{user: password}
	r.start()
	return r
}

// tokenRegistry starts a registry that asks for tokens of a service, which asks for a name and a password. When it is public,
// it lets everybody pull.
func (h *hosts) tokenRegistry(name, user, password string, public bool) *registry {
	h.Helper()
	r := h.newRegistry(name, user, password)
	r.accounts = standin.NewAccounts(map[string]string{user: password})
	tokens, err := standin.NewTokens(name, r.accounts, public, time.Now)
	require.NoError(h, err)
	keys, err := tokens.Keys()
	require.NoError(h, err)
	keysFile := filepath.Join(r.config.Dir, "keys.json")
	require.NoError(h, os.WriteFile(keysFile, keys, 0o600))
	realm := "https://" + h.serve(tokens, nil) + "/token"
	r.config.Tokens = &localstack.TokenService{Realm: realm, Name: name, Issuer: name, KeysFile: keysFile}
	r.start()
	return r
}

func (h *hosts) newRegistry(name, user, password string) *registry {
	h.Helper()
	dir := filepath.Join(h.dir, name)
	require.NoError(h, os.Mkdir(dir, 0o700))
	return &registry{hosts: h, name: name, user: user, password: password, config: localstack.RegistryConfig{
		Dir: dir, CertFile: h.certFile, KeyFile: h.keyFile, CAFile: h.caFile,
	}}
}

func (r *registry) start() {
	r.Helper()
	service, err := suite.Registry("registry-"+r.name, r.config)
	require.NoError(r, err)
	require.NoError(r, service.Start(r.Context()))
	r.host = service.Health
	r.Cleanup(func() {
		assert.NoError(r, service.Kill())
		if r.Failed() {
			r.Logf("--- last lines of %s ---\n%s", service.Name, service.LogTail(2000))
		}
	})
}

// change gives the one who may push another password.
func (r *registry) change(password string) {
	r.Helper()
	r.password = password
	if r.accounts != nil {
		r.accounts.Change(r.user, password)
		return
	}
	_, err := r.config.Accounts(map[string]string{r.user: password})
	require.NoError(r, err)
}

// push publishes charts below a path, with the real helm CLI, and returns the URL of the repository.
func (r *registry) push(path string, charts ...chart) string {
	r.Helper()
	url := "oci://" + r.host + "/" + path
	for _, c := range charts {
		file := filepath.Join(r.TempDir(), c.name+"-"+c.version+".tgz")
		require.NoError(r, os.WriteFile(file, c.tarball(r.T), 0o600))
		helm(r.T, append([]string{"push", file, url}, r.login()...)...)
	}
	return url
}

// login are the options with which the helm CLI is let in.
func (r *registry) login() []string {
	return []string{"--ca-file", r.caFile, "--username", r.user, "--password", r.password}
}

// below serves a repository below a path.
func below(path string, repository http.Handler) http.Handler {
	return http.StripPrefix("/"+strings.Trim(path, "/"), repository)
}

// unserved is a chart repository that others serve.
func unserved(t *testing.T, charts ...chart) *chartRepository {
	t.Helper()
	r := &chartRepository{entries: map[string][]map[string]any{}, files: map[string][]byte{}}
	for _, c := range charts {
		r.publish(t, c)
	}
	return r
}
