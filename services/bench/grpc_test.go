package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/services/bench/fixture"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

func TestCallsAreMeasuredBesideAnEchoOfTheSameSizes(t *testing.T) {
	b := newBench(t)
	b.runs, b.workers, b.lasts = 1, 2, 100*time.Millisecond
	b.grpcShape, b.chartBytes = fixture.Config{Charts: 2, Versions: 120}, 600_000
	require.NoError(t, b.measureGRPC(t.Context()))
	wanted := []string{}
	for _, r := range b.table.rows {
		require.NotNil(t, r.reached, r.what)
		assert.NotContains(t, r.ratio, "NaN")
		wanted = append(wanted, r.wanted)
	}
	assert.Equal(t, []string{">= 0.5 of it", "<= 3x", ">= 0.3 of it", ">= 0.6 of it"}, wanted)
}

func TestTheEchoAnswersWithAsManyBytesAsItIsAskedFor(t *testing.T) {
	b := newBench(t)
	_, err := localstack.Build(t.Context(), b.stackConfig(), "bench/echo")
	require.NoError(t, err)
	e, err := startEcho(b.path("echo"), b.log)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.stop()) })

	got, err := e.call(40, 1000)(t.Context(), 0, 0)
	require.NoError(t, err)
	assert.Equal(t, int64(997), got, "a tag and two bytes of length make it 1000 on the wire")
	got, err = e.stream(1_000_000, messageBytes)(t.Context(), 0, 0)
	require.NoError(t, err)
	assert.Equal(t, int64(1_000_000), got)
	_, err = e.call(40, 1<<30)(t.Context(), 0, 0)
	assert.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = e.stream(10, 0)(t.Context(), 0, 0)
	assert.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestAnEchoThatCannotStartIsAnError(t *testing.T) {
	_, err := startEcho(filepath.Join(t.TempDir(), "missing"), t.Output())
	require.Error(t, err)
	_, err = startEcho("/bin/true", t.Output())
	assert.ErrorContains(t, err, "read the address")
}
