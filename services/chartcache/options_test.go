package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	var o options
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.addFlags(set)
	if err := set.Parse(args); err != nil {
		return o, err
	}
	err := o.check()
	return o, err
}

func TestTheDefaultsAreValid(t *testing.T) {
	o, err := parse(t)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:9090", o.grpcAddress)
	assert.Equal(t, ":8080", o.metricsAddress)
	assert.Equal(t, ":8081", o.probeAddress)
	limits := o.limits()
	assert.Equal(t, int64(512<<20), limits.Upstream.IndexBytes)
	assert.Equal(t, int64(100<<20), limits.Chart.UnpackedBytes)
	assert.Equal(t, 4, limits.Syncs)
}

func TestPlaintextIsServedOnLoopbackOnly(t *testing.T) {
	for address, fine := range map[string]bool{
		"127.0.0.1:9090":        true,
		"127.8.9.1:0":           true,
		"[::1]:9090":            true,
		"[::ffff:127.0.0.1]:90": true,
		"localhost:9090":        true,
		":9090":                 false,
		"0.0.0.0:9090":          false,
		"[::]:9090":             false,
		"10.0.0.1:9090":         false,
		"chartcache:9090":       false,
		"localhost.evil.com:90": false,
	} {
		_, err := parse(t, "--grpc-bind-address", address)
		if fine {
			assert.NoError(t, err, address)
			continue
		}
		require.ErrorContains(t, err, "--insecure", address)
		_, err = parse(t, "--grpc-bind-address", address, "--insecure")
		assert.NoError(t, err, address)
		_, err = parse(t, "--grpc-bind-address", address, "--tls-cert-file=a", "--tls-key-file=b")
		assert.NoError(t, err, address)
	}
}

func TestWrongFlagsAreNamed(t *testing.T) {
	for _, args := range [][]string{
		{"--grpc-bind-address=9090"},
		{"--data-dir="},
		{"--sync-concurrency=0"},
		{"--drain-timeout=-1s"},
		{"--max-tags=0"},
		{"--max-index-bytes=lots"},
		{"--max-chart-bytes=-5"},
		{"--blob-cache-bytes=1Mi"},
		{"--repositories=a.yaml", "--kubeconfig=b"},
		{"--tls-cert-file=a"},
		{"--tls-key-file=a"},
		{"--client-ca-file=a"},
		{"--insecure", "--tls-cert-file=a", "--tls-key-file=b"},
	} {
		_, err := parse(t, args...)
		require.Error(t, err, "%v", args)
		flag, _, _ := strings.Cut(strings.TrimPrefix(args[0], "--"), "=")
		assert.Contains(t, err.Error(), flag)
	}
}

func TestSizesAreQuantities(t *testing.T) {
	for text, want := range map[string]int64{"1Gi": 1 << 30, "5M": 5_000_000, "123": 123} {
		var s size
		require.NoError(t, s.Set(text))
		assert.Equal(t, want, int64(s))
	}
	s := size(512 << 20)
	assert.Equal(t, "512Mi", s.String())
	assert.Error(t, s.Set("many"))
}

// execute runs a command line with an environment and returns what it printed.
func execute(environment map[string]string, args ...string) (string, error) {
	cmd := newCommand(func(name string) (string, bool) { v, ok := environment[name]; return v, ok }, io.Discard)
	out := &bytes.Buffer{}
	cmd.SetOut(out)
	cmd.SetErr(out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func TestHelpSaysWhatEveryFlagDoesAndNamesItsVariable(t *testing.T) {
	out, err := execute(nil, "serve", "--help")
	require.NoError(t, err)
	var o options
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.addFlags(set)
	set.VisitAll(func(f *pflag.Flag) {
		assert.NotEmpty(t, f.Usage, f.Name)
		assert.Contains(t, out, "--"+f.Name)
		assert.Contains(t, out, "CHARTCACHE_"+strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
	})
}

func TestFlagsComeFromTheEnvironmentToo(t *testing.T) {
	_, err := execute(map[string]string{"CHARTCACHE_GRPC_BIND_ADDRESS": "0.0.0.0:9090"}, "serve")
	assert.ErrorContains(t, err, "--insecure")
	_, err = execute(map[string]string{"CHARTCACHE_SYNC_CONCURRENCY": "many"}, "serve")
	assert.ErrorContains(t, err, "CHARTCACHE_SYNC_CONCURRENCY")
}

func TestVersionIsPrinted(t *testing.T) {
	out, err := execute(nil, "version")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(out, "chartcache "), out)
}
