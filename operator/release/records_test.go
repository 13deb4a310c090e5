package release

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// watchRecords gives the engine a watch of the records, which is as late as late says, in revisions. Every record's resource
// version is its revision and its status.
func (b *bench) watchRecords(late *int) {
	b.helm.versioned = true
	b.config.NewestRecord = func(target Target) (string, bool) {
		b.helm.mu.Lock()
		defer b.helm.mu.Unlock()
		records := b.helm.records[target]
		if n := len(records) - *late; n > 0 {
			return records[n-1].ResourceVersion, true
		}
		return "", false
	}
	b.restart()
}

func versionOf(r *helm.Release) string { return strconv.Itoa(r.Revision) + string(r.Status) }

func TestStorageIsReadOnlyWhenItMayHoldSomethingElse(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	late := 0
	b.watchRecords(&late)
	b.settle()
	b.settle()
	b.settle()
	assert.Zero(t, b.helm.reads, "there was nothing, and then what the operation wrote")
	assert.True(t, b.engine.Expects(appKey, "1deployed"))
	assert.False(t, b.engine.Expects(appKey, "2deployed"))

	b.helm.mu.Lock() // somebody rolls back by hand
	b.helm.records[appTarget][0].Status = helm.StatusSuperseded
	b.helm.records[appTarget] = append(b.helm.records[appTarget], helm.Release{
		Name: "app", Namespace: "shop", Revision: 2, Status: helm.StatusDeployed, ChartName: "web", ChartVersion: "0.9.0",
		Labels: b.helm.records[appTarget][0].Labels, FirstDeployed: b.helm.records[appTarget][0].FirstDeployed,
	})
	b.helm.versions()
	b.helm.mu.Unlock()
	b.settle()
	assert.Equal(t, []string{"install", "upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAWatchThatIsLateMisleadsNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	late := 1
	b.watchRecords(&late)
	b.settle()
	b.values("replicas: 2")
	b.settle()
	b.settle()
	assert.Equal(t, []string{"install", "upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}

func TestAnObjectThatIsNotNewIsReadFromStorage(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	late := 0
	b.watchRecords(&late)
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Status.HelmRelease = &v1alpha1.HelmReleaseInfo{Namespace: "shop", Name: "app", Revision: 1}
	})
	b.settle()
	assert.NotZero(t, b.helm.reads, "what a watch does not know may be there")
}

func TestWhatWasUnlockedIsReadAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	late := 0
	b.watchRecords(&late)
	b.helm.began = make(chan string, 10)
	b.helm.results = []result{{blocks: true}}
	b.once()
	b.awaitBegin()
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("replicas: 2") })
	b.settle()
	assert.Equal(t, []string{"install", "unlock 1", "upgrade"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonUpgradeCompleted)
}
