package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/ketches/helm-operator/operator/fence"
	"github.com/ketches/helm-operator/operator/internal/readiness"
)

func TestALeaseThatIsLostAtTheEndOfAnUninstallIsTold(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("history kept: %t", keep), func(t *testing.T) {
			var lost atomic.Bool
			f := newFixtureWith(t, func(config *Config) {
				config.Fence = func() error {
					if lost.Load() {
						return fence.ErrLost
					}
					return nil
				}
			})
			chart := tarball(t, "held", "1.0.0", chartFiles{"templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: held
  finalizers: [example.com/hold]
`})
			f.install("web", "1", chart, nil)
			waits := make(chan struct{})
			done := make(chan error, 1)
			go func() {
				_, err := f.helm.Uninstall(t.Context(), UninstallOptions{
					Target: f.target("web", "2"), Timeout: time.Minute, KeepHistory: keep,
					Callbacks: Callbacks{Idle: func() { lost.Store(true); close(waits) }},
				})
				done <- err
			}()
			<-waits
			_, err := f.kube.CoreV1().ConfigMaps(f.namespace).Patch(t.Context(), "held", types.MergePatchType,
				[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			require.NoError(t, err)
			err = <-done
			assert.True(t, wantError(t, err).Interrupted())
			require.ErrorIs(t, err, fence.ErrLost)
			assert.Equal(t, StatusUninstalling, f.last("web").Status)
		})
	}
}

// lines are the connections of a client to the API server: they tell its watches, and break them.
type lines struct {
	mu      sync.Mutex
	open    map[*watchBody]struct{}
	begun   int
	listed  int
	tooOld  bool // the next watch begins at a version that the server has forgotten
	blocked bool // the server cannot be reached
}

func (l *lines) use(config *Config) {
	l.open = map[*watchBody]struct{}{}
	config.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return l.trip(next, r) })
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var errUnreachable = errors.New("connection refused")

func (l *lines) trip(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	watching := query.Get("watch") == "true"
	l.mu.Lock()
	blocked := l.blocked
	switch {
	case watching && l.tooOld:
		l.tooOld = false
		l.mu.Unlock()
		return tooOld(r), nil
	case !watching && r.Method == http.MethodGet && query.Get("limit") == "500":
		l.listed++
	}
	l.mu.Unlock()
	if blocked {
		return nil, errUnreachable
	}
	response, err := next.RoundTrip(r)
	if err != nil || !watching || response.StatusCode != http.StatusOK {
		return response, err
	}
	body := &watchBody{ReadCloser: response.Body, lines: l}
	response.Body = body
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun++
	l.open[body] = struct{}{}
	return response, nil
}

// tooOld is what an API server answers when it has compacted the events that a watch asks for.
func tooOld(r *http.Request) *http.Response {
	const status = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}`
	return &http.Response{
		StatusCode: http.StatusGone, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(status)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
	}
}

// watchBody is the answer to a watch request.
type watchBody struct {
	io.ReadCloser
	lines *lines
}

func (b *watchBody) Close() error {
	b.lines.mu.Lock()
	delete(b.lines.open, b)
	b.lines.mu.Unlock()
	return b.ReadCloser.Close()
}

// breakWatches closes all watches; with forgotten the next one is too old, too.
func (l *lines) breakWatches(forgotten bool) {
	l.mu.Lock()
	l.tooOld = forgotten
	var bodies []*watchBody
	for body := range l.open {
		bodies = append(bodies, body)
	}
	l.mu.Unlock()
	for _, body := range bodies {
		_ = body.Close() // closed again by its owner
	}
}

func (l *lines) block(blocked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = blocked
}

func (l *lines) count() (open, begun, listed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open), l.begun, l.listed
}

// getReady does what controllers would do: it makes a Deployment available.
func (f *fixture) getReady(name string) {
	f.t.Helper()
	api := f.kube.AppsV1().Deployments(f.namespace)
	live, err := api.Get(f.t.Context(), name, metav1.GetOptions{})
	require.NoError(f.t, err)
	n := *live.Spec.Replicas
	live.Status = appsv1.DeploymentStatus{
		ObservedGeneration: live.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
		},
	}
	_, err = api.UpdateStatus(f.t.Context(), live, metav1.UpdateOptions{})
	require.NoError(f.t, err)
}

// begun begins an install that waits, and returns once it does.
func (f *fixture) begun(ctx context.Context, name string, callbacks Callbacks) <-chan error {
	f.t.Helper()
	waits := make(chan struct{})
	idle := callbacks.Idle
	callbacks.Idle = func() {
		if idle != nil {
			idle()
		}
		close(waits)
	}
	done := make(chan error, 1)
	chart := stuckChart(f.t, "1.0.0")
	go func() {
		_, err := f.helm.Install(ctx, InstallOptions{
			Target:      f.target(name, "1"),
			ChartSource: ChartSource{Chart: chart},
			Waiting:     Waiting{Wait: true, Timeout: time.Minute, Callbacks: callbacks},
		})
		done <- err
	}()
	<-waits
	return done
}

// watched waits until the client has as many watches.
func (f *fixture) watched(l *lines, n int) {
	f.t.Helper()
	f.eventually("the number of watches", func(context.Context) bool {
		open, _, _ := l.count()
		return open == n
	})
}

func TestAWaitOutlivesFaultsOfItsWatch(t *testing.T) {
	tests := []struct {
		name  string
		fault func(*fixture, *lines)
		lists int
	}{
		{"the watch breaks", func(f *fixture, l *lines) { l.breakWatches(false) }, 0},
		{"events are forgotten meanwhile", func(f *fixture, l *lines) { l.breakWatches(true) }, 1},
		{"the server cannot be reached for a while", func(f *fixture, l *lines) {
			l.block(true)
			l.breakWatches(false)
			f.eventually("the watch has ended", func(context.Context) bool { open, _, _ := l.count(); return open == 0 })
			l.block(false)
		}, 0},
		{"the object is deleted and made again", func(f *fixture, _ *lines) {
			api := f.kube.AppsV1().Deployments(f.namespace)
			live, err := api.Get(f.t.Context(), "web-web", metav1.GetOptions{})
			require.NoError(f.t, err)
			require.NoError(f.t, api.Delete(f.t.Context(), "web-web", metav1.DeleteOptions{}))
			live.ObjectMeta = metav1.ObjectMeta{Name: live.Name, Namespace: live.Namespace}
			_, err = api.Create(f.t.Context(), live, metav1.CreateOptions{})
			require.NoError(f.t, err)
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &lines{}
			f := newFixtureWith(t, l.use)
			done := f.begun(t.Context(), "web", Callbacks{})
			f.watched(l, 1)
			tt.fault(f, l)
			f.getReady("web-web")
			require.NoError(t, <-done)
			_, _, listed := l.count()
			assert.Equal(t, tt.lists, listed, "only what may have been missed is listed")
			f.watched(l, 0)
			assert.Zero(t, f.operatorsHub().Watches())
		})
	}
}

func TestWaitsOfTwoReleasesShareOneWatch(t *testing.T) {
	l := &lines{}
	f := newFixtureWith(t, l.use)
	superseded := errors.New("superseded")
	ctx, cancel := context.WithCancelCause(t.Context())
	first := f.begun(ctx, "one", Callbacks{})
	f.watched(l, 1)
	chart := tarball(t, "other", "1.0.0", chartFiles{"templates/web.yaml": deployment})
	second := make(chan error, 1)
	waits := make(chan struct{})
	go func() {
		_, err := f.helm.Install(t.Context(), InstallOptions{
			Target: f.target("two", "1"), ChartSource: ChartSource{Chart: chart},
			Waiting: Waiting{Wait: true, Timeout: time.Minute, Callbacks: Callbacks{Idle: func() { close(waits) }}},
		})
		second <- err
	}()
	<-waits
	f.getReady("two-web")
	require.NoError(t, <-second)
	open, begun, _ := l.count()
	assert.Equal(t, 1, begun, "one watch for both")
	assert.Equal(t, 1, open, "which the first one still needs")

	cancel(superseded)
	err := <-first
	assert.True(t, wantError(t, err).Interrupted())
	require.ErrorIs(t, err, superseded)
	f.watched(l, 0)
	assert.Zero(t, f.operatorsHub().Watches())
}

func TestObjectsThatAreReadyAtOnceAreNotWaitedFor(t *testing.T) {
	l := &lines{}
	f := newFixtureWith(t, l.use)
	chart := tarball(t, "simple", "1.0.0", chartFiles{"templates/all.yaml": `apiVersion: v1
kind: ServiceAccount
metadata: {name: a}
---
apiVersion: v1
kind: Secret
metadata: {name: a}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: LoadBalancer, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: a}
`})
	_, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart},
		Waiting: Waiting{Wait: true, Timeout: time.Minute, Callbacks: Callbacks{
			Idle: func() { assert.Fail(t, "there is nothing to wait for") },
		}},
	})
	require.NoError(t, err)
	_, begun, listed := l.count()
	assert.Zero(t, begun+listed)
}

func TestAnIdentityWithoutTheRightToWatchPolls(t *testing.T) {
	var said atomic.Int32
	l := &lines{}
	f := newFixtureWith(t, func(config *Config) {
		config.REST.Impersonate = rest.ImpersonationConfig{UserName: "limited"}
		config.Log = funcr.New(func(_, args string) {
			said.Add(1)
			assert.Contains(t, args, "deployments.apps")
		}, funcr.Options{})
		l.use(config)
	})
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "create", "update", "patch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}},
	}
	_, err := f.kube.RbacV1().Roles(f.namespace).Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "limited"}, Rules: rules,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = f.kube.RbacV1().RoleBindings(f.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "limited"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "limited", APIGroup: rbacv1.GroupName}},
		RoleRef:    rbacv1.RoleRef{Kind: "Role", Name: "limited", APIGroup: rbacv1.GroupName},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	f.eventually("the rights are known", func(ctx context.Context) bool {
		_, _, err := f.helm.Last(ctx, f.namespace, "web")
		return err == nil
	})
	for _, name := range []string{"one", "two"} {
		done := f.begun(t.Context(), name, Callbacks{})
		f.getReady(name + "-web")
		require.NoError(t, <-done)
	}
	_, begun, _ := l.count()
	assert.Zero(t, begun)
	assert.Equal(t, int32(1), said.Load(), "said once")
}

func TestPodsThatCannotStartFailAnInstallAfterTheGracePeriod(t *testing.T) {
	f := newFixtureWith(t, func(config *Config) { config.Grace = 300 * time.Millisecond })
	done := f.begun(t.Context(), "web", Callbacks{})
	live, err := f.kube.AppsV1().Deployments(f.namespace).Get(t.Context(), "web-web", metav1.GetOptions{})
	require.NoError(t, err)
	owner := func(kind, name string, object metav1.Object) []metav1.OwnerReference {
		yes := true
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: object.GetUID(), Controller: &yes}}
	}
	set, err := f.kube.AppsV1().ReplicaSets(f.namespace).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-1", Labels: map[string]string{"app": "web"}, OwnerReferences: owner("Deployment", "web-web", live),
			Annotations: map[string]string{"deployment.kubernetes.io/revision": "1"},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: live.Spec.Selector, Template: live.Spec.Template},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	pods := f.kube.CoreV1().Pods(f.namespace)
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1-a", Labels: map[string]string{"app": "web"}, OwnerReferences: owner("ReplicaSet", set.Name, set)},
		Spec:       live.Spec.Template.Spec,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"},
	}}}
	_, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	live.Annotations = map[string]string{"deployment.kubernetes.io/revision": "1"}
	live, err = f.kube.AppsV1().Deployments(f.namespace).Update(t.Context(), live, metav1.UpdateOptions{})
	require.NoError(t, err)
	live.Status.ObservedGeneration = live.Generation
	_, err = f.kube.AppsV1().Deployments(f.namespace).UpdateStatus(t.Context(), live, metav1.UpdateOptions{})
	require.NoError(t, err)

	err = <-done
	require.ErrorIs(t, err, ErrFailed)
	assert.Contains(t, wantError(t, err).Message,
		"Deployment web-web: failed: Pod web-1-a: container web: ImagePullBackOff: no such image")
	assert.Equal(t, StatusFailed, f.last("web").Status)
	assert.Zero(t, f.operatorsHub().Watches())
}

func TestProgressAndTurnsOfAnAction(t *testing.T) {
	f := newFixture(t)
	var mu sync.Mutex
	var calls []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, text)
	}
	told := make(chan struct{}, 10)
	done := f.begun(t.Context(), "web", Callbacks{
		Progress: func(text string) { note(text); told <- struct{}{} },
		Idle:     func() { note("idle") },
		Busy:     func() { note("busy") },
	})
	<-told
	f.getReady("web-web")
	require.NoError(t, <-done)
	assert.Equal(t, []string{
		"idle", "waiting for Deployment web-web: has not been observed by its controller yet", "busy",
	}, calls)
}

func TestALostLeaseInterruptsAndWritesNothing(t *testing.T) {
	var lost atomic.Bool
	f := newFixtureWith(t, func(config *Config) {
		config.Fence = func() error {
			if lost.Load() {
				return fence.ErrLost
			}
			return nil
		}
	})
	done := f.begun(t.Context(), "web", Callbacks{Idle: func() { lost.Store(true) }})
	f.getReady("web-web")
	err := <-done
	assert.True(t, wantError(t, err).Interrupted())
	require.ErrorIs(t, err, fence.ErrLost)
	require.ErrorIs(t, f.helm.MarkInterrupted(t.Context(), f.namespace, "web", 1, "x"), fence.ErrLost,
		"not even the operation's own clients write")
	assert.Equal(t, StatusPendingInstall, f.last("web").Status, "the record stays as it was")
	assert.NotNil(t, f.data("web-extra"), "and so do the objects")

	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "2"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")},
	})
	require.Error(t, err)
	_, err = f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("other", "1"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")},
	})
	assert.True(t, wantError(t, err).Interrupted())
	_, found, err := f.helm.Last(t.Context(), f.namespace, "other")
	require.NoError(t, err)
	assert.False(t, found)
}

// operatorsHub keeps the watches of waits that are made as the operator.
func (f *fixture) operatorsHub() *readiness.Hub {
	f.t.Helper()
	own, err := f.helm.who.get("")
	require.NoError(f.t, err)
	return own.hub
}
