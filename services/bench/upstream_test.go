package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func TestUpstreamServesIndexesCompressedAndWithEntityTags(t *testing.T) {
	u, err := newBench(t).startUpstream(t.Context(), 2)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, u.stop()) })
	get := func(path, etag, encoding string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.url+path, http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Accept-Encoding", encoding)
		if etag != "" {
			request.Header.Set("If-None-Match", etag)
		}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, response.Body.Close()) })
		return response
	}

	tags := map[string]bool{}
	for number := range 2 {
		response := get(repositoryPath(number)+"/index.yaml", "", "gzip")
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "gzip", response.Header.Get("Content-Encoding"))
		plain, err := gzip.NewReader(response.Body)
		require.NoError(t, err)
		content, err := io.ReadAll(plain)
		require.NoError(t, err)
		var index struct{ Entries map[string]any }
		require.NoError(t, yaml.Unmarshal(content, &index))
		assert.Len(t, index.Entries, 4)
		assert.Contains(t, index.Entries, ownChart(number))
		tags[response.Header.Get("ETag")] = true
		assert.Equal(t, http.StatusNotModified, get(repositoryPath(number)+"/index.yaml", response.Header.Get("ETag"), "gzip").StatusCode)
	}
	assert.Len(t, tags, 2)
	assert.Equal(t, http.StatusOK, get(repositoryPath(1)+"/index.yaml", `"another"`, "gzip").StatusCode)
	assert.Equal(t, http.StatusNotFound, get("/elsewhere", "", "gzip").StatusCode)
	assert.Equal(t, http.StatusNotFound, get(repositoryPath(1)+"/index.yaml", "", "identity").StatusCode, "only the cheap way is measured")
	assert.Equal(t, answers{full: 3, unchanged: 2, other: 2}, u.asked())
	assert.Equal(t, answers{}, u.asked())
}

func TestARepositoriesFileNamesEachRepository(t *testing.T) {
	var file struct {
		Repositories []struct{ Name, URL string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(repositoriesFile("http://127.0.0.1:1", 2)), &file))
	require.Len(t, file.Repositories, 2)
	assert.Equal(t, "charts-001", file.Repositories[1].Name)
	assert.Equal(t, "http://127.0.0.1:1/charts-001", file.Repositories[1].URL)
}
