package localstack

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"sigs.k8s.io/yaml"
)

func TestARegistryAsksForWhatItIsTold(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		config RegistryConfig
		want   map[string]any
	}{
		"nothing": {RegistryConfig{}, map[string]any{}},
		"a password": {
			RegistryConfig{Dir: dir, Users: map[string]string{"ann": "secret"}},
			map[string]any{"auth": map[string]any{"htpasswd": map[string]any{"realm": "test", "path": dir + "/htpasswd"}}},
		},
		"a token": {
			RegistryConfig{Tokens: &TokenService{Realm: "https://127.0.0.1:1/token", Name: "n", Issuer: "i", KeysFile: "k"}},
			map[string]any{"auth": map[string]any{"token": map[string]any{
				"realm": "https://127.0.0.1:1/token", "service": "n", "issuer": "i", "jwks": "k",
			}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := test.config.auth()
			require.NoError(t, err)
			got := map[string]any{}
			require.NoError(t, yaml.Unmarshal([]byte(text), &got))
			assert.Equal(t, test.want, got)
		})
	}
}

func TestThePasswordFileOfARegistryHoldsHashesOnly(t *testing.T) {
	config := RegistryConfig{Dir: t.TempDir()}
	for _, password := range []string{"old", "new"} {
		file, err := config.Accounts(map[string]string{"ann": password})
		require.NoError(t, err)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		hash, ok := strings.CutPrefix(strings.TrimSuffix(string(content), "\n"), "ann:")
		require.True(t, ok)
		assert.NoError(t, bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)))
	}
}
