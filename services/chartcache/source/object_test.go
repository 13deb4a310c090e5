package source

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/upstream"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func object(url string, change func(*v1alpha1.HelmRepositorySpec)) *v1alpha1.HelmRepository {
	r := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "charts", Generation: 3, UID: "u1"},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url},
	}
	if change != nil {
		change(&r.Spec)
	}
	return r
}

func TestAnObjectBecomesASpec(t *testing.T) {
	spec := Policy{}.Spec(object("oci://registry.example.com/charts", func(s *v1alpha1.HelmRepositorySpec) {
		s.Type, s.Interval, s.Timeout, s.Suspend, s.Insecure = v1alpha1.RepositoryTypeHelm, "1h", "90s", true, true
	}))
	assert.Equal(t, catalog.Spec{
		Ref: catalog.Ref{Namespace: "apps", Name: "charts"}, Generation: 3, URL: "oci://registry.example.com/charts",
		PlainHTTP: true, Interval: time.Hour, Timeout: 90 * time.Second, Suspend: true, CredentialsID: "u1",
	}, spec)
}

func TestDurationsAreClamped(t *testing.T) {
	for name, test := range map[string]struct {
		interval, timeout         v1alpha1.Duration
		wantInterval, wantTimeout time.Duration
	}{
		"none":             {"", "", 30 * time.Minute, 5 * time.Minute},
		"zero":             {"0s", "0s", 10 * time.Second, time.Second},
		"absurdly small":   {"1ms", "5ms", 10 * time.Second, time.Second},
		"sensible":         {"1h30m", "2.5m", 90 * time.Minute, 150 * time.Second},
		"as small as they": {"10s", "1s", 10 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Policy{}.Spec(object("https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) {
				s.Interval, s.Timeout = test.interval, test.timeout
			}))
			require.NoError(t, spec.Invalid)
			assert.Equal(t, test.wantInterval, spec.Interval)
			assert.Equal(t, test.wantTimeout, spec.Timeout)
		})
	}
}

func TestAnObjectThatCannotWorkSaysWhatToEdit(t *testing.T) {
	other := &v1alpha1.SecretReference{Namespace: "kube-system", Name: "s"}
	for name, test := range map[string]struct {
		url    string
		change func(*v1alpha1.HelmRepositorySpec)
		says   string
	}{
		"type oci with https":   {"https://registry.example.com", func(s *v1alpha1.HelmRepositorySpec) { s.Type = v1alpha1.RepositoryTypeOCI }, "oci://"},
		"no host":               {"https:///charts", nil, "spec.url has no host"},
		"a port and no host":    {"oci://:5000/charts", nil, "spec.url has no host"},
		"a password in the URL": {"https://user:hunter2@charts.example.com", nil, "spec.url must not hold a user name or password"},
		"a query":               {"https://charts.example.com/?token=hunter2", nil, "spec.url must not have a query"},
		"a bare question mark":  {"https://charts.example.com/?", nil, "spec.url must not have a query"},
		"a fragment":            {"https://charts.example.com/#hunter2", nil, "spec.url must not have a fragment"},
		"an escape that is not": {"https://charts.example.com/%zz", nil, "spec.url is not a URL"},
		"another scheme":        {"ftp://charts.example.com", nil, "spec.url must begin with"},
		"an interval that overflows": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) { s.Interval = "99999999999999h" }, "spec.interval",
		},
		"a timeout that overflows": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) { s.Timeout = "99999999999999h" }, "spec.timeout",
		},
		"a retention that overflows": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) { s.ValuesConfigMapRetention = "99999999999999h" },
			"spec.valuesConfigMapRetention",
		},
		"a Secret of another namespace": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) { s.Auth = &v1alpha1.RepositoryAuth{SecretRef: other} },
			"spec.auth.secretRef names a Secret of namespace kube-system",
		},
		"a basic Secret of another namespace": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) {
				s.Auth = &v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{SecretRef: other}}
			}, "spec.auth.basic.secretRef names a Secret of namespace kube-system",
		},
		"a TLS Secret of another namespace": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) {
				s.Auth = &v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: other}}
			}, "--allow-cross-namespace-secrets",
		},
		"basic without anything": {
			"https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) {
				s.Auth = &v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{}}
			}, "spec.auth.basic needs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Policy{}.Spec(object(test.url, test.change))
			require.Error(t, spec.Invalid)
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, cacheerr.ReasonOf(spec.Invalid))
			assert.Contains(t, spec.Invalid.Error(), test.says)
			assert.NotContains(t, spec.Invalid.Error(), "hunter2")
			assert.Equal(t, int64(3), spec.Generation)
		})
	}
}

func dockerConfigOf(host, user, password string) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return []byte(`{"auths":{"` + host + `":{"auth":"` + auth + `"}}}`)
}

func TestCredentialsOfObjects(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"ca.pem": "CA", "cert.pem": "CERT", "key.pem": "KEY"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	secrets := fakeSecrets{
		"apps/basic":   {"username": []byte("user"), "password": []byte("hunter2")},
		"shared/basic": {"username": []byte("other"), "password": []byte("hunter2")},
		"apps/docker":  {".dockerconfigjson": dockerConfigOf("registry.example.com", "robot", "hunter2")},
		"apps/json":    {"key.json": []byte(`{"type":"service_account","private_key":"hunter2"}`)},
		"apps/tls":     {"ca.crt": []byte("CA"), "tls.crt": []byte("CERT"), "tls.key": []byte("KEY")},
		"apps/helmtls": {"caFile": []byte("CA"), "certFile": []byte("CERT"), "keyFile": []byte("KEY")},
		"apps/ca":      {"ca.crt": []byte("CA")},
		"apps/nokey":   {"tls.crt": []byte("CERT")},
		"apps/nocert":  {"keyFile": []byte("KEY")},
		"apps/empty":   {},
		"apps/nopass":  {"username": []byte("user")},
		"apps/nouser":  {"username": []byte(""), "password": []byte("hunter2")},
		"apps/two":     {"a": []byte(`{"type":"service_account"}`), "b": []byte(`{"type":"service_account"}`)},
	}
	named := func(name string) *v1alpha1.SecretReference { return &v1alpha1.SecretReference{Name: name} }
	login := func(user, password string) upstream.Credentials {
		return upstream.Credentials{Username: user, Password: password}
	}
	tests := map[string]struct {
		auth v1alpha1.RepositoryAuth
		want upstream.Credentials
		says string
	}{
		"user name and password in a Secret": {auth: v1alpha1.RepositoryAuth{SecretRef: named("basic")}, want: login("user", "hunter2")},
		"a Docker configuration":             {auth: v1alpha1.RepositoryAuth{SecretRef: named("docker")}, want: login("robot", "hunter2")},
		"a service-account key": {
			auth: v1alpha1.RepositoryAuth{SecretRef: named("json")},
			want: login("_json_key", `{"type":"service_account","private_key":"hunter2"}`),
		},
		"basic in the object": {auth: v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{Username: "u", Password: "p"}}, want: login("u", "p")},
		"basic by a Secret":   {auth: v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{Username: "u", SecretRef: named("basic")}}, want: login("user", "hunter2")},
		"secretRef before basic": {
			auth: v1alpha1.RepositoryAuth{SecretRef: named("basic"), Basic: &v1alpha1.BasicAuth{Username: "u", Password: "p"}}, want: login("user", "hunter2"),
		},
		"a Secret of the object's own namespace, named": {
			auth: v1alpha1.RepositoryAuth{SecretRef: &v1alpha1.SecretReference{Name: "basic", Namespace: "apps"}}, want: login("user", "hunter2"),
		},
		"a Secret of another namespace, allowed": {
			auth: v1alpha1.RepositoryAuth{SecretRef: &v1alpha1.SecretReference{Name: "basic", Namespace: "shared"}}, want: login("other", "hunter2"),
		},
		"TLS by a Secret": {
			auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: named("tls")}},
			want: upstream.Credentials{CA: []byte("CA"), Cert: []byte("CERT"), Key: []byte("KEY")},
		},
		"TLS by a Secret with Helm's keys": {
			auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: named("helmtls"), CAFile: "/nowhere"}},
			want: upstream.Credentials{CA: []byte("CA"), Cert: []byte("CERT"), Key: []byte("KEY")},
		},
		"an authority only": {
			auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: named("ca"), InsecureSkipVerify: true}, PassCredentials: true},
			want: upstream.Credentials{CA: []byte("CA"), InsecureSkipVerify: true, PassCredentials: true},
		},
		"TLS by files": {
			auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{
				CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: "key.pem",
			}},
			want: upstream.Credentials{CA: []byte("CA"), Cert: []byte("CERT"), Key: []byte("KEY")},
		},
		"a Secret that does not exist":   {auth: v1alpha1.RepositoryAuth{SecretRef: named("gone")}, says: "Secret apps/gone (spec.auth.secretRef) does not exist"},
		"a Secret that may not be read":  {auth: v1alpha1.RepositoryAuth{SecretRef: named("forbidden")}, says: "Secret apps/forbidden (spec.auth.secretRef) cannot be read"},
		"a Secret without any login":     {auth: v1alpha1.RepositoryAuth{SecretRef: named("empty")}, says: `neither the key ".dockerconfigjson"`},
		"a Secret without a password":    {auth: v1alpha1.RepositoryAuth{SecretRef: named("nopass")}, says: `has no key "password"`},
		"a Secret with an empty name":    {auth: v1alpha1.RepositoryAuth{SecretRef: named("nouser")}, says: `the key "username" is empty`},
		"a basic Secret without a login": {auth: v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{SecretRef: named("docker")}}, says: `has no key "username"`},
		"two service-account keys":       {auth: v1alpha1.RepositoryAuth{SecretRef: named("two")}, says: "several JSON service-account keys (a, b)"},
		"a certificate without its key":  {auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: named("nokey")}}, says: `no key "tls.key"`},
		"a key without its certificate":  {auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: named("nocert")}}, says: `no key "tls.crt"`},
		"a TLS Secret without anything":  {auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: named("basic")}}, says: `none of the keys "ca.crt"`},
		"a file that does not exist": {
			auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{CAFile: filepath.Join(dir, "gone.pem")}}, says: "does not exist",
		},
	}
	policy := Policy{Secrets: secrets, Files: FilesBelow(dir), CrossNamespaceSecrets: true}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spec := policy.Spec(object("oci://registry.example.com/charts", func(s *v1alpha1.HelmRepositorySpec) { s.Auth = &test.auth }))
			require.NoError(t, spec.Invalid)
			got, err := spec.Credentials(context.Background())
			if test.says == "" {
				require.NoError(t, err)
				assert.Equal(t, test.want, got)
				return
			}
			require.Error(t, err)
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE, cacheerr.ReasonOf(err))
			assert.Contains(t, err.Error(), test.says)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.Equal(t, upstream.Credentials{}, got)
		})
	}
}

func TestARotatedSecretIsUsedAtTheNextRead(t *testing.T) {
	secrets := fakeSecrets{"apps/basic": {"username": []byte("user"), "password": []byte("old")}}
	spec := Policy{Secrets: secrets}.Spec(object("https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) {
		s.Auth = &v1alpha1.RepositoryAuth{SecretRef: &v1alpha1.SecretReference{Name: "basic"}}
	}))
	for _, password := range []string{"old", "new"} {
		secrets["apps/basic"]["password"] = []byte(password)
		got, err := spec.Credentials(context.Background())
		require.NoError(t, err)
		assert.Equal(t, password, got.Password)
	}
}

func TestFilesOutsideTheAllowedFolderAreRefused(t *testing.T) {
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	require.NoError(t, os.Mkdir(allowed, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("hunter2"), 0o600))
	require.NoError(t, os.Symlink("../secret", filepath.Join(allowed, "link")))
	require.NoError(t, os.WriteFile(filepath.Join(allowed, "data"), []byte("CA"), 0o600))
	require.NoError(t, os.Symlink("data", filepath.Join(allowed, "inside")))
	require.NoError(t, os.WriteFile(filepath.Join(allowed, "big"), make([]byte, maxCredentialFileBytes+1), 0o600))

	read := FilesBelow(allowed)
	got, err := read("f", filepath.Join(allowed, "inside"))
	require.NoError(t, err, "mounted Secrets are links")
	assert.Equal(t, "CA", string(got))

	for name, path := range map[string]string{
		"absolute": filepath.Join(dir, "secret"), "climbing": "../secret", "a link that leads out": "link",
		"a folder": ".", "too large": "big", "a device": "/dev/zero",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read("f", path)
			require.Error(t, err)
			assert.Nil(t, got)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err = FilesBelow("")("spec.auth.tls.caFile", "ca.pem")
	require.ErrorContains(t, err, "--allowed-file-dir")
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, cacheerr.ReasonOf(err))
}

func TestASecretOfAnotherNamespaceIsReadWhereAllowed(t *testing.T) {
	secrets := fakeSecrets{
		"apps/login": {"username": []byte("apps"), "password": []byte("p")}, "shared/login": {"username": []byte("shared"), "password": []byte("p")},
		"apps/tls": {"ca.crt": []byte("of apps")}, "shared/tls": {"ca.crt": []byte("of shared")},
	}
	shared := func(name string) *v1alpha1.SecretReference {
		return &v1alpha1.SecretReference{Namespace: "shared", Name: name}
	}
	for name, test := range map[string]struct {
		auth v1alpha1.RepositoryAuth
		want upstream.Credentials
	}{
		"secretRef":       {v1alpha1.RepositoryAuth{SecretRef: shared("login")}, upstream.Credentials{Username: "shared", Password: "p"}},
		"basic.secretRef": {v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{SecretRef: shared("login")}}, upstream.Credentials{Username: "shared", Password: "p"}},
		"tls.secretRef":   {v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: shared("tls")}}, upstream.Credentials{CA: []byte("of shared")}},
	} {
		t.Run(name, func(t *testing.T) {
			own := object("https://charts.example.com", func(s *v1alpha1.HelmRepositorySpec) { s.Auth = &test.auth })
			require.Error(t, Policy{Secrets: secrets}.Spec(own).Invalid, "not by default")
			spec := Policy{Secrets: secrets, CrossNamespaceSecrets: true}.Spec(own)
			require.NoError(t, spec.Invalid)
			got, err := spec.Credentials(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}
