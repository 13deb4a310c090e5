package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// conditions returns what the status says in one line, such as "Ready=True, Failed=False, ...", and checks what holds of it whatever
// has happened: each condition is about the spec as it is, and gives a reason.
func (b *bench) conditions() string {
	b.Helper()
	release := b.objects.get()
	var line []string
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionFailed, v1alpha1.ConditionProgressing, v1alpha1.ConditionReleased} {
		condition := b.condition(kind)
		if kind == v1alpha1.ConditionReady || !release.Spec.Suspend { // what is suspended keeps what was known of it
			assert.Equal(b, release.Generation, condition.ObservedGeneration, kind)
		}
		assert.NotEmpty(b, condition.Reason, kind)
		line = append(line, fmt.Sprintf("%s=%s", kind, condition.Status))
	}
	if meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionStalled) != nil {
		line = append(line, v1alpha1.ConditionStalled)
	}
	return strings.Join(line, ", ")
}

// The steps follow each other, so that each finds what the one before has left.
func TestConditionsSayWhatIsSoNowAndNothingOfWhatIsOver(t *testing.T) {
	t.Parallel()
	const (
		well   = "Ready=True, Failed=False, Progressing=False, Released=True"
		broken = "Ready=False, Failed=True, Progressing=False, Released=False"
	)
	b := newBench(t)
	b.helm.began = make(chan string, 100)
	suspend := func(suspended bool) {
		b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Suspend = suspended })
	}
	for _, step := range []struct {
		name  string
		does  func()
		runs  bool // an operation, afterwards
		want  string
		cause string
	}{
		{"an install fails", func() { b.helm.results = []result{{err: errUnready}} }, false, broken, v1alpha1.ReasonInstallFailed},
		{"it is looked at again", func() {}, false, broken, v1alpha1.ReasonInstallFailed},
		{"the operator restarts", b.restart, false, broken, v1alpha1.ReasonInstallFailed},
		{"the values are mended", func() { b.values("mended: 1") }, false, well, v1alpha1.ReasonUpgradeCompleted},
		{
			"an upgrade runs", func() { b.helm.results = []result{{blocks: true}, {err: errUnready}}; b.values("bad: 1") }, true,
			"Ready=Unknown, Failed=False, Progressing=True, Released=True", v1alpha1.ReasonUpgradeStarted,
		},
		{"the next one fails", func() { b.values("bad: 2") }, false, broken, v1alpha1.ReasonUpgradeFailed},
		{"it is looked at again", func() {}, false, broken, v1alpha1.ReasonUpgradeFailed},
		{"it is suspended", func() { suspend(true) }, false, broken, v1alpha1.ReasonReleaseSuspended},
		{"it is resumed", func() { suspend(false) }, false, well, v1alpha1.ReasonUpgradeCompleted},
		{
			"the chart is gone",
			func() {
				b.charts.fail(chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, "there is no chart web"))
			}, false, "Ready=False, Failed=True, Progressing=False, Released=True", v1alpha1.ReasonChartNotFound,
		},
		{"the chart is back", func() { b.charts.offer("1.0.0", "sha256:one") }, false, well, v1alpha1.ReasonUpgradeCompleted},
	} {
		step.does()
		if step.runs {
			for len(b.helm.began) > 0 {
				<-b.helm.began
			}
			b.once()
			b.awaitBegin()
			b.once()
		} else {
			b.settle()
		}
		assert.Equal(t, step.want, b.conditions(), step.name)
		ready := b.condition(v1alpha1.ConditionReady)
		assert.Equal(t, step.cause, ready.Reason, step.name)
		assert.Equal(t, ready.Status == metav1.ConditionTrue, ready.Message == messageReady, "%s: %s", step.name, ready.Message)
	}
}

// Whoever or whatever left it so: Helm's word counts, not that there is a record whose chart and values are those of the spec.
func TestNothingIsReadyWhoseNewestRevisionIsNotDeployed(t *testing.T) {
	t.Parallel()
	for _, status := range []helm.Status{
		helm.StatusFailed, helm.StatusPendingInstall, helm.StatusPendingUpgrade, helm.StatusPendingRollback, helm.StatusUninstalling,
		helm.StatusUninstalled, helm.StatusSuperseded, "unknown",
	} {
		t.Run(string(status), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.settle()
			b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
			b.helm.records[appTarget][0].Status = status
			b.helm.results = []result{{err: errUnready}, {err: errUnready}, {err: errUnready}}

			b.settle()

			ready := b.condition(v1alpha1.ConditionReady)
			assert.NotEqual(t, metav1.ConditionTrue, ready.Status, ready.Message)
			assert.NotEqual(t, messageReady, ready.Message)
		})
	}
}

func TestAnotherSourceIsAnotherChartThoughItsNameAndVersionStay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*v1alpha1.ChartSpec)
		want client.Source
	}{
		"another repository": {
			func(s *v1alpha1.ChartSpec) { s.Repository.Name = "others" }, client.Named("shop", "others"),
		},
		"one of another namespace": {
			func(s *v1alpha1.ChartSpec) { s.Repository.Namespace = "common" }, client.Named("common", "charts"),
		},
		"the URL of a repository": {
			func(s *v1alpha1.ChartSpec) { s.RepositoryURL = "https://public.example.com/charts" },
			client.ByURL("https://public.example.com/charts"),
		},
		"the URL of a registry": {
			func(s *v1alpha1.ChartSpec) { s.OCIRepository = "oci://registry.example.com/charts/web" },
			client.ByURL("oci://registry.example.com/charts"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			for _, other := range []metav1.ObjectMeta{{Namespace: "shop", Name: "others"}, {Namespace: "common", Name: "charts"}} {
				b.objects.repositories = append(b.objects.repositories, v1alpha1.HelmRepository{ObjectMeta: other})
			}
			b.settle()
			b.helm.done()

			b.charts.offer("1.0.0", "sha256:another")
			b.objects.edit(func(r *v1alpha1.HelmRelease) { c.edit(&r.Spec.Chart) })
			b.settle()

			assert.Equal(t, c.want, b.charts.asked[len(b.charts.asked)-1].Source)
			assert.Equal(t, []string{"upgrade"}, b.helm.done())
			b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
		})
	}
}

// What storage holds decides between install and upgrade. An error says nothing about that, whatever its words.
func TestAnErrorIsNotTakenForTheAbsenceOfARelease(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"release: not found", `secrets "sh.helm.release.v1.app.v1" not found`, "404 page not found", "the server could not find the requested resource",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, enableRollback)
			look := func() {
				b.helm.lastError = errors.New(text)
				_, err := b.engine.Reconcile(t.Context(), b.objects.get())
				require.ErrorContains(t, err, text)
				_, busy := b.runner.Running(appKey)
				assert.False(t, busy)
				assert.Empty(t, b.helm.done())
				b.helm.lastError = nil
			}
			look()
			b.settle()
			assert.Equal(t, []string{"install"}, b.helm.done())
			look()
			b.settle()
			assert.Empty(t, b.helm.done(), "it is there as it should be")
			b.values("changed: 1")
			look()
			b.settle()
			assert.Equal(t, []string{"upgrade"}, b.helm.done())
		})
	}
}

func TestAnUpgradeThatFailsBeforeItHasARevisionIsNotRolledBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, enableRollback)
	b.settle()
	b.helm.done()
	b.helm.results = []result{{err: errors.New("web/templates/bad.yaml:3: nil pointer"), unwritten: true}}
	b.values("bad: 1")

	release := b.settle()

	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUpgradeFailed)
	assert.Equal(t, 1, release.Status.HelmRelease.Revision)
	assert.Equal(t, []string{"deployed"}, b.written())
}

func TestNoValueIsInAStatusAndNoStatusGrowsWithThem(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.values("password: hunter2\nlong: " + strings.Repeat("x", 100_000))
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	b.helm.results = []result{{err: errUnready}}
	b.values("password: hunter2\nlonger: " + strings.Repeat("x", 200_000))
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUpgradeFailed)

	status, err := json.Marshal(b.objects.get().Status)
	require.NoError(t, err)
	assert.NotContains(t, string(status), "hunter2")
	assert.Less(t, len(status), 10_000)
}

func TestALookAtWhatIsInOrderCostsOneQuestionToChartcache(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	late := 0
	b.watchRecords(&late)
	b.settle()
	b.helm.done()
	b.events.take()
	b.charts.download = errors.New("nobody needs the bytes")
	writes, reads, asked := b.objects.writes, b.helm.reads, len(b.charts.asked)

	const looks = 5
	for range looks {
		b.once()
	}

	assert.Equal(t, looks, len(b.charts.asked)-asked)
	assert.Zero(t, b.helm.reads-reads, "of storage")
	assert.Zero(t, b.objects.writes-writes)
	assert.Empty(t, b.helm.done())
	assert.Empty(t, b.events.take())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}
