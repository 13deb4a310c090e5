package charts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// pack makes an archive of files, in order of name and content pairs.
func pack(t testing.TB, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := archive.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	return out.Bytes()
}

func chart(t testing.TB, name, version string) []byte {
	return pack(t, name+"/Chart.yaml", "apiVersion: v2\nname: "+name+"\nversion: "+version+"\n")
}

func TestParseArchive(t *testing.T) {
	for name, test := range map[string]struct {
		data    []byte
		version string
	}{
		"a chart": {data: chart(t, "web", "1.0.0"), version: "1.0.0"},
		"the chart's own file, not a dependency's": {data: pack(t, "web/charts/db/Chart.yaml", "name: db\nversion: 9.0.0", "web/Chart.yaml", "name: web\nversion: 2.0.0"), version: "2.0.0"},
		"no gzip":                        {data: []byte("hello")},
		"no Chart.yaml":                  {data: pack(t, "web/values.yaml", "a: 1")},
		"broken Chart.yaml":              {data: pack(t, "web/Chart.yaml", "a: [")},
		"no version":                     {data: pack(t, "web/Chart.yaml", "name: web")},
		"a Chart.yaml that is too large": {data: pack(t, "web/Chart.yaml", string(bytes.Repeat([]byte("#\n"), maxChartYAML)))},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := parseArchive(bytes.NewReader(test.data))
			if test.version == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.version, e["version"])
		})
	}
}

func FuzzParseArchive(f *testing.F) {
	f.Add(chart(f, "web", "1.0.0"))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseArchive(bytes.NewReader(data))
		if err == nil && (e["name"] == nil || e["version"] == nil) {
			t.Error("a chart without name or version was accepted")
		}
	})
}

func listen(t *testing.T, dir, user, password string) *Server {
	t.Helper()
	s, err := Listen(t.Context(), dir, user, password)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func get(t *testing.T, url string, change func(*http.Request)) (int, http.Header, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if change != nil {
		change(request)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, body
}

func TestTheIndexFollowsTheFolder(t *testing.T) {
	dir := t.TempDir()
	s := listen(t, dir, "", "")
	versions := func() []string {
		code, _, body := get(t, s.URL+"/index.yaml", nil)
		require.Equal(t, http.StatusOK, code, string(body))
		var i index
		require.NoError(t, yaml.Unmarshal(body, &i))
		assert.Equal(t, "v1", i.APIVersion)
		var found []string
		for _, e := range i.Entries["web"] {
			found = append(found, fmt.Sprint(e["version"]))
			assert.Len(t, e["digest"], 64)
		}
		return found
	}
	assert.Empty(t, versions())

	put := func(version string, day int) {
		path := filepath.Join(dir, "web-"+version+".tgz")
		require.NoError(t, os.WriteFile(path, chart(t, "web", version), 0o600))
		changed := time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
		require.NoError(t, os.Chtimes(path, changed, changed))
	}
	put("1.0.0", 1)
	assert.Equal(t, []string{"1.0.0"}, versions())
	put("1.1.0", 2)
	assert.Equal(t, []string{"1.1.0", "1.0.0"}, versions(), "newest first")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web-2.0.0.tgz.part"), []byte("half"), 0o600))
	assert.Equal(t, []string{"1.1.0", "1.0.0"}, versions(), "half written archives are not listed")
	require.NoError(t, os.Remove(filepath.Join(dir, "web-1.0.0.tgz")))
	assert.Equal(t, []string{"1.1.0"}, versions())

	code, _, body := get(t, s.URL+"/web-1.1.0.tgz", nil)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, chart(t, "web", "1.1.0"), body)
}

func TestAnUnchangedIndexIsNotSentAgain(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web.tgz"), chart(t, "web", "1.0.0"), 0o600))
	s := listen(t, dir, "", "")
	_, header, _ := get(t, s.URL+"/index.yaml", nil)
	require.NotEmpty(t, header.Get("ETag"))
	again := func(r *http.Request) { r.Header.Set("If-None-Match", header.Get("ETag")) }
	code, _, _ := get(t, s.URL+"/index.yaml", again)
	assert.Equal(t, http.StatusNotModified, code)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web2.tgz"), chart(t, "web", "2.0.0"), 0o600))
	code, _, _ = get(t, s.URL+"/index.yaml", again)
	assert.Equal(t, http.StatusOK, code)
}

func TestFoldersAreRepositoriesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "team"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "team", "web.tgz"), chart(t, "web", "1.0.0"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "broken"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken", "index.yaml"), []byte("no index"), 0o600))
	s := listen(t, dir, "", "")
	_, _, body := get(t, s.URL+"/team/index.yaml", nil)
	assert.Contains(t, string(body), "name: web")
	_, _, body = get(t, s.URL+"/index.yaml", nil)
	assert.NotContains(t, string(body), "name: web")
	_, _, body = get(t, s.URL+"/broken/index.yaml", nil)
	assert.Equal(t, "no index", string(body), "an index that is there is served as it is")
	for _, path := range []string{"/none/index.yaml", "/none.tgz", "/team", "/../../../etc/passwd"} {
		code, _, _ := get(t, s.URL+path, nil)
		assert.Equal(t, http.StatusNotFound, code, path)
	}
}

func TestUserAndPasswordAreAskedFor(t *testing.T) {
	s := listen(t, t.TempDir(), "user", "secret")
	for name, test := range map[string]struct {
		user, password string
		want           int
	}{
		"none":           {want: http.StatusUnauthorized},
		"right":          {"user", "secret", http.StatusOK},
		"wrong password": {"user", "x", http.StatusUnauthorized},
		"wrong user":     {"x", "secret", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, _ := get(t, s.URL+"/index.yaml", func(r *http.Request) {
				if test.user != "" {
					r.SetBasicAuth(test.user, test.password)
				}
			})
			assert.Equal(t, test.want, code)
		})
	}
}

func TestABrokenArchiveIsNamed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web.tgz"), []byte("x"), 0o600))
	code, _, body := get(t, listen(t, dir, "", "").URL+"/index.yaml", nil)
	assert.Equal(t, http.StatusInternalServerError, code)
	assert.Contains(t, string(body), "web.tgz")
}
