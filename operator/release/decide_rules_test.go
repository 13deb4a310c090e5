package release

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// anyFacts returns facts of which each is drawn by itself, so that they need not be probable.
func anyFacts(r *rand.Rand) Facts {
	digest := func() string { return pick(r, "", "A", "B", "C") }
	ago := func() time.Time { return testTime.Add(-pick(r, -time.Hour, 0, time.Second, time.Minute, time.Hour)) }
	problem := func() *Problem { return pick(r, nil, nil, nil, chartGone, cacheAway, valuesBroken) }
	some := func() bool { return r.IntN(4) == 0 }
	f := Facts{
		Now: testTime, Target: Target{Namespace: "shop", Name: "app"}, PendingTimeout: 11 * time.Minute,
		Deleting: some(), Orphan: some(), Suspended: some(), Adopt: some(), Force: some(), Tests: some(), Tested: some(),
		Reinstall: some(), Rollback: !some(), KnownFailed: !some(), RollbackTo: pick(r, 0, 1, 3),
		OnChange: pick(r, v1alpha1.OnChangeRefuse, v1alpha1.OnChangeOrphan, v1alpha1.OnChangeReinstall),
		Problem:  problem(), ChartProblem: problem(), AccountProblem: problem(), DependencyProblem: problem(),
		Desired: digest(), Applied: digest(), FailedDigest: digest(), AppliedRevision: r.IntN(5), Failures: int32(r.IntN(4)), FetchFailures: int32(r.IntN(3)),
		Retry:     RetryPolicy{Limit: pick(r, int32(0), 0, 2), Interval: time.Minute, MaxInterval: 15 * time.Minute},
		Dependent: pick(r, "", "", "shop/other"), ChartNews: ago(),
	}
	if f.Problem == nil && (f.AccountProblem != nil || f.Deleting) { // as observe has it
		f.Problem = f.AccountProblem
	}
	if f.Problem != nil {
		f.Desired = ""
	} else if f.ChartProblem == nil && f.Desired == "" && !f.Deleting && !f.Suspended {
		f.Desired = "A"
	}
	if some() {
		f.Elsewhere = &elsewhereTest
	}
	if !some() {
		f.LastFailure = failure(pick(r, v1alpha1.ReasonUpgradeFailed, v1alpha1.ReasonSyncFailed), "it broke", testTime.Sub(ago()))
	} else {
		f.FetchFailures = 0
	}
	if !some() {
		f.Last = operation(anyOperation(r), pick(r, v1alpha1.OperationRunning, v1alpha1.OperationSucceeded, v1alpha1.OperationFailed, v1alpha1.OperationInterrupted),
			pick(r, "op3", "op4"), 2+r.IntN(3), digest())
	}
	if some() && f.Last != nil {
		f.Last.StartedAt = metav1.NewTime(ago())
	}
	if r.IntN(10) == 0 {
		f.Running = operation(anyOperation(r), v1alpha1.OperationRunning, "op5", 5, digest())
	} else if !some() {
		f.Newest = &Record{
			Revision: 1 + r.IntN(4), Operation: pick(r, "", "op3", "op4"), Updated: ago(), Equal: some(), Owner: pick(r, Ours, Ours, Ours, Foreign, OwnedByOther),
			Status: pick(r, "deployed", "failed", "superseded", "uninstalled", "uninstalling", "unknown", "pending-install", "pending-upgrade", "pending-rollback"),
		}
		if f.Newest.Owner != Ours {
			f.Newest.Operation = "" // of ours has a record of ours only
		}
	}
	return f
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func anyOperation(r *rand.Rand) v1alpha1.OperationType {
	return pick(r, v1alpha1.OperationInstall, v1alpha1.OperationUpgrade, v1alpha1.OperationRollback, v1alpha1.OperationUninstall, v1alpha1.OperationTest)
}

// The table says what follows from likely facts; this says what never may follow from any.
func TestDecisionsKeepTheRulesWhateverTheFacts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	taken := map[Action]int{}
	for range 300_000 {
		f := anyFacts(random)
		d := Decide(f)
		taken[d.Action]++
		if broken := brokenRule(&f, &d); broken != "" {
			require.Fail(t, broken, "%s because %q\nfacts %+v\nnewest %+v\nlast %+v", d.Action, d.Because, f, f.Newest, f.Last)
		}
	}
	for _, action := range []Action{
		Wait, Interrupt, Block, Suspend, Stay, Hold, BackOff, Unlock, Adopt, Install, Upgrade, Rollback, Uninstall, Test, Abandon, Finish,
	} {
		assert.NotZero(t, taken[action], "%s is never taken", action)
	}
}

// brokenRule says which rule a decision breaks; nothing when it breaks none.
func brokenRule(f *Facts, d *Decision) string {
	told := d.Problem != nil && d.Problem.Message != "" && d.Problem.Reason != ""
	writes := d.Action == Install || d.Action == Upgrade || d.Action == Rollback || d.Action == Test
	others := !f.Newest.absent() && (f.Newest.Owner == OwnedByOther || f.Newest.Owner == Foreign && !f.Adopt)
	for _, rule := range []struct {
		text   string
		broken bool
	}{
		{"each decision has a reason", d.Because == ""},
		{"what waits says why, and nothing else does", told != (d.Action == Block || d.Action == Hold || d.Action == BackOff)},
		{"a back-off ends, and has not ended", d.Action == BackOff && !d.Until.After(f.Now)},
		{"no wait that is counted is longer than the longest", d.Action == BackOff && d.Until.Sub(f.Now) > f.Retry.MaxInterval+clockSkew},
		{"while an operation runs nothing else is done", f.Running != nil && d.Action != Wait && d.Action != Interrupt},
		{"without one there is nothing to wait for or to interrupt", f.Running == nil && (d.Action == Wait || d.Action == Interrupt)},
		{"what is suspended is left alone", f.Suspended && !f.Deleting && f.Running == nil && d.Action != Suspend},
		{"what is being deleted is not deployed", f.Deleting && writes},
		{"only what is being deleted is let go", d.Action == Finish && !f.Deleting},
		{"others' releases are left alone", others && d.Target == nil && (writes || d.Action == Uninstall || d.Action == Unlock)},
		{"what is there is not installed", d.Action == Install && !f.Newest.absent()},
		{"what is not there is only installed", f.Newest.absent() && d.Target == nil && (d.Action == Upgrade || d.Action == Rollback || d.Action == Test || d.Action == Uninstall)},
		{"nothing is deployed without its chart", (d.Action == Install || d.Action == Upgrade) && (f.ChartProblem != nil || f.Problem != nil || f.Desired == "")},
		{"nothing is deployed before what it depends on", (d.Action == Install || d.Action == Upgrade) && f.DependencyProblem != nil},
		{"nothing is written as an account that is not there", (writes || d.Action == Uninstall) && f.AccountProblem != nil},
		{"nothing is written over a pending record", (writes || d.Action == Uninstall && !f.Deleting && d.Target == nil) && f.Newest.pending()},
		{"only a pending record is unlocked, by its number", d.Action == Unlock && (!f.Newest.pending() || d.Revision != f.Newest.Revision)},
		{"only a failed revision is rolled back, and only where asked", d.Action == Rollback && (!f.Rollback || !f.Newest.is(statusFailed) || d.Revision != f.RollbackTo || d.Revision == 0)},
		{"an interruption is not rolled back", d.Action == Rollback && f.last(v1alpha1.OperationUpgrade, v1alpha1.OperationInterrupted)},
		{"what is Ready is as it should be", d.Action == Stay && (!f.Newest.is(statusDeployed) || f.Applied != f.Desired || f.Newest.Revision != f.AppliedRevision)},
		{"only what is as it should be is tested", d.Action == Test && (!f.Newest.is(statusDeployed) || f.Applied != f.Desired)},
		{"what was deployed stays unless it is to go", d.Action == Uninstall && !f.Deleting && d.Target == nil && !f.Newest.is(statusUninstalling) && (!f.Reinstall || f.Applied != "")},
		{"no try is made after the last", f.exhausted() && f.failedSame() && !f.Force && (d.Action == Install || d.Action == Upgrade) && !f.unfetched()},
		{"a problem of the moment does not end what is Ready", f.ChartProblem == cacheAway && f.Desired != "" && f.Desired == f.Applied && f.Newest.is(statusDeployed) &&
			f.Newest.Revision == f.AppliedRevision && f.Newest.Owner == Ours && f.Elsewhere == nil && !f.Force && !f.Tests && !f.Deleting && !f.Suspended &&
			f.Running == nil && d.Action != Stay && d.Action != Hold},
	} {
		if rule.broken {
			return rule.text
		}
	}
	return ""
}
