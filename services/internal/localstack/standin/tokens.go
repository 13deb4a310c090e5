package standin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// lifetime of a token, as long as that of public registries.
const lifetime = 5 * time.Minute

// Tokens is the token service of a registry, as the distribution specification of Docker describes it: GET with a service and
// scopes, and a name and password by basic authentication.
type Tokens struct {
	// Name is the audience and issuer of the tokens.
	Name string

	accounts *Accounts
	public   bool
	now      func() time.Time
	keyID    string
	key      *ecdsa.PrivateKey
}

// NewTokens returns a service for the accounts. When it is public, whoever gives no name may pull, but not look at the catalogue.
func NewTokens(name string, accounts *Accounts, public bool, now func() time.Time) (*Tokens, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the token service %s: %w", name, err)
	}
	return &Tokens{Name: name, accounts: accounts, public: public, now: now, keyID: name, key: key}, nil
}

// Keys returns the public keys of the signatures, as a JSON Web Key Set.
func (t *Tokens) Keys() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: t.key.Public(), KeyID: t.keyID, Algorithm: string(jose.ES256), Use: "sig"},
	}})
}

// access is what a token allows on one resource.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// ServeHTTP gives a token for what is asked and allowed, which may be nothing.
func (t *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, ok := t.accounts.admits(r)
	_, _, named := r.BasicAuth()
	if !ok && (named || !t.public) {
		refuse(w)
		return
	}
	if service := r.URL.Query().Get("service"); service != t.Name {
		http.Error(w, "unknown service", http.StatusBadRequest)
		return
	}
	token, err := t.sign(user, allowed(scopes(r), !named))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(lifetime.Seconds())})
}

// scopes reads what is asked for: type:name:action,action; several in one parameter or in several.
func scopes(r *http.Request) []access {
	var asked []access
	for _, parameter := range r.URL.Query()["scope"] {
		for scope := range strings.FieldsSeq(parameter) {
			first, last := strings.Index(scope, ":"), strings.LastIndex(scope, ":")
			if first < last {
				asked = append(asked, access{Type: scope[:first], Name: scope[first+1 : last], Actions: strings.Split(scope[last+1:], ",")})
			}
		}
	}
	return asked
}

// allowed leaves what somebody without a name may do.
func allowed(asked []access, anonymous bool) []access {
	granted := []access{}
	for _, a := range asked {
		if anonymous {
			if a.Type != "repository" || !slices.Contains(a.Actions, "pull") {
				continue
			}
			a.Actions = []string{"pull"}
		}
		granted = append(granted, a)
	}
	return granted
}

func (t *Tokens) sign(subject string, granted []access) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: t.key, KeyID: t.keyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := t.now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: t.Name, Subject: subject, Audience: jwt.Audience{t.Name},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)), Expiry: jwt.NewNumericDate(now.Add(lifetime)),
	}).Claims(map[string]any{"access": granted}).Serialize()
}
