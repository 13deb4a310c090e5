package localstack

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// RegistryConfig describes one more OCI registry beside that of the stack.
type RegistryConfig struct {
	// Dir is an existing folder for its configuration and content. Required.
	Dir string
	// CertFile and KeyFile are its certificate and key, CAFile the authority of the certificate, all in PEM. Required.
	CertFile, KeyFile, CAFile string
	// Users are passwords by name that it asks for by basic authentication. Not with Tokens.
	Users map[string]string
	// Tokens, when set, is the service whose tokens it asks for.
	Tokens *TokenService
}

// TokenService is what a registry must know of the service whose tokens it takes.
type TokenService struct {
	// Realm is the URL where clients get tokens.
	Realm string
	// Name is the audience of its tokens, and Issuer who gives them.
	Name, Issuer string
	// KeysFile holds the public keys of its signatures, as a JSON Web Key Set.
	KeysFile string
}

// Registry describes a registry that serves over TLS at Service.Health. Without users and token service, everybody may read
// and write. It is not started.
func (s *Stack) Registry(name string, c RegistryConfig) (*Service, error) {
	address, _, _, err := threeAddresses()
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the authority of the registry %s: %w", name, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("the authority of the registry %s is not PEM", name)
	}
	auth, err := c.auth()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(c.Dir, name+".yaml")
	content := fmt.Sprintf(registryConfig, filepath.Join(c.Dir, "data"), address, c.CertFile, c.KeyFile, auth)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		return nil, err
	}
	return &Service{
		Name: name, Health: address, Env: []string{"OTEL_TRACES_EXPORTER=none"},
		binary: filepath.Join(s.Info.Bin, "registry"), args: []string{"serve", config}, logFile: filepath.Join(s.Programs.dir, name+".log"),
		readyz: "https://" + address + "/v2/", guarded: true,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}},
	}, nil
}

const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: %q
  secret: of-a-test
  tls: {certificate: %q, key: %q}
%s`

// auth returns the section of the configuration that says who may come in.
func (c *RegistryConfig) auth() (string, error) {
	if t := c.Tokens; t != nil {
		return fmt.Sprintf("auth:\n  token: {realm: %q, service: %q, issuer: %q, jwks: %q}\n", t.Realm, t.Name, t.Issuer, t.KeysFile), nil
	}
	if len(c.Users) == 0 {
		return "", nil
	}
	file, err := c.Accounts(c.Users)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("auth:\n  htpasswd: {realm: test, path: %q}\n", file), nil
}

// Accounts writes the password file of the registry and returns its path. A registry that runs reads it again when it changed.
func (c *RegistryConfig) Accounts(users map[string]string) (string, error) {
	var lines strings.Builder
	for user, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("hash the password of %s: %w", user, err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", user, hash)
	}
	file := filepath.Join(c.Dir, "htpasswd")
	return file, os.WriteFile(file, []byte(lines.String()), 0o600)
}
