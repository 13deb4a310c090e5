package controller

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// patience bounds every wait of a test; it is far above what any takes.
const patience = time.Minute

// suite is a real API server, with no controllers behind it but ours, whose chartcache is a fake. It is started by the
// first test that needs it and shared by all, each in a namespace of its own.
type suite struct {
	once sync.Once
	err  error

	env     *envtest.Environment
	client  kube.Client
	cache   *fakeCache
	known   kube.Reader // the manager's cache
	metrics *prometheus.Registry
	stop    context.CancelFunc
	ended   chan error
}

var shared suite

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
	}
	os.Exit(code)
}

func (s *suite) start() error {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return errors.New("KUBEBUILDER_ASSETS is not set: it must name the folder with etcd, kube-apiserver and kubectl")
	}
	s.env = &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("..", "..", "deploy", "crds")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	config, err := s.env.Start()
	if err != nil {
		return err
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if s.client, err = kube.New(config, kube.Options{Scheme: scheme}); err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0", Logger: logf.Log,
	})
	if err != nil {
		return err
	}
	helmClient, err := helm.New(helm.Config{REST: config, Poll: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	s.cache, s.known, s.metrics = newFakeCache(), manager.GetCache(), prometheus.NewRegistry()
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.ended = stop, make(chan error, 1)
	if err := Setup(ctx, manager, Options{ChartCache: s.cache, Helm: helmClient, Registry: s.metrics}); err != nil {
		return err
	}
	go func() { s.ended <- manager.Start(ctx) }()
	return nil
}

func (s *suite) close() error {
	if s.stop != nil {
		s.stop()
	}
	var err error
	if s.ended != nil {
		err = <-s.ended
	}
	if s.env != nil {
		err = errors.Join(err, s.env.Stop())
	}
	return err
}

// bench is a test with a namespace of its own.
type bench struct {
	*testing.T
	kube.Client
	ctx       context.Context
	namespace string
	cache     *fakeCache
}

func newBench(t *testing.T) *bench {
	t.Helper()
	shared.once.Do(func() { shared.err = shared.start() })
	require.NoError(t, shared.err)
	b := &bench{T: t, Client: shared.client, ctx: t.Context(), cache: shared.cache}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	require.NoError(t, b.Create(b.ctx, namespace))
	b.namespace = namespace.Name
	t.Cleanup(func() {
		if t.Failed() {
			b.explain()
		}
	})
	return b
}

func (b *bench) explain() {
	ctx := context.Background()
	releases := &v1alpha1.HelmReleaseList{}
	if b.List(ctx, releases, kube.InNamespace(b.namespace)) == nil {
		for i := range releases.Items {
			b.Logf("release %s: %+v", releases.Items[i].Name, releases.Items[i].Status)
		}
	}
	events := &corev1.EventList{}
	if b.List(ctx, events, kube.InNamespace(b.namespace)) == nil {
		for i := range events.Items {
			b.Logf("event %s %s: %s", events.Items[i].InvolvedObject.Name, events.Items[i].Reason, events.Items[i].Message)
		}
	}
}

// repository makes a HelmRepository.
func (b *bench) repository(name string) *v1alpha1.HelmRepository {
	b.Helper()
	repository := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name},
		Spec:       v1alpha1.HelmRepositorySpec{URL: "https://charts.example.com/" + b.namespace + "/" + name},
	}
	require.NoError(b, b.Create(b.ctx, repository))
	return repository
}

// release makes a HelmRelease of the chart web from the HelmRepository "charts", changed by the edits.
func (b *bench) release(name string, edits ...func(*v1alpha1.HelmRelease)) *v1alpha1.HelmRelease {
	b.Helper()
	release := &v1alpha1.HelmRelease{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name},
		Spec: v1alpha1.HelmReleaseSpec{
			Chart: v1alpha1.ChartSpec{Name: "web", Repository: &v1alpha1.RepositoryReference{Name: "charts"}},
		},
	}
	for _, edit := range edits {
		edit(release)
	}
	require.NoError(b, b.Create(b.ctx, release))
	return release
}

// edit changes an object as kubectl edit does.
func (b *bench) edit(object kube.Object, change func()) {
	b.Helper()
	require.Eventually(b, func() bool {
		require.NoError(b, b.Get(b.ctx, kube.ObjectKeyFromObject(object), object))
		change()
		err := b.Update(b.ctx, object)
		if !apierrors.IsConflict(err) {
			require.NoError(b, err)
		}
		return err == nil
	}, patience, 10*time.Millisecond)
}

// until waits until a release is as check wants it.
func (b *bench) until(name string, check func(*v1alpha1.HelmRelease) error) *v1alpha1.HelmRelease {
	b.Helper()
	release := &v1alpha1.HelmRelease{}
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		require.NoError(c, b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: name}, release))
		require.NoError(c, check(release))
	}, patience, 20*time.Millisecond)
	return release
}

func ready(r *v1alpha1.HelmRelease) error {
	return readyIs(r.Status.Conditions, r.Generation, metav1.ConditionTrue, "")
}

func notReady(reason string) func(*v1alpha1.HelmRelease) error {
	return func(r *v1alpha1.HelmRelease) error {
		return readyIs(r.Status.Conditions, r.Generation, metav1.ConditionFalse, reason)
	}
}

// atRevision wants a release to be Ready at a revision of Helm.
func atRevision(revision int) func(*v1alpha1.HelmRelease) error {
	return func(r *v1alpha1.HelmRelease) error {
		if r.Status.HelmRelease == nil || r.Status.HelmRelease.Revision != revision {
			return fmt.Errorf("deployed is %+v, want revision %d", r.Status.HelmRelease, revision)
		}
		return ready(r)
	}
}

func readyIs(conditions []metav1.Condition, generation int64, status metav1.ConditionStatus, reason string) error {
	condition := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case condition == nil:
		return errors.New("no Ready condition yet")
	case condition.ObservedGeneration != generation:
		return fmt.Errorf("the Ready condition is of generation %d, want %d", condition.ObservedGeneration, generation)
	case condition.Status != status || (reason != "" && condition.Reason != reason):
		return fmt.Errorf("the Ready condition is %s, %s: %s; want %s %s", condition.Status, condition.Reason, condition.Message, status, reason)
	}
	return nil
}

// repositoryUntil waits until the Ready condition of a repository is as wanted.
func (b *bench) repositoryUntil(name string, status metav1.ConditionStatus, reason string) *v1alpha1.HelmRepository {
	b.Helper()
	repository := &v1alpha1.HelmRepository{}
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		require.NoError(c, b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: name}, repository))
		require.NoError(c, readyIs(repository.Status.Conditions, repository.Generation, status, reason))
	}, patience, 20*time.Millisecond)
	return repository
}

// event waits for an event, found as `kubectl get events --field-selector involvedObject.name=NAME` finds it.
func (b *bench) event(object, kind, reason string) corev1.Event {
	b.Helper()
	events := &corev1.EventList{}
	require.EventuallyWithT(b, func(c *assert.CollectT) {
		require.NoError(c, b.List(b.ctx, events, kube.InNamespace(b.namespace),
			kube.MatchingFields{"involvedObject.name": object, "reason": reason, "type": kind}))
		require.NotEmpty(c, events.Items, "no %s event %s on %s", kind, reason, object)
	}, patience, 20*time.Millisecond)
	return events.Items[len(events.Items)-1]
}

// message is what the ConfigMap of the chart web holds.
func (b *bench) message(namespace, name string) string {
	b.Helper()
	object := &corev1.ConfigMap{}
	require.NoError(b, b.Get(b.ctx, kube.ObjectKey{Namespace: namespace, Name: name}, object))
	return object.Data["message"]
}

func (b *bench) gone(object kube.Object) {
	b.Helper()
	require.Eventually(b, func() bool {
		return apierrors.IsNotFound(b.Get(b.ctx, kube.ObjectKeyFromObject(object), object))
	}, patience, 20*time.Millisecond)
}

// webChart is a chart with a ConfigMap and, where asked for, a Deployment: without controllers that is never ready.
func webChart(t *testing.T, version string) []byte {
	t.Helper()
	return tarball(t, map[string]string{
		"web/Chart.yaml":  "apiVersion: v2\nname: web\nversion: " + version + "\nappVersion: \"1\"\n",
		"web/values.yaml": "message: hello\nworkload: false\n",
		"web/templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {message: {{ .Values.message | quote }}}
`,
		"web/templates/workload.yaml": `{{ if .Values.workload }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: web, image: "example.invalid/web:1"}]}
{{ end }}
`,
	})
}

func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	zipper := gzip.NewWriter(&buffer)
	archive := tar.NewWriter(zipper)
	for name, content := range files {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := archive.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipper.Close())
	return buffer.Bytes()
}
