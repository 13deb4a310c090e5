package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// execute runs the command line with an environment of its own and returns what it prints.
func execute(t *testing.T, environment map[string]string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	command := newCommand(func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}, &out)
	command.SetOut(&out)
	command.SetArgs(args)
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

func TestHelpNamesEveryFlagWithItsVariable(t *testing.T) {
	output, err := execute(t, nil, "--help")
	require.NoError(t, err)
	for _, flag := range []string{
		"chartcache-address", "chartcache-ca-file", "chartcache-tls-cert-file", "chartcache-tls-key-file", "chartcache-server-name", "kubeconfig", "metrics-bind-address", "health-probe-bind-address", "leader-elect",
		"leader-election-namespace", "watch-namespaces", "watch-label-selector", "concurrent-reconciles", "concurrent-operations", "max-operations", "deny-cross-namespace-repositories",
		"log-format", "log-level",
	} {
		assert.Contains(t, output, "--"+flag)
		assert.Contains(t, output, "(env OPERATOR_"+strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))+")")
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		args        []string
		want        []string
	}{
		"all of them at once": {
			nil, []string{"--chartcache-address=", "--chartcache-tls-key-file=key", "--concurrent-reconciles=0", "--concurrent-operations=-1"},
			[]string{"--chartcache-address must not be empty", "--chartcache-tls-cert-file and --chartcache-tls-key-file need each other", "--concurrent-reconciles must be", "--concurrent-operations must be"},
		},
		"a scope": {
			nil, []string{"--watch-namespaces=a,B_", "--watch-label-selector=a in"}, []string{`--watch-namespaces: "B_"`, "--watch-label-selector"},
		},
		"by environment": {
			map[string]string{"OPERATOR_CONCURRENT_OPERATIONS": "many"}, nil, []string{"OPERATOR_CONCURRENT_OPERATIONS"},
		},
		"a log level": {nil, []string{"--log-level=loud"}, []string{`log level "loud"`}},
		"arguments":   {nil, []string{"now"}, []string{"now"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := execute(t, c.environment, c.args...)
			require.Error(t, err)
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestAWrongFileOfTheConnectionIsNamedWithItsFlag(t *testing.T) {
	opts := &options{chartcacheAddress: "chartcache:9090"}
	set := pflag.NewFlagSet("operator", pflag.ContinueOnError)
	opts.addFlags(set)
	require.NoError(t, set.Parse([]string{"--chartcache-ca-file", "gone.pem"}))
	_, err := connect(opts, zerolog.Nop())
	require.ErrorContains(t, err, "use --chartcache-ca-file")
	require.ErrorContains(t, err, "gone.pem")
}

func TestACachedObjectLosesWhatNobodyReads(t *testing.T) {
	release := &v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{
		Name:          "shop",
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		Annotations:   map[string]string{lastAppliedAnnotation: "{}", v1alpha1.RetryAnnotation: "1"},
	}}
	got, err := stripObject(release)
	require.NoError(t, err)
	assert.Equal(t, &v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Annotations: map[string]string{v1alpha1.RetryAnnotation: "1"},
	}}, got)

	mark := toolscache.DeletedFinalStateUnknown{Key: "a/b"}
	got, err = stripObject(mark)
	require.NoError(t, err)
	assert.Equal(t, mark, got)
}

func TestHealthFailsWhenAReconcileHangs(t *testing.T) {
	queues := prometheus.NewRegistry()
	longest := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "workqueue_longest_running_processor_seconds"}, []string{"name"})
	require.NoError(t, queues.Register(longest))
	check := workersMove(queues)

	require.NoError(t, check(t.Context()), "before there is a queue")
	longest.WithLabelValues("helmrelease").Set((10 * time.Minute).Seconds())
	longest.WithLabelValues("helmrepository").Set(0)
	require.NoError(t, check(t.Context()))
	longest.WithLabelValues("helmrepository").Set((20 * time.Minute).Seconds())
	assert.EqualError(t, check(t.Context()), "a reconcile has been running for 20m0s")
}

func TestReadinessWaitsForTheCaches(t *testing.T) {
	require.NoError(t, cachesFilled(func(context.Context) bool { return true })(t.Context()))
	never := func(ctx context.Context) bool { <-ctx.Done(); return false }
	assert.ErrorContains(t, cachesFilled(never)(t.Context()), "have not been read")
}

func TestCallsOfChartcacheAreCountedByReason(t *testing.T) {
	connection, err := client.New(client.Config{
		Target: "passthrough:///chartcache",
		Dialer: func(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody listens") },
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, connection.Close()) })
	registry := prometheus.NewRegistry()
	observed, err := newObservedClient(connection, time.Now, registry)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = observed.GetRepository(ctx, client.Source{})
	assert.True(t, client.IsUnreachable(err), "%v", err)
	_, err = observed.Download(ctx, client.ChartRequest{}, io.Discard)
	require.Error(t, err)
	families, err := registry.Gather()
	require.NoError(t, err)
	var reasons []string
	for _, family := range families {
		if family.GetName() != "helm_operator_chartcache_request_duration_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			assert.EqualValues(t, 1, metric.GetHistogram().GetSampleCount())
			reasons = append(reasons, metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue())
		}
	}
	assert.Equal(t, []string{"Download UNREACHABLE", "GetRepository UNREACHABLE"}, reasons)
	assert.Zero(t, testutil.ToFloat64(observed.connected))
}

func TestReasonLabels(t *testing.T) {
	assert.Equal(t, "OK", reasonLabel(nil))
	assert.Equal(t, "UNSPECIFIED", reasonLabel(io.EOF))
}
