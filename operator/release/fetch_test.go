package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// newFetchBench is a release that is deployed and whose next chart cannot be downloaded. news is when chartcache last told of the
// repository.
func newFetchBench(t *testing.T, edits ...func(*v1alpha1.HelmRelease)) (b *bench, news *time.Time) {
	t.Helper()
	news = new(time.Time)
	b = newBench(t, edits...)
	b.config.ChartNews = func(source client.Source) time.Time {
		assert.Equal(t, client.Named("shop", "charts"), source)
		return *news
	}
	b.restart()
	b.settle()
	b.helm.done()
	b.charts.offer("1.1.0", "sha256:two")
	b.charts.download = chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, "the credentials were refused")
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed)
	return b, news
}

func TestAChartThatCouldNotBeDownloadedUsesUpNoTry(t *testing.T) {
	t.Parallel()
	b, _ := newFetchBench(t, func(r *v1alpha1.HelmRelease) {
		limit := int32(1)
		r.Spec.Retry = &v1alpha1.RetrySpec{Limit: &limit}
	})
	for _, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		assert.Equal(t, wait, b.once(), "it is asked for more and more rarely")
		b.now = b.now.Add(wait)
		release := b.settle()
		assert.Zero(t, release.Status.FailureCount)
		b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed)
	}
	assert.Empty(t, b.helm.done())

	b.charts.download = nil
	b.helm.results = []result{{err: errUnready}}
	b.now = b.now.Add(time.Hour)
	release := b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done(), "the one try is left")
	assert.EqualValues(t, 1, release.Status.FailureCount)
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUpgradeFailed)
	assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionStalled).Status)
}

func TestAChartThatCouldNotBeDownloadedIsAskedForOnceItsRepositoryHasNews(t *testing.T) {
	t.Parallel()
	b, news := newFetchBench(t)
	for range 3 { // so that the back-off is long
		b.now = b.now.Add(time.Hour)
		b.settle()
	}
	b.charts.download = nil
	b.now = b.now.Add(time.Second)
	b.settle()
	assert.Empty(t, b.helm.done(), "nothing says that it can be had")

	*news = b.now
	assert.Equal(t, newsPause-time.Second, b.once(), "news that come with each failure must not make a hot loop")
	b.now = b.now.Add(newsPause)
	b.settle()
	assert.Equal(t, []string{"upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestARequestOrAnEditEndsTheWaitForAChart(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*v1alpha1.HelmRelease){
		"the retry annotation": func(r *v1alpha1.HelmRelease) { r.Annotations = map[string]string{v1alpha1.RetryAnnotation: "1"} },
		"an edit":              func(r *v1alpha1.HelmRelease) { r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: "20m"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := newFetchBench(t)
			b.charts.download = nil
			b.objects.edit(ask)
			b.settle()
			assert.Equal(t, []string{"upgrade"}, b.helm.done())
			b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
		})
	}
}

func TestFailuresOfTheReleaseAndOfItsDownloadAreCountedApart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.helm.results = []result{{err: errUnready}, {err: errUnready}}
	b.settle()
	b.now = b.now.Add(time.Hour)
	assert.EqualValues(t, 2, b.settle().Status.FailureCount)
	b.charts.download = unreachable()
	b.now = b.now.Add(time.Hour)
	assert.EqualValues(t, 2, b.settle().Status.FailureCount)
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	assert.Equal(t, time.Minute, b.once())
	b.charts.download = nil
	b.helm.results = []result{{err: errUnready}}
	b.now = b.now.Add(time.Minute)
	assert.EqualValues(t, 3, b.settle().Status.FailureCount)
	assert.Equal(t, 4*time.Minute, b.once())
}
