package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/faultproxy"
)

func TestSurvivesALeaderThatIsFrozenAndThawed(t *testing.T) {
	c := newChaos(t, 1)
	s := newStory(t)
	s.repository("charts", newChartRepository(t, stageChart()).URL)
	s.withoutSharedOperator()
	for i := range max(1, c.points/6) {
		t.Run(fmt.Sprintf("point %d", i), func(t *testing.T) {
			sub := *s
			sub.T, sub.ctx = t, t.Context()
			sub.frozenLeader(c, i)
		})
	}
}

// frozenLeader freezes the leader in the middle of many operations until another one leads, and lets it go on beside it.
func (s *story) frozenLeader(c chaos, i int) {
	s.Helper()
	writes := &writesOf{}
	door := s.door(s.sharedServer())
	leader := s.operatorBehind(fmt.Sprintf("leader-%d", i), door.URL(), door.Authority())
	require.NoError(s, leader.Start(s.ctx))
	s.Cleanup(func() { _ = leader.Kill() }) // it has ended by itself, unless the test failed
	var rounds []*round
	var subjects []*subject
	for k := range 3 {
		r := newRound(10*i+k, "")
		rounds, subjects = append(rounds, r), append(subjects, r.subjects...)
	}
	s.onStage(subjects...)
	holder := s.leaseHolder()
	s.keepUp(s.operatorBehind(fmt.Sprintf("next-%d", i), s.sharedServer(), s.sharedAuthority()))

	frozen := make(chan struct{})
	writes.at(10+c.IntN(50), func() {
		assert.NoError(s, leader.Freeze())
		close(frozen)
	})
	door.Obey(writes.note)
	for _, r := range rounds {
		for _, u := range r.subjects {
			u.begin(s, u.name)
		}
	}
	select {
	case <-frozen:
	case <-time.After(patience):
		require.Fail(s, "the leader never wrote enough to be frozen")
	}
	atWork := s.atWork(subjects)
	assert.Contains(s, atWork, true, "the leader must be frozen at work")
	require.Eventually(s, func() bool { return s.leaseHolder() != holder }, patience, 20*time.Millisecond, "nobody took over")

	writes.forget()
	require.NoError(s, leader.Thaw())
	require.NoError(s, leader.AwaitEnd(gracePeriod), "a leader that lost its lease must end")
	assert.Empty(s, writes.all(), "the old leader wrote after its lease had ended")
	for k, u := range subjects {
		s.settle(u)
		suite.survived.count("leader frozen", u.act.name, atWork[k], !s.Failed())
	}
}

// leaseHolder returns who leads.
func (s *story) leaseHolder() string {
	s.Helper()
	lease := &coordinationv1.Lease{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: "ketches", Name: v1alpha1.GroupName}, lease))
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// writesOf notes the mutating requests of a client, those for its lease aside. It is safe for concurrent use.
type writesOf struct {
	mu      sync.Mutex
	seen    []string
	trigger int
	then    func()
}

// at calls then once at the beginning of the nth request.
func (w *writesOf) at(nth int, then func()) { w.trigger, w.then = nth, then }

// note is a rule that passes everything on.
func (w *writesOf) note(request *http.Request) faultproxy.Fault {
	if !faultproxy.Mutates(request) || strings.Contains(request.URL.Path, "/leases") {
		return faultproxy.Fault{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, request.Method+" "+request.URL.Path)
	if len(w.seen) == w.trigger {
		w.then()
	}
	return faultproxy.Fault{}
}

// forget drops what was noted; nothing is triggered any more.
func (w *writesOf) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen, w.trigger = nil, 0
}

func (w *writesOf) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.seen...)
}
