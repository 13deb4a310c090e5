package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const repositoriesFile = `apiVersion: ""
generated: "0001-01-01T00:00:00Z"
repositories:
- name: public
  url: https://charts.example.com
  caFile: ""
  certFile: ""
  keyFile: ""
  insecure_skip_tls_verify: false
  pass_credentials_all: false
  username: ""
  password: ""
- name: private
  url: https://private.example.com/charts
  username: user
  password: hunter2
  insecure_skip_tls_verify: true
  pass_credentials_all: true
`

// runFile runs a source of a file until the test ends; poll makes it look at the file again.
func runFile(t *testing.T, path string, c Catalog, log zerolog.Logger) (poll func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ticks, listed, ended := make(chan time.Time), make(chan struct{}), make(chan error, 1)
	file := File{Path: path, Catalog: c, Poll: ticks, Logger: log}
	go func() { ended <- file.Run(ctx, func() { close(listed) }) }()
	select {
	case <-listed:
	case err := <-ended:
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return func() {
		ticks <- time.Time{}
		ticks <- time.Time{} // the second is taken when the first has been dealt with
	}
}

func TestRepositoriesOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "repositories.yaml")
	require.NoError(t, os.WriteFile(path, []byte(repositoriesFile), 0o600))
	c := newFakeCatalog()
	poll := runFile(t, path, c, zerolog.Nop())

	public, ok := c.get("default", "public")
	require.True(t, ok)
	assert.Equal(t, "https://charts.example.com", public.URL)
	assert.Equal(t, 30*time.Minute, public.Interval)
	assert.Equal(t, 5*time.Minute, public.Timeout)
	private, ok := c.get("default", "private")
	require.True(t, ok)
	credentials, err := private.Credentials(t.Context())
	require.NoError(t, err)
	assert.Equal(t, upstream.Credentials{Username: "user", Password: "hunter2", InsecureSkipVerify: true, PassCredentials: true}, credentials)

	poll()
	_, puts := c.count()
	assert.Equal(t, 2, puts, "an unchanged file changes nothing")

	// A new password, one repository less, one more.
	changed := strings.ReplaceAll(repositoriesFile, "hunter2", "hunter3")
	changed = strings.ReplaceAll(changed, "name: public", "name: other")
	require.NoError(t, os.WriteFile(path, []byte(changed), 0o600))
	poll()
	again, ok := c.get("default", "private")
	require.True(t, ok)
	assert.NotEqual(t, private.CredentialsID, again.CredentialsID, "a new password must sync at once")
	assert.NotContains(t, again.CredentialsID, "hunter3")
	_, ok = c.get("default", "public")
	assert.False(t, ok)
	_, ok = c.get("default", "other")
	assert.True(t, ok)
}

func TestAFileThatBreaksKeepsWhatWasRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "repositories.yaml")
	require.NoError(t, os.WriteFile(path, []byte(repositoriesFile), 0o600))
	c, logs := newFakeCatalog(), &logBuffer{}
	poll := runFile(t, path, c, zerolog.New(logs))

	require.NoError(t, os.WriteFile(path, []byte("repositories: [{name: private, password: hunter2"), 0o600))
	poll()
	poll()
	specs, _ := c.count()
	assert.Equal(t, 2, specs)
	assert.Equal(t, 1, strings.Count(logs.String(), "cannot be used"), "one line, not one for each poll")
	assert.NotContains(t, logs.String(), "hunter2")

	require.NoError(t, os.Remove(path))
	poll()
	specs, _ = c.count()
	assert.Equal(t, 2, specs)

	require.NoError(t, os.WriteFile(path, []byte("repositories: []"), 0o600))
	poll()
	specs, _ = c.count()
	assert.Zero(t, specs)
}

func TestAWrongFileAtTheStartIsAnError(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"not YAML":         "{",
		"another document": "- a\n- b",
		"no name":          "repositories: [{url: https://charts.example.com}]",
		"a null entry":     "repositories: [null]",
		"a slash":          "repositories: [{name: a/b, url: https://charts.example.com}]",
		"a name twice":     "repositories: [{name: a, url: https://x.example.com}, {name: a, url: https://y.example.com}]",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "repositories.yaml")
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
			err := File{Path: path, Catalog: newFakeCatalog(), Logger: zerolog.Nop()}.Run(t.Context(), func() { t.Error("it was listed") })
			require.Error(t, err)
			assert.Contains(t, err.Error(), path)
		})
	}
	err := File{Path: filepath.Join(dir, "gone.yaml"), Catalog: newFakeCatalog()}.Run(t.Context(), func() { t.Error("it was listed") })
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAWrongURLIsTheErrorOfItsRepositoryOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "repositories.yaml")
	require.NoError(t, os.WriteFile(path, []byte("repositories: [{name: bad, url: 'https://u:hunter2@h'}, {name: good, url: 'https://h'}]"), 0o600))
	c := newFakeCatalog()
	runFile(t, path, c, zerolog.Nop())
	bad, _ := c.get("default", "bad")
	require.Error(t, bad.Invalid)
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, cacheerr.ReasonOf(bad.Invalid))
	assert.NotContains(t, bad.Invalid.Error(), "hunter2")
	good, _ := c.get("default", "good")
	assert.NoError(t, good.Invalid)
}

func TestCertificateFilesOfAFileAreReadAtEachSync(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, []byte("CA"), 0o600))
	e := entry{Name: "a", CAFile: ca}
	got, err := e.credentials(AnyFile)
	require.NoError(t, err)
	assert.Equal(t, []byte("CA"), got.CA)

	require.NoError(t, os.Remove(ca))
	_, err = e.credentials(AnyFile)
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CREDENTIALS_UNAVAILABLE, cacheerr.ReasonOf(err))

	_, err = entry{Name: "a", CertFile: ca}.credentials(AnyFile)
	require.ErrorContains(t, err, "keyFile of repository a is not")
}

func FuzzParseRepositories(f *testing.F) {
	f.Add([]byte(repositoriesFile))
	f.Add([]byte("repositories: [{name: a}, {name: a}]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		entries, err := parseRepositories(content)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, e := range entries {
			assert.NotEmpty(t, e.Name)
			assert.False(t, seen[e.Name])
			seen[e.Name] = true
		}
	})
}
