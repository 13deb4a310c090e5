package release

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

func TestAnOperationThatMayNotWriteForAWhileIsInterrupted(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.done()
	b.values("replicas: 2")
	b.helm.results = []result{{interrupts: errors.New("this process no longer holds the leader lease")}}
	release := b.settle()
	assert.Equal(t, []string{"upgrade", "unlock 2", "upgrade"}, b.helm.done(), "it goes on, and nothing is rolled back")
	assert.Zero(t, release.Status.FailureCount)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

// Two clients may write one record at the same instant, or somebody removes what was looked at: nothing was tried.
func TestWhoWasOvertakenLooksAgainAtOnce(t *testing.T) {
	t.Parallel()
	for name, overtaken := range map[string]error{
		"by another who wrote the revision": fmt.Errorf("write revision 2: %w", helm.ErrOvertaken),
		"by another operation":              helm.ErrPending,
		"by an uninstall":                   helm.ErrNotFound,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, enableRollback)
			b.settle()
			b.helm.done()
			b.events.take()
			b.values("replicas: 2")
			b.helm.results = []result{{err: overtaken, unwritten: true}}
			release := b.settle()
			assert.Equal(t, []string{"upgrade", "upgrade"}, b.helm.done())
			assert.Zero(t, release.Status.FailureCount)
			assert.Empty(t, release.Status.Failures)
			assert.NotContains(t, strings.Join(b.events.take(), "\n"), "Warning")
			b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
		})
	}
}

func TestTestsOfARevisionThatIsNotDeployedAnyMoreAreNoFailure(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableTests)
	b.helm.results = []result{{}, {err: helm.ErrNotDeployed, unwritten: true}}
	release := b.settle()
	assert.Equal(t, []string{"install", "test", "test"}, b.helm.done())
	assert.Empty(t, release.Status.Failures)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

// To act as an account that does not exist works, with the rights that are still bound to its name.
func TestNothingIsRolledBackAsAnAccountThatIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback, func(r *v1alpha1.HelmRelease) { r.Spec.ServiceAccountName = "deployer" })
	b.objects.accounts = []string{"shop/deployer"}
	b.settle()
	b.helm.done()
	b.helm.results = []result{{err: errUnready}}
	b.values("replicas: 2")
	b.once()
	b.awaitWake()
	b.objects.accounts = nil
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)

	b.objects.accounts = []string{"shop/deployer"}
	b.settle()
	assert.Equal(t, []string{"rollback 1"}, b.helm.done())
}

func TestALookThatCouldNotBeMadeWasNotMade(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.restart()
	b.helm.lastError = errors.New("the API server is away")
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Annotations = map[string]string{v1alpha1.ReconcileAnnotation: "1"} })
	_, err := b.engine.Reconcile(t.Context(), b.objects.get())
	require.ErrorContains(t, err, "the API server is away")
	assert.Empty(t, b.objects.get().Status.HandledReconcile)
	b.helm.lastError = nil
	assert.Equal(t, "1", b.settle().Status.HandledReconcile)
}

func TestACrashIsTriedAgainAndNotRolledBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.done()
	b.values("replicas: 2")
	b.helm.results = []result{{panics: true}}
	b.settle()
	assert.Equal(t, []string{"upgrade", "unlock 2"}, b.helm.done())
	b.now = b.now.Add(2 * time.Minute)
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAnObjectWhoseReleaseCannotExistCanBeDeleted(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Name: strings.Repeat("a", 70)} })
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	b.helm.lastError = errors.New("the label is too long")
	deleted := metav1.NewTime(b.now)
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.DeletionTimestamp = &deleted })
	b.settle()
	assert.Empty(t, b.objects.get().Finalizers)
}

func TestWhatIsLeftBehindIsNotLeftPending(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(r *v1alpha1.HelmRelease){
		"by a deletion": func(r *v1alpha1.HelmRelease) {
			deleted := metav1.NewTime(testTime)
			r.Spec.DeletionPolicy, r.DeletionTimestamp = v1alpha1.DeletionPolicyOrphan, &deleted
		},
		"by a rename": func(r *v1alpha1.HelmRelease) {
			r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "renamed", OnChange: v1alpha1.OnChangeOrphan}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.settle()
			b.helm.began = make(chan string, 10)
			b.helm.results = []result{{blocks: true}}
			b.values("replicas: 2")
			b.once()
			b.awaitBegin()
			b.objects.edit(leave)
			b.settle()
			assert.Equal(t, helm.StatusFailed, b.helm.records[appTarget][1].Status)
		})
	}
}

func TestAReinstallThatARestartCutOffIsNotReportedAsDone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	b.events.take()
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "renamed", OnChange: v1alpha1.OnChangeReinstall}
		r.Status.Operation.ID, r.Status.Operation.Type, r.Status.Operation.Phase = "cut off", v1alpha1.OperationUninstall, v1alpha1.OperationRunning
	})
	b.restart()
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app", "install"}, b.helm.done())
	completed := 0
	for _, event := range b.events.take() {
		if strings.Contains(event, v1alpha1.ReasonUninstallCompleted) {
			completed++
		}
	}
	assert.Equal(t, 1, completed)
}

func TestWordsAboutAWaitBecomeRarer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken wakes
		r := NewRunner(RunnerConfig{MaxActive: 1, ProgressDelay: 3 * time.Second, Wake: woken.add})
		require.True(t, r.Reserve(named("a")))
		turn := &Turn{runner: r, key: named("a"), job: &job{}}
		r.jobs[named("a")] = turn.job
		began := time.Now()
		for time.Since(began) < 10*time.Minute {
			turn.Progress(time.Since(began).String())
			time.Sleep(time.Second)
		}
		// After 3, 6, 12, 24 and 48 seconds, and then once a minute.
		assert.Len(t, woken.taken(), 13)
	})
}
