package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

func TestTheIntentIsWrittenBeforeHelmIsCalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 1)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()

	status := b.objects.get().Status
	require.NotNil(t, status.Operation)
	assert.Equal(t, v1alpha1.OperationRunning, status.Operation.Phase)
	assert.Equal(t, "op1", status.Operation.ID)
	assert.Equal(t, 1, status.Operation.Revision)
	assert.Equal(t, status.DesiredDigest, status.Operation.Digest)
	assert.Equal(t, "app", status.HelmRelease.Name, "a deletion must know what to remove")
	b.assertReady(metav1.ConditionUnknown, v1alpha1.ReasonInstallStarted)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionProgressing).Status)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionReleased).Status)
	b.runner.Interrupt(appKey, ErrSuperseded)
	b.awaitWake()
}

func TestNothingIsStartedFromAStaleObject(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	stale := b.objects.get()
	stale.Finalizers = []string{v1alpha1.ReleaseFinalizer}
	b.objects.edit(func(*v1alpha1.HelmRelease) {})

	after, err := b.engine.Reconcile(t.Context(), stale)

	require.NoError(t, err)
	assert.Equal(t, conflictPause, after)
	assert.Empty(t, b.helm.done())
	assert.Empty(t, b.events.take(), "what was not written did not happen")
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done(), "the slot was given back")
}

func TestAnOperationOfAKilledProcessGoesOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status helm.Status // of the record that was left; empty means none
		calls  []string
		ready  string
		fails  int32
	}{
		"a pending record is unlocked and upgraded": {helm.StatusPendingInstall, []string{"unlock 1", "upgrade"}, v1alpha1.ReasonUpgradeCompleted, 0},
		"without a record it is installed":          {"", []string{"install"}, v1alpha1.ReasonInstallCompleted, 0},
		"a success that was not noted is noted":     {helm.StatusDeployed, nil, v1alpha1.ReasonInstallCompleted, 0},
		"a failure that was not noted is a failure": {helm.StatusFailed, nil, v1alpha1.ReasonInstallFailed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.helm.began = make(chan string, 10)
			b.helm.results = []result{{blocks: true}}
			b.once()
			b.awaitBegin()
			old := b.runner
			b.helm.done()
			b.helm.mu.Lock()
			switch c.status {
			case "":
				b.helm.records = map[Target][]helm.Release{}
			default:
				b.helm.records[appTarget][0].Status = c.status
			}
			b.helm.mu.Unlock()
			b.restart()

			release := b.settle()

			assert.Equal(t, c.calls, b.helm.done())
			assert.Equal(t, c.ready, b.condition(v1alpha1.ConditionReady).Reason)
			assert.Equal(t, c.fails, release.Status.FailureCount, "an interruption is no failure")
			old.Interrupt(appKey, ErrSuperseded)
		})
	}
}

func TestAShutdownUnlocksWhatItInterrupts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()
	ctx, cancel := contextWithCancel(t)
	ended := make(chan error, 1)
	go func() { ended <- b.runner.Start(ctx) }()

	cancel()

	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("the runner did not stop")
	}
	assert.Equal(t, []string{"install", "unlock 1"}, b.helm.done())
	assert.Equal(t, []string{"failed"}, b.written())
	assert.Equal(t, v1alpha1.OperationInterrupted, b.objects.get().Status.Operation.Phase)
	assert.False(t, b.runner.Reserve(appKey), "a stopped runner starts nothing")

	b.restart()
	release := b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Zero(t, release.Status.FailureCount)
}

// The label of an object may be changed so that another operator works for it, or none does; and a finalizer may be removed by hand.
func TestAnObjectThatVanishesLeavesNothingPending(t *testing.T) {
	t.Parallel()
	for name, vanish := range map[string]func(*bench){
		"another operator may go on": func(*bench) {},
		"it is gone":                 func(b *bench) { b.objects.stored = nil },
		"another one has its name":   func(b *bench) { b.objects.stored.UID = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.objects.stored.UID = "one"
			b.helm.began = make(chan string, 10)
			b.helm.results = []result{{blocks: true}}
			b.once()
			b.awaitBegin()
			vanish(b)

			b.engine.Forget(appKey)
			b.awaitWake()

			assert.Equal(t, []string{"install", "unlock 1"}, b.helm.done())
			assert.Equal(t, []string{"failed"}, b.written())
			b.engine.Forget(appKey)
			_, kept := b.runner.Outcome(appKey)
			assert.False(t, kept)
			switch release := b.objects.get(); {
			case release == nil:
			case release.UID != "one":
				assert.Equal(t, v1alpha1.OperationRunning, release.Status.Operation.Phase, "what is another's is left alone")
			default:
				assert.Equal(t, v1alpha1.OperationInterrupted, release.Status.Operation.Phase)
				b.restart()
				release = b.settle()
				assert.Equal(t, []string{"upgrade"}, b.helm.done())
				b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
				assert.Zero(t, release.Status.FailureCount)
			}
		})
	}
}

func TestWhatAnotherOperatorTookOverIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Status.Operation.ID = "of-another" })

	b.engine.Forget(appKey)
	b.awaitWake()

	assert.Equal(t, []string{"install"}, b.helm.done())
	assert.Equal(t, v1alpha1.OperationRunning, b.objects.get().Status.Operation.Phase)
}

func TestANewerSpecSupersedesAWait(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()
	b.once()
	if _, running := b.runner.Running(appKey); !running {
		t.Fatal("an unchanged spec must not interrupt")
	}

	b.values("newer: true")
	release := b.settle()

	assert.Equal(t, []string{"install", "unlock 1", "upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
	assert.Zero(t, release.Status.FailureCount)
	assert.Empty(t, release.Status.Failures)
}

func TestAPanicFailsOneReleaseOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{panics: true}}

	b.settle()

	assert.EqualValues(t, 1, b.objects.get().Status.FailureCount)
	assert.Equal(t, []string{"install", "unlock 1"}, b.helm.done())
}

func TestNoMoreOperationsThanAllowedRunAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := types.NamespacedName{Namespace: "shop", Name: "other"}
	b.runner = NewRunner(RunnerConfig{MaxActive: 1, Wake: func(key types.NamespacedName) { b.woken <- key }})
	b.config.Runner = b.runner
	var err error
	b.engine, err = New(b.config)
	require.NoError(t, err)
	require.True(t, b.runner.Reserve(other))

	b.once()
	b.once()
	assert.Empty(t, b.helm.done())
	assert.Nil(t, b.objects.get().Status.Operation, "no intent without a slot")
	b.assertReady(metav1.ConditionUnknown, v1alpha1.ReasonInstallStarted)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "waits")

	b.runner.Return()
	b.awaitWake()
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done())
}

func TestAnObjectThatWasMadeAnewDoesNotInheritAnOutcome(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.UID = "first" })
	b.helm.results = []result{{err: errUnready}}
	b.once()
	b.awaitWake()
	b.helm.records = map[Target][]helm.Release{}
	b.objects.stored.UID, b.objects.stored.Status = "second", v1alpha1.HelmReleaseStatus{}

	release := b.settle()

	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Empty(t, release.Status.Failures)
}
