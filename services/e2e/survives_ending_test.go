package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/fence"
)

// gracePeriod is how long a Pod of the operator has to end.
const gracePeriod = 30 * time.Second

func TestSurvivesAKillAtAnyPoint(t *testing.T) {
	survive(t, disturbance{name: "kill -9", strike: func(s *story, _ []*subject) {
		require.NoError(s, suite.operator.Kill())
		s.endLease()
	}, ends: true})
}

// logSince returns what the operator logged since it said something for the last time.
func (s *story) logSince(message string) string {
	s.Helper()
	log := suite.operator.LogTail(64 << 20)
	begin := strings.LastIndex(log, fmt.Sprintf(`"message":%q`, message))
	require.GreaterOrEqual(s, begin, 0, "the log does not say %q", message)
	return log[begin:]
}

// endLease ends the lease of a killed leader, which would end by itself, 15 s later. That wait is all that is saved.
func (s *story) endLease() {
	s.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "ketches", Name: v1alpha1.GroupName}}
	require.NoError(s, client.IgnoreNotFound(s.Delete(s.ctx, lease)))
}

func TestSurvivesAShutdownAtAnyPoint(t *testing.T) {
	survive(t, disturbance{name: "SIGTERM", strike: func(s *story, _ []*subject) {
		require.NoError(s, suite.operator.Terminate(gracePeriod))
		if strings.Contains(s.logSince("starting"), fence.ErrLost.Error()) {
			return // the machine stood still for longer than the lease: then nothing is written any more, and the log says so
		}
		assert.NotContains(s, s.logSince("stopping"), `"level":"error"`)
		records := &corev1.SecretList{}
		require.NoError(s, s.List(s.ctx, records, client.InNamespace(s.namespace), client.MatchingLabels{"owner": "helm"}))
		for i := range records.Items {
			assert.False(s, strings.HasPrefix(records.Items[i].Labels["status"], "pending"),
				"%s is left pending", records.Items[i].Name)
		}
	}, ends: true})
}

func TestSurvivesANewerSpecAtAnyPoint(t *testing.T) {
	t.Parallel()
	survive(t, disturbance{name: "newer spec", strike: func(s *story, subjects []*subject) { s.sayNewer(subjects) }})
}

// sayNewer changes the message of those subjects that are to stay.
func (s *story) sayNewer(subjects []*subject) {
	s.Helper()
	for _, u := range subjects {
		if u.after != "" {
			s.say(u.name, newer)
			u.newer = true
		}
	}
}

// disturbance is what happens to the operator at a point.
type disturbance struct {
	name   string
	strike func(*story, []*subject)
	// ends reports that the operator has ended by it.
	ends bool
}

// round is one point: one of each act, all met by one disturbance.
type round struct {
	name     string
	subjects []*subject
	// fractions of the acts at which it strikes, unless there is a moment.
	fractions []float64
	moment    *moment
}

func newRound(i int, name string) *round {
	r := &round{name: name}
	for _, a := range acts() {
		r.subjects = append(r.subjects, &subject{act: a, name: fmt.Sprintf("%s-%d", a.name, i)})
	}
	return r
}

// survive lets a disturbance strike at many points of every act, and wants each act to come to its end by itself.
func survive(t *testing.T, d disturbance) {
	c := newChaos(t, 1)
	s := newStory(t)
	if d.ends {
		t.Cleanup(func() { assert.NoError(t, suite.restart(context.Background())) }) // if the story broke off
	}
	s.repository("charts", newChartRepository(t, stageChart()).URL)

	rounds := pointsInTime(c, c.points)
	for i, m := range c.some(3) {
		r := newRound(1+c.points+i, m.act+": "+m.name)
		r.moment = &m
		rounds = append(rounds, r)
	}
	usual := s.prepare(rounds)
	t.Logf("usual durations: %v", usual)
	for i, r := range rounds {
		t.Run(r.name, func(t *testing.T) {
			sub := *s
			sub.T, sub.ctx = t, t.Context()
			sub.round(t, d, r, usual, i)
		})
	}
}

// pointsInTime returns rounds that strike at points of time.
func pointsInTime(c chaos, points int) []*round {
	fractions := make([][]float64, len(acts()))
	for i := range fractions {
		fractions[i] = c.spread(points)
	}
	rounds := make([]*round, points)
	for point := range rounds {
		rounds[point] = newRound(1+point, fmt.Sprintf("time %d", point))
		for i := range fractions {
			rounds[point].fractions = append(rounds[point].fractions, fractions[i][point])
		}
	}
	return rounds
}

// prepare deploys what the acts of the rounds need, and returns how long each act takes undisturbed. The first story that asks does
// a round for that.
func (s *story) prepare(rounds []*round) map[string]time.Duration {
	s.Helper()
	var all []*subject
	calm := newRound(0, "calm")
	if suite.usual == nil {
		all = slices.Clone(calm.subjects)
	}
	for _, r := range rounds {
		all = append(all, r.subjects...)
	}
	s.onStage(all...)
	if suite.usual == nil {
		suite.usual = s.measure(calm.subjects)
	}
	return suite.usual
}

// measure does the acts undisturbed and returns how long they took.
func (s *story) measure(subjects []*subject) map[string]time.Duration {
	s.Helper()
	began := time.Now()
	for _, u := range subjects {
		u.begin(s, u.name)
	}
	usual := map[string]time.Duration{}
	require.Eventually(s, func() bool {
		for _, u := range subjects {
			if usual[u.act.name] == 0 && s.ended(u) == nil {
				usual[u.act.name] = time.Since(began)
			}
		}
		return len(usual) == len(subjects)
	}, patience, 10*time.Millisecond)
	for _, u := range subjects {
		s.settle(u)
	}
	return usual
}

// round is one strike. Every third time chartcache is killed, too, and every third time the spec changes before the operator
// is there again.
func (s *story) round(t *testing.T, d disturbance, r *round, usual map[string]time.Duration, i int) {
	if r.moment == nil {
		s.at(t, r.subjects, r.fractions, usual)
	} else {
		s.beginTowards(r)
	}
	var atWork []bool
	if !d.ends {
		atWork = s.atWork(r.subjects)
	}
	d.strike(s, r.subjects)
	if d.ends {
		atWork = s.atWork(r.subjects)
		if i%3 == 1 {
			require.NoError(t, suite.chartcache.Kill())
		}
		if i%3 == 2 {
			s.sayNewer(r.subjects)
		}
		s.restart()
	}
	for k, u := range r.subjects {
		s.settle(u)
		suite.survived.count(d.name, u.act.name, atWork[k], !t.Failed())
	}
}

// beginTowards begins the acts, the one with the moment last, and returns at the moment.
func (s *story) beginTowards(r *round) {
	s.Helper()
	var last *subject
	for _, u := range r.subjects {
		if u.act.name == r.moment.act {
			last = u
			continue
		}
		u.begin(s, u.name)
	}
	wait := s.await(r.moment, last.name)
	last.begin(s, last.name)
	wait()
}

// atWork reports which subjects the operator works on, or worked on when it ended.
func (s *story) atWork(subjects []*subject) []bool {
	s.Helper()
	releases := &v1alpha1.HelmReleaseList{}
	require.NoError(s, s.List(s.ctx, releases, client.InNamespace(s.namespace)))
	phases := map[string]v1alpha1.OperationPhase{}
	for i := range releases.Items {
		if operation := releases.Items[i].Status.Operation; operation != nil {
			phases[releases.Items[i].Name] = operation.Phase
		}
	}
	atWork := make([]bool, len(subjects))
	for i, u := range subjects {
		atWork[i] = phases[u.name] == v1alpha1.OperationRunning || phases[u.name] == v1alpha1.OperationInterrupted
	}
	return atWork
}

// restart starts the operator again, and chartcache if it does not run either.
func (s *story) restart() {
	s.Helper()
	require.NoError(s, suite.restart(s.ctx))
}

// restart starts those of the two services that do not run.
func (s *stack) restart(ctx context.Context) error {
	var errs []error
	if s.operator.Running() && s.chartcache.Running() {
		return nil
	}
	if !s.operator.Running() {
		errs = append(errs, s.operator.Launch())
	}
	if !s.chartcache.Running() {
		errs = append(errs, s.chartcache.Start(ctx))
	}
	return errors.Join(append(errs, s.operator.AwaitReady(ctx))...)
}
