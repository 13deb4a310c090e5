package source

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestDockerLogin(t *testing.T) {
	const plain = `{"username":"u","password":"p"}`
	tests := map[string]struct {
		config, url string
		want        login
		says        string
	}{
		"by host":                      {`{"auths":{"r.example.com":` + plain + `}}`, "oci://r.example.com/team/charts", login{"u", "p"}, ""},
		"by host and port":             {`{"auths":{"r.example.com:5000":` + plain + `}}`, "oci://r.example.com:5000/team", login{"u", "p"}, ""},
		"by a URL":                     {`{"auths":{"https://r.example.com/v2/":` + plain + `}}`, "oci://r.example.com/v2/x", login{"u", "p"}, ""},
		"the default port is no port":  {`{"auths":{"r.example.com:443":` + plain + `}}`, "https://r.example.com/charts", login{"u", "p"}, ""},
		"the case of hosts is ignored": {`{"auths":{"R.Example.com":` + plain + `}}`, "oci://r.example.COM/x", login{"u", "p"}, ""},
		"the longest path wins": {
			`{"auths":{"r.example.com":{"username":"no","password":"no"},"r.example.com/team":` + plain + `,"r.example.com/tea":{"username":"no","password":"no"}}}`,
			"oci://r.example.com/team/charts", login{"u", "p"}, "",
		},
		"a wildcard":                {`{"auths":{"*.example.com":` + plain + `}}`, "oci://r.example.com/x", login{"u", "p"}, ""},
		"exact before the wildcard": {`{"auths":{"*.example.com":{"username":"no","password":"no"},"r.example.com":` + plain + `}}`, "oci://r.example.com/x", login{"u", "p"}, ""},
		"a wildcard is one label":   {`{"auths":{"*.com":` + plain + `}}`, "oci://r.example.com/x", login{}, "no entry for the host r.example.com"},
		"Docker Hub's odd name":     {`{"auths":{"https://index.docker.io/v1/":` + plain + `}}`, "oci://registry-1.docker.io/bitnamicharts", login{"u", "p"}, ""},
		"auth":                      {`{"auths":{"r.example.com":{"auth":"dTpwOnE="}}}`, "oci://r.example.com", login{"u", "p:q"}, ""},
		"auth without padding":      {`{"auths":{"r.example.com":{"auth":"dTpwOnE"}}}`, "oci://r.example.com", login{"u", "p:q"}, ""},
		"another path":              {`{"auths":{"r.example.com/other":` + plain + `}}`, "oci://r.example.com/team", login{}, "no entry for the host"},
		"another port":              {`{"auths":{"r.example.com:5000":` + plain + `}}`, "oci://r.example.com/team", login{}, "no entry for the host"},
		"no entries":                {`{}`, "oci://r.example.com/team", login{}, "no entry for the host"},
		"not JSON":                  {`hunter2`, "oci://r.example.com/team", login{}, "not a Docker configuration"},
		"garbage in auth":           {`{"auths":{"r.example.com":{"auth":"hunter2!"}}}`, "oci://r.example.com", login{}, `nor a valid "auth"`},
		"an identity token":         {`{"auths":{"r.example.com":{"identitytoken":"hunter2"}}}`, "oci://r.example.com", login{}, "identity token only"},
		"an empty entry":            {`{"auths":{"r.example.com":{}}}`, "oci://r.example.com", login{}, "neither a user name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := dockerLogin("Secret apps/docker", []byte(test.config), test.url)
			if test.says == "" {
				require.NoError(t, err)
				assert.Equal(t, test.want, got)
				return
			}
			require.ErrorContains(t, err, test.says)
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE, cacheerr.ReasonOf(err))
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func FuzzDockerLogin(f *testing.F) {
	f.Add([]byte(`{"auths":{"r.example.com":{"auth":"dTpw"}}}`), "oci://r.example.com")
	f.Add([]byte(`{"auths":{"*.[":{"username":"u"}}}`), "oci://a.b")
	f.Fuzz(func(t *testing.T, config []byte, url string) {
		got, err := dockerLogin("Secret apps/docker", config, url)
		if err == nil {
			assert.NotEmpty(t, got.username)
		}
	})
}
