package standin_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/services/internal/localstack/standin"
)

func TestAGuardLetsThroughWhoHasThePasswordOfNow(t *testing.T) {
	accounts := standin.NewAccounts(map[string]string{"ann": "old"})
	guard := accounts.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func(user, password string) int {
		request := httptest.NewRequest(http.MethodGet, "/index.yaml", http.NoBody)
		if user != "" {
			request.SetBasicAuth(user, password)
		}
		answer := httptest.NewRecorder()
		guard.ServeHTTP(answer, request)
		return answer.Code
	}
	assert.Equal(t, http.StatusNoContent, ask("ann", "old"))
	assert.Equal(t, http.StatusUnauthorized, ask("ann", "wrong"))
	assert.Equal(t, http.StatusUnauthorized, ask("bob", ""))
	assert.Equal(t, http.StatusUnauthorized, ask("", ""))

	accounts.Change("ann", "new")
	assert.Equal(t, http.StatusUnauthorized, ask("ann", "old"))
	assert.Equal(t, http.StatusNoContent, ask("ann", "new"))
}

func TestTokensAllowWhatIsAskedToThoseWithANameAndPullsToOthers(t *testing.T) {
	now := time.Now()
	accounts := standin.NewAccounts(map[string]string{"ann": "secret"})
	const pull, push, catalog = "repository:charts/web:pull", "repository:charts/web:pull,push", "registry:catalog:*"
	for name, test := range map[string]struct {
		public         bool
		user, password string
		scopes         []string
		status         int
		actions        [][]string // by scope that is granted
	}{
		"somebody": {
			user: "ann", password: "secret", scopes: []string{push, catalog}, status: 200, actions: [][]string{{"pull", "push"}, {"*"}},
		},
		"a wrong password":     {public: true, user: "ann", password: "wrong", scopes: []string{pull}, status: 401},
		"nobody":               {scopes: []string{pull}, status: 401},
		"nobody, but public":   {public: true, scopes: []string{push + " " + catalog}, status: 200, actions: [][]string{{"pull"}}},
		"nobody, for no scope": {public: true, status: 200, actions: [][]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			tokens, err := standin.NewTokens("registry", accounts, test.public, func() time.Time { return now })
			require.NoError(t, err)
			request := httptest.NewRequest(http.MethodGet, "/token?service=registry", http.NoBody)
			query := request.URL.Query()
			query["scope"] = test.scopes
			request.URL.RawQuery = query.Encode()
			if test.user != "" {
				request.SetBasicAuth(test.user, test.password)
			}
			answer := httptest.NewRecorder()
			tokens.ServeHTTP(answer, request)
			require.Equal(t, test.status, answer.Code)
			if test.status != http.StatusOK {
				return
			}
			claims := verified(t, tokens, answer.Body.Bytes())
			assert.Equal(t, test.user, claims.Subject)
			actions := [][]string{}
			for _, a := range claims.Access {
				actions = append(actions, a.Actions)
			}
			assert.Equal(t, test.actions, actions)
		})
	}
}

type claims struct {
	jwt.Claims
	Access []struct {
		Actions []string `json:"actions"`
	} `json:"access"`
}

// verified checks a token with the published keys.
func verified(t *testing.T, tokens *standin.Tokens, body []byte) claims {
	t.Helper()
	var answer struct {
		Token string `json:"token"`
	}
	require.NoError(t, json.Unmarshal(body, &answer))
	published, err := tokens.Keys()
	require.NoError(t, err)
	var keys jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(published, &keys))
	token, err := jwt.ParseSigned(answer.Token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	var c claims
	require.NoError(t, token.Claims(keys.Keys[0].Key, &c))
	require.NoError(t, c.Validate(jwt.Expected{Issuer: "registry", AnyAudience: jwt.Audience{"registry"}, Time: time.Now()}))
	return c
}
