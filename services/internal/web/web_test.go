package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func get(t *testing.T, handler http.Handler, target string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil))
	return recorder.Code, recorder.Body.String()
}

func TestProbesAnswer(t *testing.T) {
	good := func(context.Context) error { return nil }
	bad := func(context.Context) error { return errors.New("disk is full") }
	for name, c := range map[string]struct {
		target string
		ready  map[string]Check
		code   int
		body   string
	}{
		"no checks pass":                        {"/readyz", nil, 200, "ok"},
		"all pass":                              {"/readyz", map[string]Check{"disk": good}, 200, "ok"},
		"details are shown when asked for":      {"/readyz?verbose", map[string]Check{"disk": good}, 200, "[+] disk: ok\nreadyz check passed\n"},
		"details are shown on failure":          {"/readyz", map[string]Check{"disk": bad}, 503, "[-] disk: disk is full\nreadyz check failed\n"},
		"one check can be asked for":            {"/readyz/disk?verbose", map[string]Check{"disk": good, "net": bad}, 200, "[+] disk: ok\nreadyz check passed\n"},
		"a check that is not there":             {"/readyz/net", map[string]Check{"disk": good}, 404, "there is no such check\n"},
		"readiness has no influence on health":  {"/healthz", map[string]Check{"disk": bad}, 200, "ok"},
		"there is nothing else at this address": {"/metrics", nil, 404, "404 page not found\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var probes Probes
			for name, check := range c.ready {
				probes.AddReady(name, check)
			}
			code, body := get(t, probes.Handler(), c.target)
			assert.Equal(t, c.code, code)
			assert.Equal(t, c.body, body)
		})
	}
}

func TestAHealthCheckFailsHealthOnly(t *testing.T) {
	var probes Probes
	probes.AddHealthy("workers", func(context.Context) error { return errors.New("stuck") })
	code, body := get(t, probes.Handler(), "/healthz")
	assert.Equal(t, 503, code)
	assert.Contains(t, body, "[-] workers: stuck")
	code, _ = get(t, probes.Handler(), "/readyz")
	assert.Equal(t, 200, code)
}

func TestACheckHasADeadline(t *testing.T) {
	var probes Probes
	probes.AddReady("slow", func(ctx context.Context) error {
		_, ok := ctx.Deadline()
		assert.True(t, ok)
		return nil
	})
	code, _ := get(t, probes.Handler(), "/readyz")
	assert.Equal(t, 200, code)
}

func TestMetricsShowsARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
	require.NoError(t, registry.Register(counter))
	counter.Inc()
	code, body := get(t, Metrics(registry), "/metrics")
	assert.Equal(t, 200, code)
	assert.Contains(t, body, "things_total 1")
}

func TestAServerListensFromStartToStop(t *testing.T) {
	server := NewServer(Config{
		Name: "test", Address: "127.0.0.1:0", Log: zerolog.Nop(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
	})
	part := server.Part()
	require.Empty(t, server.Address())
	require.NoError(t, part.Start(t.Context()))
	done := make(chan error)
	go func() { done <- part.Run(t.Context()) }()

	response, err := http.Get("http://" + server.Address())
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, "hello", string(body))

	require.NoError(t, part.Stop(t.Context()))
	require.NoError(t, <-done)
	_, err = http.Get("http://" + server.Address())
	assert.Error(t, err)
}

func TestAServerThatCannotListenSaysWhere(t *testing.T) {
	taken := NewServer(Config{Name: "taken", Address: "127.0.0.1:0", Log: zerolog.Nop(), Handler: http.NotFoundHandler()})
	require.NoError(t, taken.Part().Start(t.Context()))
	t.Cleanup(func() { assert.NoError(t, taken.listener.Close()) })
	second := NewServer(Config{Name: "second", Address: taken.Address(), Log: zerolog.Nop(), Handler: http.NotFoundHandler()})
	assert.ErrorContains(t, second.Part().Start(t.Context()), taken.Address())
}

func TestADisabledServerDoesNothing(t *testing.T) {
	for _, address := range []string{"", Disabled} {
		part := NewServer(Config{Name: "off", Address: address, Log: zerolog.Nop()}).Part()
		assert.Nil(t, part.Start)
		assert.Nil(t, part.Run)
		assert.Nil(t, part.Stop)
	}
}
