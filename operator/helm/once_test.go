package helm

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnceAnswersRepeatedReadsUntilSomethingIsWritten(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(r.URL.Path)) // a test that misses it fails below
	}))
	defer server.Close()
	o := &once{}
	client := &http.Client{Transport: o.wrap(http.DefaultTransport)}
	do := func(method, path string) {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, path, string(body))
	}
	took := func(want ...string) {
		t.Helper()
		assert.Equal(t, want, asked)
		asked = nil
	}

	do("GET", "/a")
	do("GET", "/a")
	took("GET /a", "GET /a") // it is off

	o.turn(true)
	do("GET", "/a")
	do("GET", "/a")
	do("GET", "/b")
	took("GET /a", "GET /b")
	do("GET", "/missing")
	do("GET", "/missing")
	took("GET /missing", "GET /missing") // what is not there may come
	do("PATCH", "/a")
	do("GET", "/a")
	do("GET", "/b")
	took("PATCH /a", "GET /a")

	o.turn(false)
	do("GET", "/b")
	took("GET /b")
}
