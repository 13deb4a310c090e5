package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/fence"
	"github.com/ketches/helm-operator/services/internal/logging"
)

// memoryLock is a lock of the leader election in memory.
type memoryLock struct {
	asked chan struct{} // is told of the first look, if there is room

	mu     sync.Mutex // guards record
	record *resourcelock.LeaderElectionRecord
}

func (l *memoryLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	select {
	case l.asked <- struct{}{}:
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "lock")
	}
	record := *l.record
	return &record, []byte(record.HolderIdentity + record.RenewTime.String()), nil
}

func (l *memoryLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.Update(ctx, record)
}

func (l *memoryLock) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = &record
	return nil
}

func (l *memoryLock) RecordEvent(string) {}
func (l *memoryLock) Identity() string   { return "us" }
func (l *memoryLock) Describe() string   { return "a lock in memory" }

// discoveryServer is an API server that knows the kinds which a manager asks for, and nothing else.
func discoveryServer(t *testing.T) (url string) {
	t.Helper()
	version := metav1.GroupVersionForDiscovery{GroupVersion: v1alpha1.GroupVersion.String(), Version: v1alpha1.GroupVersion.Version}
	answers := map[string]any{
		"/api": metav1.APIVersions{Versions: []string{"v1"}},
		"/apis": metav1.APIGroupList{Groups: []metav1.APIGroup{{
			Name: v1alpha1.GroupName, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
		}}},
		"/api/v1": metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "secrets", Kind: "Secret", Namespaced: true}, {Name: "configmaps", Kind: "ConfigMap", Namespaced: true},
		}},
		"/apis/" + version.GroupVersion: metav1.APIResourceList{GroupVersion: version.GroupVersion, APIResources: []metav1.APIResource{
			{Name: "helmreleases", Kind: "HelmRelease", Namespaced: true},
		}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		answer, ok := answers[request.URL.Path]
		if !ok {
			http.NotFound(w, request)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		assert.NoError(t, json.NewEncoder(w).Encode(answer))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// logBuffer is a log in memory. The manager writes its last lines while it returns.
type logBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(line))
	return len(line), nil
}

// await waits for the line that has some words, and returns all up to there.
func (b *logBuffer) await(t *testing.T, words string) (lines []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		lines = slices.Clone(b.lines)
		return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, words) })
	}, time.Minute, time.Millisecond, "nobody says %q", words)
	return lines
}

// summary returns level and message of each line, and wants all of them to be of one object.
func (b *logBuffer) summary(t *testing.T) (summary []string) {
	t.Helper()
	for _, line := range b.lines {
		var entry struct{ Level, Message, Name, Logger, Error string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		assert.Equal(t, "controller app", entry.Logger+" "+entry.Name)
		assert.NotEmpty(t, entry.Error)
		summary = append(summary, entry.Level+" "+entry.Message)
	}
	return summary
}

// serveManager starts a manager with a lock and a log of all levels. The function that it returns orders the shutdown and returns what
// the manager does.
func serveManager(t *testing.T, lock *memoryLock, parts ...manager.RunnableFunc) (log *logBuffer, elected <-chan struct{}, stop func() error) {
	t.Helper()
	server := discoveryServer(t)
	log = &logBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	lease := fence.NewLease(renewDeadline, nil)
	leader := leadership{lock: fence.Lock(lock, lease), lease: lease}
	m, err := newManager(ctx, &rest.Config{Host: server}, leader, everything, logging.Logr(zerolog.New(log)))
	require.NoError(t, err)
	for _, part := range parts {
		require.NoError(t, m.Add(part))
	}
	ended := make(chan error, 1)
	go func() { ended <- m.Start(ctx) }()
	return log, m.Elected(), func() error {
		cancel()
		return <-ended
	}
}

func TestAnOrderlyShutdownLogsNoError(t *testing.T) {
	lock := &memoryLock{}
	log, elected, stop := serveManager(t, lock)
	<-elected
	require.NoError(t, stop())
	assert.Empty(t, lock.record.HolderIdentity, "the lease is given up")
	assert.NotContains(t, strings.Join(log.await(t, "leader election lost"), ""), `"level":"error"`)
}

func TestRequestsThatAShutdownCutsOffAreNoErrors(t *testing.T) {
	leases := map[string]*fence.Lease{"that leads": fence.NewLease(renewDeadline, nil), "that is late to renew its lease": fence.NewLease(renewDeadline, nil)}
	leases["that leads"].Renewed(time.Now())
	leases["that is late to renew its lease"].Renewed(time.Now().Add(-time.Hour))
	leases["that needs not lead"] = nil
	for name, lease := range leases {
		leader := leadership{lease: lease}
		t.Run(name, func(t *testing.T) {
			out := &logBuffer{}
			ctx, shutDown := context.WithCancel(t.Context())
			log := shutdownLog(ctx, logging.Logr(zerolog.New(out)), leader).WithName("controller").WithValues("name", "app")
			cutOff := &url.Error{Op: "Patch", URL: "https://server", Err: context.Canceled}

			log.Error(cutOff, "before")
			shutDown()
			log.Error(cutOff, "after")
			log.Error(errors.New("refused"), "something else")
			assert.Equal(t, []string{"error before", "debug after", "error something else"}, out.summary(t))

			quiet := shutdownLog(ctx, logging.Logr(zerolog.New(out).Level(zerolog.InfoLevel)), leader)
			quiet.Error(cutOff, "at level info")
			assert.Len(t, out.summary(t), 3)
		})
	}
}

func TestAStandbyThatIsShutDownLogsNoError(t *testing.T) {
	lock := &memoryLock{asked: make(chan struct{}, 1), record: &resourcelock.LeaderElectionRecord{HolderIdentity: "another", LeaseDurationSeconds: 3600}}
	log, _, stop := serveManager(t, lock)
	<-lock.asked
	require.NoError(t, stop())
	assert.Equal(t, "another", lock.record.HolderIdentity)
	assert.NotContains(t, strings.Join(log.await(t, "leader election lost"), ""), `"level":"error"`)
}

func TestAPartThatFailsInAShutdownIsAnErrorInTheLog(t *testing.T) {
	log, elected, stop := serveManager(t, &memoryLock{}, func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("could not end")
	})
	<-elected
	require.NoError(t, stop())
	assert.Contains(t, strings.Join(log.await(t, "could not end"), ""), `"level":"error","error":"could not end"`)
}
