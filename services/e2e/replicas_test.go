package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

// replicas are three chartcache processes with disks of their own behind one DNS name.
type replicas struct {
	t      *testing.T
	all    []*localstack.Service
	target string // by name; a client balances over all
}

// newReplicas starts them on one port of three loopback addresses.
func newReplicas(t *testing.T) *replicas {
	t.Helper()
	addresses := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}
	port := freePort(t, addresses)
	r := &replicas{t: t}
	dir := t.TempDir()
	for i, address := range addresses {
		name := fmt.Sprintf("chartcache-%d", i)
		at := netip.AddrPortFrom(address, port).String()
		service, err := suite.Chartcache(name, filepath.Join(dir, name), "--kubeconfig", suite.Info.Accounts["chartcache"], "--grpc-bind-address", at)
		require.NoError(t, err)
		service.GRPC = at
		r.all = append(r.all, service)
		t.Cleanup(func() {
			assert.NoError(t, service.Kill())
			if t.Failed() {
				t.Logf("--- last lines of %s ---\n%s", name, service.LogTail(3000))
			}
		})
		require.NoError(t, service.Launch())
	}
	for _, service := range r.all {
		require.NoError(t, service.AwaitReady(t.Context()))
	}
	r.target = fmt.Sprintf("dns://%s/chartcache.test:%d", serveName(t, "chartcache.test", addresses...), port)
	return r
}

// freePort returns a port that is free on all addresses.
func freePort(t *testing.T, addresses []netip.Addr) uint16 {
	t.Helper()
	for range 100 {
		var port uint16 // any on the first address, and the same on the others
		for _, address := range addresses {
			listener, err := net.Listen("tcp", netip.AddrPortFrom(address, port).String())
			if err != nil {
				port = 0
				break
			}
			at, err := netip.ParseAddrPort(listener.Addr().String())
			require.NoError(t, err)
			require.NoError(t, listener.Close())
			port = at.Port()
		}
		if port != 0 {
			return port
		}
	}
	require.FailNow(t, "no port is free on all addresses")
	return 0
}

// caller is a client that knows which replicas it is connected to.
type caller struct {
	*client.Client
	mu     sync.Mutex
	dialed []string
}

func (r *replicas) dial(target string) *caller {
	r.t.Helper()
	c := &caller{}
	var err error
	c.Client, err = client.New(client.Config{Target: target, Dialer: func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.dialed = append(c.dialed, address)
		}
		return conn, err
	}})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { assert.NoError(r.t, c.Close()) })
	return c
}

// only returns the one replica that a caller is connected to.
func (r *replicas) only(c *caller) *localstack.Service {
	r.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(r.t, c.dialed, 1)
	for _, service := range r.all {
		if service.GRPC == c.dialed[0] {
			return service
		}
	}
	require.FailNow(r.t, "no replica has this address", c.dialed[0])
	return nil
}

// revive starts the replicas that were killed.
func (r *replicas) revive() {
	r.t.Helper()
	for _, service := range r.all {
		if !service.Running() {
			require.NoError(r.t, service.Start(r.t.Context()))
		}
	}
}

// quietRepository applies a HelmRepository that syncs by itself once.
func (s *story) quietRepository(name, url string) client.Source {
	s.Helper()
	require.NoError(s, s.Create(s.ctx, &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url, Interval: "24h", Timeout: "10s"},
	}))
	return client.Named(s.namespace, name)
}

// largeChart is a chart of about 16 MB that does not compress well.
func largeChart() chart {
	c := chart{name: "large", version: "1.0.0", files: map[string]string{}}
	random := rand.NewChaCha8([32]byte{})
	for i := range 4 {
		data := make([]byte, 3<<20)
		_, _ = random.Read(data) // never fails
		c.files[fmt.Sprintf("files/%d.txt", i)] = base64.StdEncoding.EncodeToString(data)
	}
	return c
}

// killer is a writer that runs kill when it has received a number of bytes.
type killer struct {
	bytes.Buffer
	after int
	kill  func()
}

func (k *killer) Write(p []byte) (int, error) {
	n, err := k.Buffer.Write(p)
	if k.kill != nil && k.Len() >= k.after {
		k.kill()
		k.kill = nil
	}
	return n, err
}

func TestReplicasCoverForEachOther(t *testing.T) {
	s := newStory(t)
	large, web := largeChart(), webChart("1.0.0")
	repo := newChartRepository(t, large, web)
	source := s.quietRepository("charts", repo.URL)
	r := newReplicas(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	t.Run("any answers for any repository", func(t *testing.T) {
		for _, service := range r.all {
			direct := r.dial(service.GRPC)
			require.Eventually(t, func() bool {
				list, err := direct.ListCharts(ctx, source, client.ListChartsOptions{})
				return err == nil && len(list.Charts) == 2
			}, patience, 50*time.Millisecond)
			var got bytes.Buffer
			_, err := direct.Download(ctx, client.ChartRequest{Source: source, Chart: "web"}, &got)
			require.NoError(t, err)
			assert.Equal(t, web.tarball(t), got.Bytes())
		}
	})
	t.Run("a download goes on when its replica is killed", func(t *testing.T) {
		caller := r.dial(r.target)
		w := &killer{after: 1 << 20, kill: func() { require.NoError(t, r.only(caller).Kill()) }}
		_, err := caller.Download(ctx, client.ChartRequest{Source: source, Chart: "large"}, w)
		require.NoError(t, err)
		assert.Nil(t, w.kill, "a replica was killed")
		assert.True(t, bytes.Equal(large.tarball(t), w.Bytes()))
		_, err = caller.Resolve(ctx, client.ChartRequest{Source: source, Chart: "web"})
		require.NoError(t, err)
		r.revive()
	})
	t.Run("a replica that lacks the revision syncs first", func(t *testing.T) {
		repo.publish(t, webChart("1.1.0"))
		synced, err := r.dial(r.all[0].GRPC).Sync(ctx, source)
		require.NoError(t, err)
		require.True(t, synced.Changed)
		for _, service := range r.all[1:] {
			direct := r.dial(service.GRPC)
			resolved, err := direct.Resolve(ctx, client.ChartRequest{Source: source, Chart: "web"})
			require.NoError(t, err)
			assert.Equal(t, "1.0.0", resolved.Version.Version, "nobody told it")
			resolved, err = direct.Resolve(ctx, client.ChartRequest{Source: source, Chart: "web", MinRevision: synced.Repository.Revision})
			require.NoError(t, err)
			assert.Equal(t, "1.1.0", resolved.Version.Version)
		}
	})
	t.Run("a watch goes on when its replica is killed", func(t *testing.T) {
		watchAcrossAKill(ctx, t, r, source, func() {
			repo.publish(t, webChart("1.2.0"))
			for _, service := range r.all {
				if service.Running() {
					_, err := r.dial(service.GRPC).Sync(ctx, source)
					assert.NoError(t, err)
				}
			}
		})
		r.revive()
	})
}

// watchAcrossAKill watches, kills the replica that is watched, and wants to be told of what change does then.
func watchAcrossAKill(ctx context.Context, t *testing.T, r *replicas, source client.Source, change func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	caller := r.dial(r.target)
	synced := 0 // a first try at another replica may do, so that nobody is told of a loss
	before, told := int64(0), false
	_ = caller.Watch(ctx, func(event client.Event) {
		switch e := event.(type) {
		case *client.Deleted:
			assert.NotEqual(t, source, e.Source, "no replica may be taken for the loss of a repository")
		case *client.Synced:
			if synced++; synced == 1 {
				assert.NoError(t, r.only(caller).Kill())
			} else {
				change()
			}
		case *client.Changed:
			if e.Repository.Source != source {
				return
			}
			if before == 0 {
				before = e.Repository.VersionCount
			}
			if e.Repository.VersionCount > before {
				told = true
				cancel()
			}
		}
	})
	assert.Equal(t, 2, synced)
	assert.True(t, told)
}

func TestTheStatusNeverGoesBackWhileReplicasDiffer(t *testing.T) {
	s := newStory(t)
	repo := newChartRepository(t, webChart("1.0.0"))
	r := newReplicas(t)
	require.NoError(t, suite.operator.Terminate(30*time.Second))
	operator, err := suite.Operator("operator-replicas", r.target)
	require.NoError(t, err)
	require.NoError(t, operator.Start(t.Context()))
	t.Cleanup(func() {
		assert.NoError(t, operator.Terminate(30*time.Second))
		assert.NoError(t, suite.operator.Start(context.Background()))
	})
	source := s.quietRepository("charts", repo.URL)
	s.repositoryUntil("charts", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
	s.apply(s.release("app"))
	s.until("app", readyAt("web-1.0.0"))

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	history := observeStatus(ctx, s, "charts")
	// Versions appear while each replica learns of them at another time, and one is killed and comes back with what it had.
	for i := range 3 {
		version := fmt.Sprintf("1.%d.0", i+1)
		repo.publish(t, webChart(version))
		require.NoError(t, r.all[i].Kill())
		for _, service := range r.all {
			if service.Running() {
				_, err := r.dial(service.GRPC).Sync(ctx, source)
				require.NoError(t, err)
			}
		}
		s.until("app", readyAt("web-"+version))
		r.revive()
		require.Eventually(t, func() bool { return history.newest() == i+2 }, patience, 20*time.Millisecond, "the status has version %s", version)
	}
	seen := history.end()
	for i := 1; i < len(seen); i++ {
		assert.GreaterOrEqual(t, seen[i].versions, seen[i-1].versions, "an older revision came back")
		assert.False(t, seen[i].observedAt.Before(seen[i-1].observedAt), "observed at %s after %s", seen[i].observedAt, seen[i-1].observedAt)
	}
}

// look is what a status said at a moment.
type look struct {
	versions   int
	observedAt time.Time
}

// history is what a status said, each time that it changed.
type history struct {
	mu    sync.Mutex
	looks []look
	stop  func()
}

// observeStatus watches the status of a HelmRepository until end.
func observeStatus(ctx context.Context, s *story, name string) *history {
	s.Helper()
	watcher, err := kube.NewWithWatch(suite.config, kube.Options{Scheme: suite.client.Scheme()})
	require.NoError(s, err)
	events, err := watcher.Watch(ctx, &v1alpha1.HelmRepositoryList{}, kube.InNamespace(s.namespace), kube.MatchingFields{"metadata.name": name})
	require.NoError(s, err)
	h := &history{}
	var watching sync.WaitGroup
	watching.Go(func() {
		for event := range events.ResultChan() {
			if repository, ok := event.Object.(*v1alpha1.HelmRepository); ok {
				h.add(&repository.Status)
			}
		}
	})
	h.stop = func() {
		events.Stop()
		watching.Wait()
	}
	return h
}

func (h *history) add(status *v1alpha1.HelmRepositoryStatus) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if status.Stats != nil && status.RevisionObservedAt != nil {
		h.looks = append(h.looks, look{status.Stats.TotalVersions, status.RevisionObservedAt.Time})
	}
}

// newest returns the number of versions that the status has now.
func (h *history) newest() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.looks) == 0 {
		return 0
	}
	return h.looks[len(h.looks)-1].versions
}

// end stops and returns what was seen.
func (h *history) end() []look {
	h.stop()
	return h.looks
}
