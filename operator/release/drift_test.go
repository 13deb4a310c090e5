package release

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/drift"
	"github.com/ketches/helm-operator/operator/helm"
)

// fakeDrift is what differs in the cluster of a fakeHelm.
type fakeDrift struct {
	findings []helm.DriftFinding
	problems []string
	err      error
	// lasting objects differ again after a correction.
	lasting bool
	// hangs until the time for a look is over.
	hangs   bool
	looks   int
	options helm.DriftOptions
	// during is called while a look goes on; may be nil.
	during func()
}

func (h *fakeHelm) Drift(ctx context.Context, options helm.DriftOptions) (helm.Drift, error) {
	d := &h.drift
	d.looks++
	if d.hangs {
		<-ctx.Done()
		return helm.Drift{}, context.Cause(ctx)
	}
	d.options = options
	if d.during != nil {
		d.during()
	}
	if d.err != nil || ctx.Err() != nil {
		return helm.Drift{}, errors.Join(d.err, ctx.Err())
	}
	out := helm.Drift{Problems: d.problems}
	var left []helm.DriftFinding
	for _, finding := range d.findings {
		finding.Tried = options.Correct != nil && options.Correct(finding.Object)
		if !finding.Tried {
			finding.Problem = ""
		}
		out.Findings = append(out.Findings, finding)
		if !finding.Tried || finding.Problem != "" || d.lasting {
			left = append(left, d.findings[len(out.Findings)-1])
		}
	}
	d.findings = left
	return out, nil
}

func differing(kind, name string, paths ...string) helm.DriftFinding {
	finding := helm.DriftFinding{Finding: drift.Finding{
		Object: drift.Object{APIVersion: "v1", Kind: kind, Namespace: "shop", Name: name}, State: v1alpha1.DriftMissing,
	}}
	for _, path := range paths {
		finding.State = v1alpha1.DriftChanged
		finding.Differences = append(finding.Differences, drift.Difference{Path: path, Want: "1", Have: "2"})
	}
	return finding
}

// newDriftBench is a release that is deployed, with a mode of drift detection, and nothing that differs yet.
func newDriftBench(t *testing.T, mode v1alpha1.DriftMode) *bench {
	t.Helper()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.DriftDetection = &v1alpha1.DriftDetection{Mode: mode} })
	b.settle()
	b.events.take()
	return b
}

// later makes a pass when the next one is due, and returns the wait for the one after.
func (b *bench) later() time.Duration {
	b.Helper()
	b.now = b.now.Add(10 * time.Minute)
	return b.once()
}

func (b *bench) reconcileNow(value string) {
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Annotations = map[string]string{v1alpha1.ReconcileAnnotation: value} })
	b.once()
}

func TestDriftIsLookedForAtTheIntervalAndOnRequestOnly(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftWarn)
	assert.Equal(t, 1, b.helm.drift.looks, "what was deployed just now is looked at")
	assert.Equal(t, 1, b.helm.drift.options.Revision)
	assert.Nil(t, b.helm.drift.options.Correct)
	assert.Equal(t, v1alpha1.ReasonNoDrift, b.condition(v1alpha1.ConditionDrifted).Reason)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionDrifted).Status)

	b.now = b.now.Add(4 * time.Minute)
	writes := b.objects.writes
	assert.Equal(t, 6*time.Minute, b.once(), "a pass for another reason puts nothing off")
	assert.Equal(t, 1, b.helm.drift.looks)
	b.now = b.now.Add(6 * time.Minute)
	assert.Equal(t, 10*time.Minute, b.once())
	assert.Equal(t, 2, b.helm.drift.looks)
	assert.Equal(t, writes, b.objects.writes, "a look that finds nothing writes nothing")
	assert.Empty(t, b.events.take())

	b.reconcileNow("1")
	assert.Equal(t, 3, b.helm.drift.looks)
	b.once()
	assert.Equal(t, 3, b.helm.drift.looks, "a request counts once")

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Suspend = true })
	b.later()
	b.reconcileNow("2")
	assert.Equal(t, 3, b.helm.drift.looks, "a suspended release is not looked at")
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Suspend = false })
	b.once()
	assert.Equal(t, 4, b.helm.drift.looks)

	b.values("a: 1")
	b.settle()
	assert.Equal(t, 5, b.helm.drift.looks, "a new revision is looked at when it is deployed, not before")
	assert.Equal(t, 2, b.helm.drift.options.Revision)

	b.restart()
	b.once()
	assert.Equal(t, 6, b.helm.drift.looks, "a new process knows of no look")
}

func TestDriftIsNotLookedForDuringAnOperation(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftCorrect)
	b.helm.results, b.helm.began = []result{{blocks: true}}, make(chan string, 1)
	b.values("a: 1")
	b.once()
	b.awaitBegin()
	b.later()
	b.reconcileNow("1")
	assert.Equal(t, 1, b.helm.drift.looks)
	b.runner.Interrupt(appKey, ErrSuperseded)
}

func TestDriftIsToldOnceForEachSetOfDifferences(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftWarn)
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a"), differing("Deployment", "web", "/spec/replicas")}

	b.later()

	message := "2 objects differ from the release: ConfigMap shop/a (missing); Deployment shop/web (/spec/replicas is 2 instead of 1)"
	assert.Equal(t, []string{"Warning DriftDetected: " + message}, b.events.take())
	condition := b.condition(v1alpha1.ConditionDrifted)
	assert.Equal(t, metav1.ConditionTrue, condition.Status)
	assert.Equal(t, v1alpha1.ReasonDriftDetected, condition.Reason)
	assert.Equal(t, message, condition.Message)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	status := b.objects.get().Status.Drift
	require.NotNil(t, status)
	assert.EqualValues(t, 2, status.Count)
	assert.Equal(t, []v1alpha1.DriftedObject{
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: "shop", Name: "a", State: v1alpha1.DriftMissing},
		{
			APIVersion: "v1", Kind: "Deployment", Namespace: "shop", Name: "web", State: v1alpha1.DriftChanged, FieldCount: 1,
			Fields: []v1alpha1.DriftedField{{Path: "/spec/replicas", Want: "1", Have: "2"}},
		},
	}, status.Objects)

	writes := b.objects.writes
	b.later()
	assert.Empty(t, b.events.take(), "the same set is not told again")
	assert.Equal(t, writes, b.objects.writes)
	b.restart()
	b.once()
	assert.Empty(t, b.events.take(), "nor by another process")

	b.helm.drift.findings = b.helm.drift.findings[:1]
	b.later()
	assert.Equal(t, []string{"Warning DriftDetected: 1 object differs from the release: ConfigMap shop/a (missing)"}, b.events.take())

	b.helm.drift.findings = nil
	b.later()
	assert.Empty(t, b.events.take())
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionDrifted).Status)
	assert.Nil(t, b.objects.get().Status.Drift)

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.DriftDetection.Mode = v1alpha1.DriftDisabled })
	looks := b.helm.drift.looks
	b.later()
	assert.Equal(t, looks, b.helm.drift.looks)
	assert.Nil(t, meta.FindStatusCondition(b.objects.get().Status.Conditions, v1alpha1.ConditionDrifted))
}

func TestWhatTheStatusListsIsBounded(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftWarn)
	paths := make([]string, 50)
	for i := range paths {
		paths[i] = "/spec/" + strings.Repeat("x", i)
	}
	for range 50 {
		b.helm.drift.findings = append(b.helm.drift.findings, differing("ConfigMap", "a", paths...))
	}

	b.later()

	status := b.objects.get().Status.Drift
	assert.EqualValues(t, 50, status.Count)
	assert.Len(t, status.Objects, 20)
	assert.EqualValues(t, 50, status.Objects[0].FieldCount)
	assert.Len(t, status.Objects[0].Fields, 10)
	assert.LessOrEqual(t, len(b.condition(v1alpha1.ConditionDrifted).Message), maxMessageBytes)
	assert.Contains(t, b.condition(v1alpha1.ConditionDrifted).Message, "/spec/xx is 2 instead of 1, 47 more)")
}

func TestDriftIsCorrectedWhenAskedFor(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftWarn)
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a")}
	b.later()
	b.events.take()

	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.DriftDetection.Mode = v1alpha1.DriftCorrect })
	b.once()

	assert.Equal(t, []string{"Normal DriftCorrected: Corrected 1 object: ConfigMap shop/a (missing)"}, b.events.take())
	assert.Equal(t, v1alpha1.ReasonDriftCorrected, b.condition(v1alpha1.ConditionDrifted).Reason)
	assert.Equal(t, metav1.ConditionFalse, b.condition(v1alpha1.ConditionDrifted).Status)
	assert.Nil(t, b.objects.get().Status.Drift)
	assert.Equal(t, []string{"install"}, b.helm.done(), "a correction is no revision")

	writes := b.objects.writes
	b.later()
	assert.Equal(t, writes, b.objects.writes)
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a")}
	b.later()
	assert.Equal(t, []string{
		"Warning DriftDetected: 1 object differs from the release: ConfigMap shop/a (missing)",
		"Normal DriftCorrected: Corrected 1 object: ConfigMap shop/a (missing)",
	}, b.events.take(), "what happens again is told again")
}

func TestAnObjectThatSomebodyChangesAgainAndAgainIsCorrectedLessAndLessOften(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftCorrect)
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a", "/data/a")}
	b.helm.drift.lasting = true

	var at []int
	detected := 0
	for look := range 30 {
		b.later()
		for _, event := range b.events.take() {
			if strings.Contains(event, "DriftCorrected") {
				at = append(at, look)
			} else {
				detected++
			}
		}
	}
	assert.Equal(t, []int{0, 1, 3, 7, 13, 19, 25}, at, "10, 20, 40 and then 60 minutes apart")
	assert.Equal(t, 1, detected)
	object := b.objects.get().Status.Drift.Objects[0]
	assert.EqualValues(t, 7, object.Corrections)
	assert.Contains(t, object.Message, "next correction at ")
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionDrifted).Status)

	b.reconcileNow("1")
	assert.Contains(t, strings.Join(b.events.take(), "\n"), "DriftCorrected", "who asks does not wait")

	b.helm.drift.findings = nil
	b.later()
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a", "/data/a")}
	b.later()
	assert.Contains(t, strings.Join(b.events.take(), "\n"), "DriftCorrected", "what lasted begins anew")
}

func TestACorrectionThatIsRefusedIsSaidAndTriedAgainLater(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftCorrect)
	refused := differing("Deployment", "web", "/spec/selector")
	refused.Problem = "it could not be mended (Invalid)"
	b.helm.drift.findings = []helm.DriftFinding{refused}

	b.later()

	message := "1 object differs from the release: Deployment shop/web (/spec/selector is 2 instead of 1), " +
		"not corrected: it could not be mended (Invalid)"
	assert.Equal(t, []string{"Warning DriftDetected: " + message}, b.events.take())
	assert.Equal(t, message, b.condition(v1alpha1.ConditionDrifted).Message)
	assert.Equal(t, "it could not be mended (Invalid); next correction at 12:20:00 UTC", b.objects.get().Status.Drift.Objects[0].Message)
}

func TestALookThatFindsNothingOutSaysSoAndIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftWarn)
	b.helm.drift.problems = []string{"ConfigMap shop/a: it could not be read (Forbidden)"}

	assert.Equal(t, time.Minute, b.later())
	condition := b.condition(v1alpha1.ConditionDrifted)
	assert.Equal(t, metav1.ConditionUnknown, condition.Status)
	assert.Equal(t, v1alpha1.ReasonDriftUnknown, condition.Reason)
	assert.Equal(t, "1 object could not be compared: ConfigMap shop/a: it could not be read (Forbidden)", condition.Message)
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)

	b.helm.drift.err = errors.New("read record web: connection refused")
	b.later()
	assert.Equal(t, "The objects could not be compared with the release: read record web: connection refused",
		b.condition(v1alpha1.ConditionDrifted).Message)

	b.helm.drift.err, b.helm.drift.problems = helm.ErrConflict, nil
	assert.Equal(t, time.Second, b.later(), "another record is looked at at once")
	b.helm.drift.err = nil
	b.now = b.now.Add(time.Second)
	b.once()
	assert.Equal(t, v1alpha1.ReasonNoDrift, b.condition(v1alpha1.ConditionDrifted).Reason)
	assert.Empty(t, b.events.take())
}

func TestALookThatTakesTooLongIsGivenUpUntilTheNextInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newDriftBench(t, v1alpha1.DriftWarn)
		b.helm.drift.hangs = true
		began := time.Now()

		assert.Equal(t, 10*time.Minute, b.later())

		assert.Equal(t, driftTimeout, time.Since(began))
		assert.Equal(t, "The objects could not be compared with the release: it took longer than 30s",
			b.condition(v1alpha1.ConditionDrifted).Message)
	})
}

func TestWhatALookFoundIsNotLostToAConflict(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftCorrect)
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a")}
	b.helm.drift.during = func() { b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Labels = map[string]string{"a": "b"} }) }

	assert.Equal(t, conflictPause, b.later())
	assert.Empty(t, b.events.take())
	b.helm.drift.during = nil
	b.once()

	assert.Equal(t, 2, b.helm.drift.looks, "it is not done twice")
	assert.Contains(t, strings.Join(b.events.take(), "\n"), "Normal DriftCorrected: Corrected 1 object: ConfigMap shop/a (missing)")
}

func TestALookThatAShutdownEndsLeavesTheStatusAsItIs(t *testing.T) {
	t.Parallel()
	b := newDriftBench(t, v1alpha1.DriftCorrect)
	b.helm.drift.findings = []helm.DriftFinding{differing("ConfigMap", "a")}
	before := b.objects.get().Status
	b.now = b.now.Add(10 * time.Minute)
	ctx, stop := contextWithCancel(t)
	b.helm.drift.during = stop

	_, err := b.engine.Reconcile(ctx, b.objects.get())

	require.NoError(t, err)
	assert.Equal(t, before, b.objects.get().Status)
	assert.Empty(t, b.events.take())
	b.helm.drift.during = nil
	b.once()
	assert.Equal(t, v1alpha1.ReasonDriftCorrected, b.condition(v1alpha1.ConditionDrifted).Reason)
}
