package source

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	fcache "k8s.io/client-go/tools/cache/testing"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func waitFor(t *testing.T, c *fakeCatalog, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-c.changes:
		case <-timeout:
			require.FailNow(t, "it did not happen", what)
		}
	}
}

func clusterObject(name, url string, generation int64) *v1alpha1.HelmRepository {
	return &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, UID: types.UID("uid-of-" + name), Generation: generation},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url},
	}
}

func TestObjectsOfAClusterBecomeRepositories(t *testing.T) {
	objects := fcache.NewFakeControllerSource()
	objects.Add(clusterObject("one", "https://one.example.com", 1))
	objects.Add(clusterObject("two", "https://two.example.com", 1))
	c := newFakeCatalog()
	ctx, cancel := context.WithCancel(t.Context())
	listed, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- Cluster{Objects: objects, Catalog: c, Logger: zerolog.Nop()}.Run(ctx, func() {
			specs, _ := c.count()
			assert.Equal(t, 2, specs, "listed means that the catalog has all of them")
			close(listed)
		})
	}()
	<-listed

	objects.Add(clusterObject("three", "https://three.example.com", 1))
	waitFor(t, c, "three is added", func() bool { _, ok := c.get("apps", "three"); return ok })

	_, before := c.count()
	annotated := clusterObject("one", "https://one.example.com", 1)
	annotated.Labels = map[string]string{"a": "b"}
	objects.Modify(annotated) // no new generation: nothing for the catalog
	objects.Modify(clusterObject("two", "https://moved.example.com", 2))
	waitFor(t, c, "two has moved", func() bool { s, _ := c.get("apps", "two"); return s.URL == "https://moved.example.com" })
	_, after := c.count()
	assert.Equal(t, before+1, after)

	objects.Delete(clusterObject("one", "https://one.example.com", 1))
	waitFor(t, c, "one is gone", func() bool { _, ok := c.get("apps", "one"); return !ok })

	cancel()
	require.NoError(t, <-ended)
}

func TestSecretsAreReadOneByOne(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.Method + " " + r.URL.Path {
		case "GET /api/v1/namespaces/apps/secrets/basic":
			_, _ = w.Write([]byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"basic","namespace":"apps"},"data":{"username":"dXNlcg=="}}`))
		case "GET /api/v1/namespaces/apps/secrets/forbidden":
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
		}
	}))
	defer server.Close()
	secrets, err := NewClusterSecrets(&rest.Config{Host: server.URL})
	require.NoError(t, err)

	got, found, err := secrets.Secret(t.Context(), "apps", "basic")
	require.NoError(t, err)
	require.True(t, found)
	assert.Equal(t, map[string][]byte{"username": []byte("user")}, got.Data)

	_, found, err = secrets.Secret(t.Context(), "apps", "gone")
	require.NoError(t, err)
	assert.False(t, found)

	_, _, err = secrets.Secret(t.Context(), "apps", "forbidden")
	assert.ErrorContains(t, err, "get Secret apps/forbidden")
}

func TestAnAPIServerThatIsAwayIsOneLineAndItsReturnAnother(t *testing.T) {
	var away atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if away.Load() {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))
			return
		}
		assert.Equal(t, "/apis/helm-operator.ketches.cn/v1alpha1/helmrepositories", r.URL.Path)
		_, _ = w.Write([]byte(`{"kind":"HelmRepositoryList","apiVersion":"helm-operator.ketches.cn/v1alpha1","items":[{"metadata":{"name":"one"}}]}`))
	}))
	defer server.Close()
	logs := &logBuffer{}
	objects, err := ListWatch(&rest.Config{Host: server.URL}, zerolog.New(logs))
	require.NoError(t, err)
	list := func() (runtime.Object, error) {
		return cache.ToListerWatcherWithContext(objects).ListWithContext(t.Context(), metav1.ListOptions{})
	}
	for range 2 {
		got, err := list()
		require.NoError(t, err)
		require.IsType(t, &v1alpha1.HelmRepositoryList{}, got)
	}
	assert.Empty(t, logs.String())
	away.Store(true)
	for range 3 {
		_, err := list()
		require.Error(t, err)
	}
	assert.Equal(t, 1, strings.Count(logs.String(), "\n"), logs.String())
	away.Store(false)
	_, err = list()
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(logs.String(), "\n"), logs.String())
	assert.Contains(t, logs.String(), "answers again")
}
