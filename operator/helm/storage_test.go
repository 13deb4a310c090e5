package helm

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// A dot is in names and, as a pattern, any character.
func TestANameOfAReleaseIsNoPattern(t *testing.T) {
	f := newFixture(t)
	names := []string{"a.b", "axb", "a.b.c", "xa.b"}
	for _, name := range names {
		f.install(name, "1", simpleChart(t, "1.0.0"), map[string]any{"text": name})
	}
	for _, name := range names {
		assert.Equal(t, name, f.last(name).Values["text"])
		history, err := f.helm.History(t.Context(), f.namespace, name)
		require.NoError(t, err)
		assert.Len(t, history, 1, name)
	}
	found, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("a.b", "2"), Timeout: time.Minute})
	require.NoError(t, err)
	assert.True(t, found)
	assert.Nil(t, f.data("a.b-config"))
	for _, name := range names[1:] {
		assert.Equal(t, StatusDeployed, f.last(name).Status)
		assert.Equal(t, name, f.data(name + "-config")["text"])
	}
}

// failure is how the API server says what went wrong.
func failure(reason string, code int, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":%q}`, reason, code, message)
}

// What stands between us and the API server has words of its own for what it cannot do.
func TestAnErrorOfTheAPIServerIsNotTakenForTheAbsenceOfARelease(t *testing.T) {
	for name, answer := range map[string]struct {
		code int
		body string
	}{
		"a proxy that knows no such path": {http.StatusNotFound, "404 page not found"},
		"no such resource":                {http.StatusNotFound, failure("NotFound", 404, "the server could not find the requested resource")},
		"a fault that says not found":     {http.StatusInternalServerError, failure("InternalError", 500, "release: not found")},
		"no right":                        {http.StatusForbidden, failure("Forbidden", 403, "secrets is forbidden: role not found")},
		"something else than JSON":        {http.StatusOK, "<html>not found</html>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var written []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					mu.Lock()
					defer mu.Unlock()
					written = append(written, r.Method+" "+r.URL.Path)
				}
				if strings.HasPrefix(answer.body, "{") {
					w.Header().Set("Content-Type", "application/json")
				}
				w.WriteHeader(answer.code)
				_, _ = w.Write([]byte(answer.body)) // a test that misses it fails below
			}))
			t.Cleanup(server.Close)
			client, err := New(Config{REST: &rest.Config{Host: server.URL}})
			require.NoError(t, err)

			_, found, err := client.Last(t.Context(), "shop", "web")
			require.Error(t, err)
			assert.NotErrorIs(t, err, ErrNotFound)
			assert.False(t, found)
			_, err = client.Install(t.Context(), InstallOptions{
				Target: Target{Namespace: "shop", Name: "web"}, ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")},
			})
			require.Error(t, err)
			assert.Empty(t, written, "nothing is installed")
		})
	}
}

// requests counts requests by their method and, of the path, what tells one kind of question from another.
type requests struct {
	mu   sync.Mutex
	seen map[string]int
}

func (q *requests) RoundTrip(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		kind := "objects"
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/secrets") && strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList"):
			kind = "metadata of records"
		case strings.HasSuffix(path, "/secrets"):
			kind = "records"
		case strings.Contains(path, "/secrets/"):
			kind = "one record"
		case !strings.Contains(path, "/namespaces/"):
			kind = "discovery"
		}
		q.mu.Lock()
		q.seen[r.Method+" "+kind]++
		q.mu.Unlock()
		return next.RoundTrip(r)
	})
}

// take returns the counts since the last time.
func (q *requests) take() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	seen := q.seen
	q.seen = map[string]int{}
	return seen
}

func TestALookReadsTheLabelsOfAllRevisionsAndTheContentOfOne(t *testing.T) {
	asked := &requests{seen: map[string]int{}}
	now := time.Now()
	f := newFixtureWith(t, func(c *Config) {
		c.REST.Wrap(asked.RoundTrip)
		c.Now = func() time.Time { return now } // what the cluster can do is believed for a while
	})
	chart := simpleChart(t, "1.0.0")
	f.install("web", "1", chart, nil)
	for _, text := range []string{"a", "b", "c", "d"} {
		f.upgrade("web", text, chart, map[string]any{"text": text})
	}
	asked.take()

	assert.Equal(t, 5, f.last("web").Revision)
	assert.Equal(t, map[string]int{"GET metadata of records": 1, "GET one record": 1}, asked.take())

	f.upgrade("web", "e", chart, map[string]any{"text": "e"})
	upgrade := asked.take()
	assert.Zero(t, upgrade["GET discovery"], "%v", upgrade)
	assert.Zero(t, upgrade["GET records"], "%v", upgrade)
	// The newest one and the one that is deployed are the same here.
	assert.LessOrEqual(t, upgrade["GET one record"], 2, "%v", upgrade)
}
