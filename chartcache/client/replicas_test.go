package client

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// replica is a real server on a loopback port that can be killed and come back.
type replica struct {
	t       *testing.T
	address string
	fake    *fakeServer
	calls   atomic.Int32 // of GetRepository and ListRepositories

	server  *grpc.Server
	serving sync.WaitGroup
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	r := &replica{t: t, address: "127.0.0.1:0"}
	r.fake = &fakeServer{
		getRepository: func(context.Context, *chartcachev1.GetRepositoryRequest) (*chartcachev1.GetRepositoryResponse, error) {
			r.calls.Add(1)
			return &chartcachev1.GetRepositoryResponse{Repository: &chartcachev1.Repository{Url: r.address}}, nil
		},
		listRepositories: func(*chartcachev1.ListRepositoriesRequest) (*chartcachev1.ListRepositoriesResponse, error) {
			r.calls.Add(1)
			return &chartcachev1.ListRepositoriesResponse{}, nil
		},
	}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *replica) start() {
	r.t.Helper()
	listener, err := net.Listen("tcp", r.address)
	require.NoError(r.t, err)
	r.address = listener.Addr().String()
	r.server = grpc.NewServer()
	chartcachev1.RegisterChartCacheServiceServer(r.server, r.fake)
	r.serving.Go(func() { _ = r.server.Serve(listener) })
}

// kill cuts all connections, as a crash does, and frees the port.
func (r *replica) kill() {
	r.server.Stop()
	r.serving.Wait()
}

// replicas are servers behind one name.
type replicas struct {
	all  []*replica
	name *manual.Resolver
}

func newReplicas(t *testing.T, count int) *replicas {
	t.Helper()
	r := &replicas{name: manual.NewBuilderWithScheme("replicas")}
	for range count {
		r.all = append(r.all, newReplica(t))
	}
	r.name.InitialState(r.state())
	return r
}

func (r *replicas) state() resolver.State {
	var state resolver.State
	for _, one := range r.all {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: one.address}}})
	}
	return state
}

func (r *replicas) dial(t *testing.T) *Client {
	t.Helper()
	client, err := newClient(Config{Target: "replicas:///chartcache", Backoff: instantly()}, grpc.WithResolvers(r.name))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// at returns the replica with an address.
func (r *replicas) at(t *testing.T, address string) *replica {
	t.Helper()
	for _, one := range r.all {
		if one.address == address {
			return one
		}
	}
	require.FailNow(t, "no replica has this address", address)
	return nil
}

// where asks for repositories and returns the address of the replica that answered for each.
func where(t *testing.T, client *Client, count int) map[Source]string {
	t.Helper()
	addresses := map[Source]string{}
	for i := range count {
		source := Named("apps", fmt.Sprintf("charts-%d", i))
		got, err := client.GetRepository(testContext(t), source)
		require.NoError(t, err)
		addresses[source] = got.URL
	}
	return addresses
}

func TestEveryClientAsksTheSameReplicaForOneRepositoryAndAllReplicasForMany(t *testing.T) {
	servers := newReplicas(t, 3)
	first := servers.dial(t)
	addresses := where(t, first, 60)
	assert.Equal(t, addresses, where(t, first, 60))
	assert.Equal(t, addresses, where(t, servers.dial(t), 60))
	share := map[string]int{}
	for _, address := range addresses {
		share[address]++
	}
	for _, one := range servers.all {
		assert.Greater(t, share[one.address], 5, "%v", share)
	}
}

func TestCallsAboutNoRepositoryStayWithOneReplicaForOneClient(t *testing.T) {
	servers := newReplicas(t, 3)
	client := servers.dial(t)
	for range 12 {
		_, err := client.ListRepositories(testContext(t), "")
		require.NoError(t, err)
	}
	var most int32
	for _, one := range servers.all {
		most = max(most, one.calls.Load())
	}
	assert.Equal(t, int32(12), most)
}

func TestAReplicaThatIsAwayIsCoveredForUntilItIsBack(t *testing.T) {
	servers := newReplicas(t, 3)
	client := servers.dial(t)
	before := where(t, client, 30)
	gone := servers.at(t, before[Named("apps", "charts-0")])
	gone.kill()
	for source, address := range where(t, client, 30) {
		if before[source] == gone.address {
			assert.NotEqual(t, gone.address, address)
		} else {
			assert.Equal(t, before[source], address, "only what was at the lost replica moves")
		}
	}
	gone.start()
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(before, where(t, client, 30)) }, 20*time.Second, time.Millisecond)
}

func TestANewReplicaTakesItsShareAndMostRepositoriesStay(t *testing.T) {
	servers := newReplicas(t, 3)
	client := servers.dial(t)
	before := where(t, client, 60)
	added := newReplica(t)
	servers.all = append(servers.all, added)
	servers.name.UpdateState(servers.state())
	var after map[Source]string
	require.Eventually(t, func() bool {
		after = where(t, client, 60)
		return added.calls.Load() > 0
	}, 20*time.Second, time.Millisecond)
	moved := 0
	for source, address := range after {
		if address != before[source] {
			moved++
		}
	}
	// A quarter goes to the new one, and the ring shifts a little.
	assert.Less(t, moved, 40, "of 60")
}

func TestADownloadGoesOnAtAnotherReplicaWhenItsOwnDies(t *testing.T) {
	servers := newReplicas(t, 3)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	source := Named("apps", "charts")
	var offsets []int64
	var lock sync.Mutex
	for _, one := range servers.all {
		one.fake.download = func(r *chartcachev1.DownloadChartRequest, s downloadStream) error {
			lock.Lock()
			offsets = append(offsets, r.GetOffsetBytes())
			isFirst := len(offsets) == 1
			lock.Unlock()
			if !isFirst {
				return send(s, header(data), chunk(data[r.GetOffsetBytes():]))
			}
			if err := send(s, header(data), chunk(data[:4000])); err != nil {
				return err
			}
			<-s.Context().Done()
			return s.Context().Err()
		}
	}
	client := servers.dial(t)
	got, err := client.GetRepository(testContext(t), source)
	require.NoError(t, err)
	w := &killingWriter{at: 4000, kill: servers.at(t, got.URL).kill}
	downloaded, err := client.Download(testContext(t), ChartRequest{Source: source, Chart: "web"}, w)
	require.NoError(t, err)
	assert.Equal(t, data, w.Bytes())
	assert.Equal(t, []int64{0, 4000}, offsets)
	assert.Equal(t, []Downloaded{downloaded}, w.announced, "once, whatever the number of streams")
}

// killingWriter runs kill when it has received a number of bytes.
type killingWriter struct {
	bytes.Buffer
	at        int
	kill      func()
	announced []Downloaded
}

func (w *killingWriter) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.Len() == w.at {
		w.kill()
	}
	return n, err
}

func (w *killingWriter) Announce(d Downloaded) { w.announced = append(w.announced, d) }

func TestAReplicaThatTakesADownloadOverSyncsOnceWhereItIsBehind(t *testing.T) {
	data := []byte("0123456789")
	for name, test := range map[string]struct {
		syncs bool // and then has the chart
		want  Reason
	}{
		"it catches up":                   {syncs: true},
		"the chart is gone from upstream": {syncs: false, want: chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND},
	} {
		t.Run(name, func(t *testing.T) {
			streams, synced := 0, 0
			var affinities [][]string
			note := func(ctx context.Context) {
				md, _ := metadata.FromIncomingContext(ctx)
				affinities = append(affinities, md.Get(affinityHeader))
			}
			client := start(t, &fakeServer{
				sync: func(*chartcachev1.SyncRepositoryRequest) (*chartcachev1.SyncRepositoryResponse, error) {
					synced++
					return &chartcachev1.SyncRepositoryResponse{}, nil
				},
				download: func(r *chartcachev1.DownloadChartRequest, s downloadStream) error {
					note(s.Context())
					switch streams++; {
					case streams == 1:
						if err := send(s, header(data), chunk(data[:4])); err != nil {
							return err
						}
						return lost()
					case synced == 0 || !test.syncs:
						return answered(t, codes.NotFound, "VERSION_NOT_FOUND", "there is no such version", 0)
					}
					return send(s, header(data), chunk(data[r.GetOffsetBytes():]))
				},
			})
			var got bytes.Buffer
			_, err := client.Download(testContext(t), ChartRequest{Source: Named("apps", "charts"), Chart: "web"}, &got)
			assert.Equal(t, test.want, ReasonOf(err), "%v", err)
			assert.Equal(t, test.syncs, err == nil)
			assert.Equal(t, 1, synced)
			assert.Equal(t, 3, streams)
			for _, affinity := range affinities {
				assert.Equal(t, []string{client.affinity(Named("apps", "charts"))}, affinity)
			}
		})
	}
}

func TestAWatchGoesBackToItsOwnReplicaAndToAnotherWhenThatIsAway(t *testing.T) {
	servers := newReplicas(t, 3)
	type opened struct {
		at    *replica
		token string
		end   chan struct{}
	}
	streams := make(chan opened, 10)
	for _, one := range servers.all {
		one.fake.watch = func(r *chartcachev1.WatchRepositoriesRequest, s watchStream) error {
			o := opened{at: one, token: r.GetResumeToken(), end: make(chan struct{})}
			if err := s.Send(bookmark(true, "of "+one.address)); err != nil {
				return err
			}
			streams <- o
			select {
			case <-o.end:
				return lost()
			case <-s.Context().Done():
				return s.Context().Err()
			}
		}
	}
	client := servers.dial(t)
	ctx, cancel := context.WithCancel(testContext(t))
	var watching sync.WaitGroup
	watching.Go(func() { _ = client.Watch(ctx, func(Event) {}) })
	defer watching.Wait()
	defer cancel()

	first := <-streams
	assert.Empty(t, first.token)
	close(first.end)
	second := <-streams
	assert.Equal(t, first.at.address, second.at.address, "its token is worth something there only")
	assert.Equal(t, "of "+first.at.address, second.token)
	first.at.kill()
	third := <-streams
	assert.NotEqual(t, first.at.address, third.at.address)
	assert.Equal(t, "of "+first.at.address, third.token)
}
