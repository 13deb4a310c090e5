package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// patience bounds every wait of a test; it is far above what any takes.
const patience = 20 * time.Second

// result is how a fake Helm action ends.
type result struct {
	interrupts error // while the context goes on
	err        error
	// unwritten actions fail before they write a record.
	unwritten bool
	// blocks until the context ends, and is interrupted then.
	blocks bool
	// panics inside the action.
	panics bool
}

// interruptedError is what package helm returns when its context ends; its own type cannot be made from here.
type interruptedError struct{ cause error }

func (e interruptedError) Error() string     { return "interrupted" }
func (e interruptedError) Unwrap() error     { return e.cause }
func (e interruptedError) Interrupted() bool { return true }

// fakeHelm keeps records in memory, as Helm does in Secrets.
type fakeHelm struct {
	mu      sync.Mutex
	records map[Target][]helm.Release // oldest first
	results []result                  // of the next actions; then all succeed
	calls   []string
	began   chan string // gets a call when its record is pending; may be nil

	installed helm.InstallOptions
	upgraded  helm.UpgradeOptions
	rolled    helm.RollbackOptions
	removed   helm.UninstallOptions
	tests     helm.TestOptions
	lastError error
	reads     int // of the newest record
	versioned bool
	now       func() time.Time
	drift     fakeDrift
}

func (h *fakeHelm) Last(_ context.Context, namespace, name string) (helm.Release, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	records := h.records[Target{namespace, name}]
	if h.lastError != nil || len(records) == 0 {
		return helm.Release{}, false, h.lastError
	}
	return records[len(records)-1], true, nil
}

func (h *fakeHelm) History(_ context.Context, namespace, name string) ([]helm.Revision, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var history []helm.Revision
	for _, r := range h.records[Target{namespace, name}] {
		history = append([]helm.Revision{{Revision: r.Revision, Status: r.Status, Labels: r.Labels}}, history...)
	}
	return history, nil
}

func (h *fakeHelm) MarkInterrupted(_ context.Context, namespace, name string, revision int, cause string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, "unlock "+strconv.Itoa(revision))
	for i, r := range h.records[Target{namespace, name}] {
		if r.Revision == revision && r.Status.Pending() {
			h.records[Target{namespace, name}][i].Status = helm.StatusFailed
			h.records[Target{namespace, name}][i].Description = "interrupted: " + cause
			h.versions()
		}
	}
	return nil
}

// versions gives all records the resource versions that belong to them. The caller holds the lock.
func (h *fakeHelm) versions() {
	if !h.versioned {
		return
	}
	for _, records := range h.records {
		for i := range records {
			records[i].ResourceVersion = versionOf(&records[i])
		}
	}
}

// action runs one action that writes a new record.
func (h *fakeHelm) action(ctx context.Context, call string, target helm.Target, pending helm.Status, record helm.Release) (helm.Release, error) {
	h.mu.Lock()
	h.calls = append(h.calls, call)
	var next result
	if len(h.results) > 0 {
		next, h.results = h.results[0], h.results[1:]
	}
	key := Target{target.Namespace, target.Name}
	record.Name, record.Namespace, record.Labels = target.Name, target.Namespace, maps.Clone(target.Labels)
	record.Revision, record.FirstDeployed, record.LastDeployed = len(h.records[key])+1, h.now(), h.now()
	if len(h.records[key]) > 0 {
		record.FirstDeployed = h.records[key][0].FirstDeployed
	}
	record.Status = pending
	if !next.unwritten {
		h.records[key] = append(h.records[key], record)
		h.versions()
	}
	h.mu.Unlock()
	if h.began != nil {
		h.began <- call
	}
	switch {
	case next.panics:
		panic("nil map in a template")
	case next.interrupts != nil:
		return record, interruptedError{next.interrupts}
	case next.blocks:
		<-ctx.Done()
		return record, interruptedError{context.Cause(ctx)}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if next.unwritten {
		return helm.Release{}, &helm.Error{Stage: helm.StageRender, Message: next.err.Error(), Err: next.err}
	}
	written := h.records[key]
	if next.err != nil {
		record.Status = helm.StatusFailed
		written[len(written)-1] = record
		h.versions()
		return record, &helm.Error{Stage: helm.StageWait, Revision: record.Revision, Message: next.err.Error(), Err: next.err}
	}
	for i := range written {
		if written[i].Status == helm.StatusDeployed {
			written[i].Status = helm.StatusSuperseded
		}
	}
	record.Status = helm.StatusDeployed
	written[len(written)-1] = record
	h.versions()
	return written[len(written)-1], nil
}

func chartOf(tarball []byte) (name, version string) {
	name, version = splitChart(string(tarball))
	return name, version
}

func (h *fakeHelm) Install(ctx context.Context, o helm.InstallOptions) (helm.Release, error) {
	h.installed = o
	name, version := chartOf(o.Chart)
	return h.action(ctx, "install", o.Target, helm.StatusPendingInstall, helm.Release{ChartName: name, ChartVersion: version, Values: o.Values})
}

func (h *fakeHelm) Upgrade(ctx context.Context, o helm.UpgradeOptions) (helm.Release, error) {
	h.upgraded = o
	name, version := chartOf(o.Chart)
	return h.action(ctx, "upgrade", o.Target, helm.StatusPendingUpgrade, helm.Release{ChartName: name, ChartVersion: version, Values: o.Values})
}

func (h *fakeHelm) Rollback(ctx context.Context, o helm.RollbackOptions) (helm.Release, error) {
	h.rolled = o
	return h.action(ctx, "rollback "+strconv.Itoa(o.ToRevision), o.Target, helm.StatusPendingRollback, helm.Release{ChartName: "web", ChartVersion: "rolled"})
}

func (h *fakeHelm) Uninstall(ctx context.Context, o helm.UninstallOptions) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removed = o
	h.calls = append(h.calls, "uninstall "+o.Namespace+"/"+o.Name)
	if len(h.results) > 0 {
		next := h.results[0]
		h.results = h.results[1:]
		if next.err != nil {
			return true, &helm.Error{Stage: helm.StageWait, Message: next.err.Error(), Err: next.err}
		}
	}
	key := Target{o.Namespace, o.Name}
	found := len(h.records[key]) > 0
	if o.KeepHistory && found {
		h.records[key][len(h.records[key])-1].Status = helm.StatusUninstalled
	} else {
		delete(h.records, key)
	}
	return found, nil
}

func (h *fakeHelm) Test(_ context.Context, o helm.TestOptions) (helm.Release, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, "test")
	h.tests = o
	var next result
	if len(h.results) > 0 {
		next, h.results = h.results[0], h.results[1:]
	}
	records := h.records[Target{o.Namespace, o.Name}]
	last := &records[len(records)-1]
	if next.unwritten {
		return helm.Release{}, &helm.Error{Stage: helm.StageStorage, Message: next.err.Error(), Err: next.err}
	}
	if next.err != nil {
		failed := &helm.Error{Stage: helm.StageTest, Message: next.err.Error(), Err: next.err}
		if o.MarkFailed {
			last.Status, failed.Revision = helm.StatusFailed, last.Revision
		}
		return *last, failed
	}
	last.Labels = maps.Clone(o.Labels)
	return *last, nil
}

// done returns the calls since the last time.
func (h *fakeHelm) done() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := h.calls
	h.calls = nil
	return calls
}

// fakeCharts offers one chart.
type fakeCharts struct {
	mu       sync.Mutex
	resolved client.Resolved
	err      error
	download error
	asked    []client.ChartRequest
}

func (c *fakeCharts) Resolve(_ context.Context, request client.ChartRequest) (client.Resolved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, request)
	return c.resolved, c.err
}

func (c *fakeCharts) Download(_ context.Context, request client.ChartRequest, w io.Writer) (client.Downloaded, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.download != nil {
		return client.Downloaded{}, c.download
	}
	_, err := fmt.Fprintf(w, "%s-%s", request.Chart, request.Version)
	return client.Downloaded{}, err
}

func (c *fakeCharts) offer(version, digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = nil
	c.resolved = client.Resolved{Version: client.ChartVersion{Chart: "web", Version: version, Digest: digest}, NewestVersion: version}
}

func (c *fakeCharts) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

type fakeEvents struct {
	mu   sync.Mutex
	sent []string
}

func (e *fakeEvents) Event(_ runtime.Object, kind, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sent = append(e.sent, kind+" "+reason+": "+message)
}

// take returns the events since the last time.
func (e *fakeEvents) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	sent := e.sent
	e.sent = nil
	return sent
}

// bench is an engine with all that it needs, for one HelmRelease shop/app of chart web from HelmRepository shop/charts.
type bench struct {
	*testing.T
	engine  *Engine
	runner  *Runner
	helm    *fakeHelm
	charts  *fakeCharts
	objects *fakeObjects
	events  *fakeEvents
	metrics *prometheus.Registry
	woken   chan types.NamespacedName
	now     time.Time
	ids     int
	config  Config
}

var (
	appKey    = types.NamespacedName{Namespace: "shop", Name: "app"}
	appTarget = Target{Namespace: "shop", Name: "app"}
)

func newBench(t *testing.T, edits ...func(*v1alpha1.HelmRelease)) *bench {
	t.Helper()
	b := &bench{T: t, now: testTime, events: &fakeEvents{}, charts: &fakeCharts{}, metrics: prometheus.NewRegistry()}
	clock := func() time.Time { return b.now }
	b.helm = &fakeHelm{records: map[Target][]helm.Release{}, now: clock}
	b.charts.offer("1.0.0", "sha256:one")
	b.objects = &fakeObjects{
		stored: &v1alpha1.HelmRelease{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app", Generation: 1, ResourceVersion: "0"},
			Spec: v1alpha1.HelmReleaseSpec{
				Chart: v1alpha1.ChartSpec{Name: "web", Version: "^1.0.0", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
			},
		},
		repositories: []v1alpha1.HelmRepository{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "charts"},
			Spec:       v1alpha1.HelmRepositorySpec{URL: "https://charts.example.com"},
		}},
	}
	for _, edit := range edits {
		edit(b.objects.stored)
	}
	metrics, err := NewMetrics(b.metrics)
	require.NoError(t, err)
	b.config = Config{
		Helm: b.helm, Charts: b.charts, Objects: b.objects, Events: b.events, Metrics: metrics, Now: clock,
		NewOperationID: func() string { b.ids++; return "op" + strconv.Itoa(b.ids) },
	}
	b.restart()
	return b
}

// restart replaces the process: what the runner holds is lost.
func (b *bench) restart() {
	b.Helper()
	b.woken = make(chan types.NamespacedName, 100)
	b.runner = NewRunner(RunnerConfig{MaxActive: 10, ProgressDelay: time.Millisecond, Now: b.config.Now, Wake: func(key types.NamespacedName) { b.woken <- key }})
	b.config.Runner = b.runner
	var err error
	b.engine, err = New(b.config)
	require.NoError(b, err)
}

// once makes one pass.
func (b *bench) once() time.Duration {
	b.Helper()
	after, err := b.engine.Reconcile(b.Context(), b.objects.get())
	require.NoError(b, err)
	return after
}

// settle makes passes until no operation runs and none was asked for, and returns the object.
func (b *bench) settle() *v1alpha1.HelmRelease {
	b.Helper()
	b.once()
	for {
		if _, busy := b.runner.Running(appKey); !busy {
			if _, unread := b.runner.Outcome(appKey); !unread {
				return b.objects.get()
			}
		}
		b.awaitWake()
		b.once()
	}
}

func (b *bench) awaitWake() {
	b.Helper()
	select {
	case <-b.woken:
	case <-time.After(patience):
		b.Fatal("no operation ended")
	}
}

// awaitBegin waits until a Helm action has written its pending record.
func (b *bench) awaitBegin() {
	b.Helper()
	select {
	case <-b.helm.began:
	case <-time.After(patience):
		b.Fatal("no action began")
	}
}

func (b *bench) condition(kind string) metav1.Condition {
	b.Helper()
	condition := meta.FindStatusCondition(b.objects.get().Status.Conditions, kind)
	require.NotNil(b, condition, kind)
	return *condition
}

// assertReady checks the Ready condition, and that it is about the spec as it is.
func (b *bench) assertReady(status metav1.ConditionStatus, reason string) {
	b.Helper()
	ready := b.condition(v1alpha1.ConditionReady)
	assert.Equal(b, status, ready.Status, ready.Message)
	assert.Equal(b, reason, ready.Reason, ready.Message)
	assert.Equal(b, b.objects.get().Generation, ready.ObservedGeneration)
	assert.Equal(b, b.objects.get().Generation, b.objects.get().Status.ObservedGeneration)
}

func (b *bench) values(text string) {
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString(text) })
}

func enableRollback(r *v1alpha1.HelmRelease) { r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true} }

// written returns statuses of the records, oldest first.
func (b *bench) written() []string {
	b.helm.mu.Lock()
	defer b.helm.mu.Unlock()
	var statuses []string
	for _, r := range b.helm.records[appTarget] {
		statuses = append(statuses, string(r.Status))
	}
	return statuses
}

var errUnready = errors.New("deployment shop/app is not ready")

func unreachable() error {
	return &client.Error{Code: codes.Unavailable, Message: "connection refused"}
}

func chartcacheError(reason chartcachev1.ErrorReason, message string) error {
	return &client.Error{Reason: reason, Message: message, Code: codes.NotFound}
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}
