package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/services/internal/logging"
)

// Whoever reads one Secret by a client with a cache, as is usual, keeps all Secrets of the cluster in memory from then on.
func TestReadingOneSecretOrConfigMapKeepsNoneInMemory(t *testing.T) {
	discovery, err := url.Parse(discoveryServer(t))
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(discovery)
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, found := map[string]string{
			"/api/v1/namespaces/shop/secrets/login": "Secret", "/api/v1/namespaces/shop/configmaps/login": "ConfigMap",
		}[r.URL.Path]
		if !found {
			proxy.ServeHTTP(w, r)
			return
		}
		asked <- r.Method + " " + kind
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte(`{"apiVersion":"v1","kind":"` + kind + `","metadata":{"namespace":"shop","name":"login"}}`))
		assert.NoError(t, err)
	}))
	t.Cleanup(server.Close)
	manager, err := newManager(t.Context(), &rest.Config{Host: server.URL}, leadership{}, everything, logging.Logr(zerolog.Nop()))
	require.NoError(t, err)

	missing := &cache.ErrResourceNotCached{}
	at := client.ObjectKey{Namespace: "shop", Name: "login"}
	for kind, object := range map[string]client.Object{"Secret": &corev1.Secret{}, "ConfigMap": &corev1.ConfigMap{}} {
		for range 2 {
			require.NoError(t, manager.GetClient().Get(t.Context(), at, object))
			assert.Equal(t, "GET "+kind, <-asked, "it is asked for again, and for it alone")
		}
		assert.ErrorAs(t, manager.GetCache().Get(t.Context(), at, object), &missing, "nobody keeps a %s", kind)
	}
	unwatched := &metav1.PartialObjectMetadata{}
	unwatched.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	assert.ErrorAs(t, manager.GetCache().Get(t.Context(), at, unwatched), &missing, "a read starts no informer")
	assert.Empty(t, asked)
}
