package source

import (
	"context"
	"encoding/json"
	"sort"
	"strings"

	"github.com/ketches/helm-operator/chartcache/upstream"
)

// Secret is what is needed of a Kubernetes Secret.
type Secret struct {
	// Data by key.
	Data map[string][]byte
}

// SecretReader reads one Secret, now, from the API server.
type SecretReader interface {
	// Secret returns the Secret; found is false when there is none. Errors say that it could not be read.
	Secret(ctx context.Context, namespace, name string) (secret Secret, found bool, err error)
}

// Keys of Secrets.
const (
	keyDockerConfig = ".dockerconfigjson"
	keyUsername     = "username"
	keyPassword     = "password"
)

// userOfServiceAccountKey is the user name with which a registry of Google takes a JSON service-account key as password.
const userOfServiceAccountKey = "_json_key"

// login is a user name and its password.
type login struct{ username, password string }

// loginOf finds the login for a repository in a Secret: the entry of the repository's host in a Docker configuration,
// else the keys username and password, else a service-account key. where names the Secret in errors.
func loginOf(where string, secret Secret, repositoryURL string) (login, error) {
	if config, ok := secret.Data[keyDockerConfig]; ok {
		return dockerLogin(where, config, repositoryURL)
	}
	if _, ok := secret.Data[keyUsername]; ok {
		return basicLogin(where, secret)
	}
	if _, ok := secret.Data[keyPassword]; ok {
		return basicLogin(where, secret)
	}
	return serviceAccountLogin(where, secret)
}

func basicLogin(where string, secret Secret) (login, error) {
	for _, key := range []string{keyUsername, keyPassword} {
		if _, ok := secret.Data[key]; !ok {
			return login{}, unavailable("%s has no key %q", where, key)
		}
	}
	l := login{username: string(secret.Data[keyUsername]), password: string(secret.Data[keyPassword])}
	if l.username == "" {
		return login{}, unavailable("%s: the key %q is empty", where, keyUsername)
	}
	return l, nil
}

// serviceAccountLogin looks through all keys, since every tool names that one differently.
func serviceAccountLogin(where string, secret Secret) (login, error) {
	var found []string
	for key, value := range secret.Data {
		var account struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(value, &account) == nil && account.Type == "service_account" {
			found = append(found, key)
		}
	}
	sort.Strings(found)
	switch len(found) {
	case 1:
		return login{username: userOfServiceAccountKey, password: string(secret.Data[found[0]])}, nil
	case 0:
		return login{}, unavailable("%s has neither the key %q, nor the keys %q and %q, nor a JSON service-account key",
			where, keyDockerConfig, keyUsername, keyPassword)
	default:
		return login{}, unavailable("%s has several JSON service-account keys (%s); leave one", where, strings.Join(found, ", "))
	}
}

// tlsKeys are the names that a Secret may give one part: those of a kubernetes.io/tls Secret first, then Helm's.
type tlsKeys struct {
	names [2]string
	into  func(*upstream.Credentials) *[]byte
}

func tlsParts() [3]tlsKeys {
	return [3]tlsKeys{
		{names: [2]string{"ca.crt", "caFile"}, into: func(c *upstream.Credentials) *[]byte { return &c.CA }},
		{names: [2]string{"tls.crt", "certFile"}, into: func(c *upstream.Credentials) *[]byte { return &c.Cert }},
		{names: [2]string{"tls.key", "keyFile"}, into: func(c *upstream.Credentials) *[]byte { return &c.Key }},
	}
}

// tlsFromSecret reads the TLS parts of a Secret. A client certificate without its key, or the other way round, is an
// error that names what is missing.
func tlsFromSecret(where string, secret Secret, credentials *upstream.Credentials) error {
	for _, part := range tlsParts() {
		for _, key := range part.names {
			if value := secret.Data[key]; len(value) > 0 {
				*part.into(credentials) = value
				break
			}
		}
	}
	switch {
	case len(credentials.Cert) > 0 && len(credentials.Key) == 0:
		return unavailable("%s has a client certificate but no key %q for it", where, "tls.key")
	case len(credentials.Key) > 0 && len(credentials.Cert) == 0:
		return unavailable("%s has the key of a client certificate but no key %q with the certificate", where, "tls.crt")
	case len(credentials.CA) == 0 && len(credentials.Cert) == 0:
		return unavailable("%s has none of the keys %q, %q, %q, %q, %q, %q", where, "ca.crt", "tls.crt", "tls.key", "caFile", "certFile", "keyFile")
	}
	return nil
}
