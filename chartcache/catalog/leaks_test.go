package catalog

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(files)
}

func TestFiftySyncsEditsAndDeletionsLeakNoGoroutineAndNoDescriptor(t *testing.T) {
	f := newHTTPFixture(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cycle := func() {
		source := f.put("wrong")
		_, _, err := f.Sync(ctx, source)
		require.Error(t, err)
		source = f.put("secret")
		resolved, err := f.Resolve(ctx, source, ResolveQuery{Chart: "web"})
		require.NoError(t, err)
		reader, _, err := f.Fetch(ctx, source, resolved)
		require.NoError(t, err)
		require.NoError(t, reader.Close())
		_, err = f.Watch(ctx, "").Next(ctx)
		require.NoError(t, err)
		f.Delete(*source.Ref)
	}
	for range 3 {
		cycle()
	}
	f.server.CloseClientConnections()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	for range 50 {
		cycle()
	}
	// Connections come and go: a few more or less are those.
	const idle = 6
	assert.Eventually(t, func() bool {
		f.server.CloseClientConnections()
		return runtime.NumGoroutine() <= goroutines+idle && openFiles(t) <= files+idle
	}, 10*time.Second, 20*time.Millisecond, "goroutines %d, files %d before", goroutines, files)
	assert.Empty(t, f.repositories)
	assert.Empty(t, f.flights)
	assert.Empty(t, f.turns.hosts)
}
