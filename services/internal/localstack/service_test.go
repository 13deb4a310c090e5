package localstack

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script is a service that is a shell script, and as ready as a handler says.
func script(t *testing.T, text string, status int) *Service {
	t.Helper()
	probes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(probes.Close)
	s := &Service{
		Name: "script", Health: strings.TrimPrefix(probes.URL, "http://"),
		binary: "/bin/sh", args: []string{"-c", text}, logFile: filepath.Join(t.TempDir(), "script.log"),
	}
	t.Cleanup(func() { assert.NoError(t, s.Kill()) })
	return s
}

func TestAServiceCanBeStartedAgainAfterItsEnd(t *testing.T) {
	s := script(t, `trap 'exit 0' TERM; echo started; while :; do sleep 0.01; done`, http.StatusOK)
	started := func(times int) {
		require.NoError(t, s.Start(t.Context()))
		assert.True(t, s.Running())
		assert.NotZero(t, s.PID())
		require.Eventually(t, func() bool { return strings.Count(s.LogTail(1000), "started") == times }, 10*time.Second, time.Millisecond)
	}
	started(1)
	require.NoError(t, s.Terminate(10*time.Second))
	assert.False(t, s.Running())
	assert.Zero(t, s.PID())
	started(2)
	require.NoError(t, s.Kill())
	assert.False(t, s.Running())
}

func TestAServiceThatDoesNotStopIsKilledAndSaidSo(t *testing.T) {
	s := script(t, `trap '' TERM; echo started; while :; do sleep 0.01; done`, http.StatusOK)
	require.NoError(t, s.Start(t.Context()))
	require.Eventually(t, func() bool { return s.LogTail(1000) != "" }, 10*time.Second, time.Millisecond)
	assert.ErrorContains(t, s.Terminate(50*time.Millisecond), "script did not stop within 50ms")
	assert.False(t, s.Running())
}

func TestAServiceThatEndsBeforeItIsReadyIsAnError(t *testing.T) {
	s := script(t, `echo no such flag; exit 3`, http.StatusServiceUnavailable)
	err := s.Start(t.Context())
	require.ErrorContains(t, err, "script ended: exit status 3")
	assert.ErrorContains(t, err, "no such flag", "the log says why")
	assert.False(t, s.Running())
}

func TestAFrozenServiceDoesNothingUntilItIsThawed(t *testing.T) {
	s := script(t, `trap 'echo asked; exit 3' USR1; echo started; while :; do sleep 0.01; done`, http.StatusOK)
	require.NoError(t, s.Start(t.Context()))
	require.Eventually(t, func() bool { return s.LogTail(1000) != "" }, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Freeze())
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGUSR1))
	require.Error(t, s.AwaitEnd(50*time.Millisecond))
	assert.NotContains(t, s.LogTail(1000), "asked")
	require.NoError(t, s.Thaw())
	require.NoError(t, s.AwaitEnd(10*time.Second))
	assert.False(t, s.Running())
}

func TestAddressesAreDistinct(t *testing.T) {
	first, second, third, err := threeAddresses()
	require.NoError(t, err)
	assert.NotEqual(t, first, second)
	assert.NotEqual(t, second, third)
	assert.NotEqual(t, first, third)
}

func TestAServiceHasTheVariablesThatItIsGiven(t *testing.T) {
	t.Setenv("LOCALSTACK_A", "of the parent")
	t.Setenv("LOCALSTACK_B", "of the parent")
	s := script(t, `echo "$LOCALSTACK_A, $LOCALSTACK_B"; while :; do sleep 0.01; done`, http.StatusOK)
	s.Env = []string{"LOCALSTACK_B=its own"}
	require.NoError(t, s.Start(t.Context()))
	assert.Eventually(t, func() bool { return s.LogTail(1000) == "of the parent, its own\n" }, 10*time.Second, time.Millisecond)
}
