package e2e

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ketches/helm-operator/services/internal/faultproxy"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

func TestSurvivesAnAPIServerThatMisbehaves(t *testing.T) {
	s := newStory(t)
	s.repository("charts", newChartRepository(t, stageChart()).URL)
	s.withoutSharedOperator()
	door := s.door(s.sharedServer())
	s.keepUp(s.operatorBehind("operator-misserved", door.URL(), door.Authority()))

	c := newChaos(t, 3)
	for i, fault := range misservices(c) {
		t.Run(fault.name, func(t *testing.T) {
			sub := *s
			sub.T, sub.ctx = t, t.Context()
			for k := range max(1, c.points/10) {
				sub.misserved(c, door, fault, 10*i+k)
			}
		})
	}
}

// misservice is a way in which an API server misbehaves.
type misservice struct {
	name  string
	share float64 // of the requests that it meets
	reads bool    // meets reads, too
	faultproxy.Fault
}

// misservices returns a few ways, or all of them.
func misservices(c chaos) []misservice {
	all := []misservice{
		{"429 with Retry-After", 0.5, true, faultproxy.Fault{Status: http.StatusTooManyRequests, RetryAfter: 1}},
		{"429", 0.3, true, faultproxy.Fault{Status: http.StatusTooManyRequests}},
		{"500", 0.3, true, faultproxy.Fault{Status: http.StatusInternalServerError}},
		{"503 always", 1, true, faultproxy.Fault{Status: http.StatusServiceUnavailable}},
		{"504 after silence", 0.2, false, faultproxy.Fault{Silent: true}},
		{"lost answers", 0.3, false, faultproxy.Fault{Lost: true}},
	}
	if c.all {
		return all
	}
	c.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(c.points, len(all))]
}

// misserved does every act while the API server misbehaves, until that was often enough, or for a few seconds.
func (s *story) misserved(c chaos, door *faultproxy.Proxy, way misservice, i int) {
	s.Helper()
	const faults, atMost = 40, 4 * time.Second
	r := newRound(i, way.name)
	for _, u := range r.subjects {
		// An upgrade that the API server makes fail may be rolled back; without that, it is tried again.
		u.disturbed, u.plain = true, u.act.name == "upgrade"
	}
	s.onStage(r.subjects...)
	var mu sync.Mutex // guards c
	var met atomic.Int32
	enough := make(chan struct{})
	door.Obey(func(request *http.Request) faultproxy.Fault {
		mu.Lock()
		hit := c.Float64() < way.share
		mu.Unlock()
		if !hit || spared(request) || (!way.reads && !faultproxy.Mutates(request)) {
			return faultproxy.Fault{}
		}
		if met.Add(1) == faults {
			close(enough)
		}
		return way.Fault
	})
	defer door.Obey(nil)
	for _, u := range r.subjects {
		u.begin(s, u.name)
	}
	select {
	case <-enough:
	case <-time.After(atMost):
	}
	assert.Positive(s, met.Load(), "nothing was disturbed")
	door.Obey(nil)
	for _, u := range r.subjects {
		s.settle(u)
		suite.survived.count("API server: "+way.name, u.act.name, true, !s.Failed())
	}
}

// spared reports that a request is for the lease, without which the operator ends as it should, or is a watch, which would
// not notice.
func spared(request *http.Request) bool {
	return strings.Contains(request.URL.Path, "/leases") || request.URL.Query().Get("watch") != ""
}

// An operator whose API server is away for long loses its lease, ends, and is started again. Whether it does when the API server comes
// back at once depends on the machine; every second time it is away until that has happened.
func TestSurvivesAnAPIServerThatIsKilled(t *testing.T) {
	c := newChaos(t, 1)
	s := newStory(t)
	s.repository("charts", newChartRepository(t, stageChart()).URL)
	s.withoutSharedOperator()
	server, url, err := suite.APIServer("kube-apiserver-2")
	require.NoError(t, err)
	require.NoError(t, server.Start(t.Context()))
	t.Cleanup(func() {
		assert.NoError(t, server.Kill())
		if t.Failed() {
			t.Logf("--- last lines of %s ---\n%s", server.Name, server.LogTail(4000))
		}
	})
	starts := s.keepUp(s.operatorBehind("operator-unserved", url, s.sharedAuthority()))

	rounds := pointsInTime(c, max(2, c.points/5))
	for _, r := range rounds {
		for _, u := range r.subjects {
			u.disturbed, u.plain = true, u.act.name == "upgrade"
		}
	}
	usual := s.prepare(rounds)
	for i, r := range rounds {
		s.at(t, r.subjects, r.fractions, usual)
		before := starts.Load()
		require.NoError(t, server.Kill())
		atWork := s.atWork(r.subjects)
		what := "API server: kill -9"
		if i%2 == 1 {
			what = "API server: kill -9, lease lost"
			require.Eventually(t, func() bool { return starts.Load() > before }, patience, 50*time.Millisecond, "the operator never ended")
		}
		require.NoError(t, server.Start(t.Context()))
		for k, u := range r.subjects {
			s.settle(u)
			suite.survived.count(what, u.act.name, atWork[k], !t.Failed())
		}
	}
}

// withoutSharedOperator ends the operator of all stories for the time of this one.
func (s *story) withoutSharedOperator() {
	s.Helper()
	require.NoError(s, suite.operator.Terminate(gracePeriod))
	s.Cleanup(func() { assert.NoError(s, suite.operator.Start(context.Background())) })
}

// sharedServer and sharedAuthority are the address of the stack's API server and its certificate authority.
func (s *story) sharedServer() string { return suite.config.Host }

func (s *story) sharedAuthority() []byte { return suite.config.CAData }

// door puts a proxy before an API server of the stack.
func (s *story) door(server string) *faultproxy.Proxy {
	s.Helper()
	proxy, err := faultproxy.Start(server, s.sharedAuthority())
	require.NoError(s, err)
	s.Cleanup(proxy.Close)
	return proxy
}

// operatorBehind describes an operator that works as the shipped ServiceAccount and knows another way to the API server.
func (s *story) operatorBehind(name, server string, authority []byte) *localstack.Service {
	s.Helper()
	config, err := clientcmd.LoadFromFile(suite.Info.Accounts["helm-operator"])
	require.NoError(s, err)
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.CertificateAuthorityData, cluster.CertificateAuthority = server, authority, ""
	}
	file := filepath.Join(s.TempDir(), name+".kubeconfig")
	require.NoError(s, clientcmd.WriteToFile(*config, file))
	operator, err := suite.Operator(name, suite.chartcache.GRPC, "--kubeconfig", file)
	require.NoError(s, err)
	return operator
}

// keepUp starts an operator, and starts it again a second after each end, as a kubelet does, until the test ends. It returns how often
// it did.
func (s *story) keepUp(operator *localstack.Service) (starts *atomic.Int32) {
	s.Helper()
	starts = &atomic.Int32{}
	require.NoError(s, operator.Start(s.ctx))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if operator.AwaitEnd(100*time.Millisecond) != nil {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
				assert.NoError(s, operator.Launch())
				starts.Add(1)
			}
		}
	}()
	s.Cleanup(func() {
		stop()
		<-done
		_ = operator.Terminate(gracePeriod) // it may have been started a moment ago, and not listen yet
		if s.Failed() {
			s.Logf("--- last lines of %s ---\n%s", operator.Name, operator.LogTail(4000))
		}
	})
	return starts
}
