package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ketches/helm-operator/operator/fence"
)

var everything = scope{selector: labels.Everything()}

// askedServer counts requests by method and answers each with an empty object.
func askedServer(t *testing.T) (config *rest.Config, asked map[string]int) {
	t.Helper()
	asked = map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.Method]++
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`))
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, asked
}

func TestWhoDoesNotLeadReadsAndDoesNotWrite(t *testing.T) {
	config, asked := askedServer(t)
	leader, err := newLeadership(config, &options{leaderElect: true, leaderElectNamespace: "ketches"}, everything)
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(leader.fenced(config))
	require.NoError(t, err)
	maps := client.CoreV1().ConfigMaps("ns")
	create := func() error {
		_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
		return err
	}

	require.ErrorIs(t, create(), fence.ErrLost)
	_, err = maps.Get(t.Context(), "a", metav1.GetOptions{})
	require.NoError(t, err)
	leader.lease.Renewed(time.Now())
	require.NoError(t, create())
	leader.lease.Renewed(time.Now().Add(-renewDeadline - time.Second))
	require.ErrorIs(t, create(), fence.ErrLost)
	assert.Equal(t, map[string]int{http.MethodGet: 1, http.MethodPost: 1}, asked)
	require.ErrorIs(t, leader.check()(), fence.ErrLost)
}

func TestWhoNeedsNotLeadMayAlwaysWrite(t *testing.T) {
	config, asked := askedServer(t)
	leader, err := newLeadership(config, &options{}, everything)
	require.NoError(t, err)
	assert.Nil(t, leader.lock)
	assert.Nil(t, leader.check())
	client, err := kubernetes.NewForConfig(leader.fenced(config))
	require.NoError(t, err)
	require.NoError(t, client.CoreV1().ConfigMaps("ns").Delete(t.Context(), "a", metav1.DeleteOptions{}))
	assert.Equal(t, map[string]int{http.MethodDelete: 1}, asked)
}

func TestALeaderElectionOutsideAClusterNeedsANamespace(t *testing.T) {
	_, err := newLeadership(&rest.Config{}, &options{leaderElect: true}, everything)
	require.ErrorContains(t, err, "--leader-election-namespace")
}

func TestOperatorsOfDifferentScopesHaveDifferentLeases(t *testing.T) {
	names := map[string]string{}
	for name, opts := range map[string]*options{
		"everything":     {},
		"two namespaces": {watchNamespaces: []string{"a", "b"}},
		"one namespace":  {watchNamespaces: []string{"a"}},
		"a shard":        {watchSelector: "shard=1"},
	} {
		watched, err := opts.scope()
		require.NoError(t, err)
		assert.NotContains(t, names, watched.leaseName())
		names[watched.leaseName()] = name
	}
	assert.Equal(t, "everything", names[leaderElectionID], "the name of the original's")
	same, err := (&options{watchNamespaces: []string{"b", "a", "b"}}).scope()
	require.NoError(t, err)
	assert.Equal(t, "two namespaces", names[same.leaseName()])
}
