package helm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"
	rspb "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	helmtime "helm.sh/helm/v3/pkg/time"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestHelmsOwnStorageReadsOurRecords(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), map[string]any{"text": "one"})
	f.upgrade("web", "2", simpleChart(t, "1.1.0"), map[string]any{"text": "two"})

	store := storage.Init(driver.NewSecrets(f.kube.CoreV1().Secrets(f.namespace)))
	history, err := store.History("web")
	require.NoError(t, err)
	assert.Len(t, history, 2)
	last, err := store.Last("web")
	require.NoError(t, err)
	assert.Equal(t, 2, last.Version)
	assert.Equal(t, rspb.StatusDeployed, last.Info.Status)
	assert.Equal(t, map[string]any{"text": "two"}, last.Config)
	assert.Equal(t, "simple-1.1.0", last.Chart.Metadata.Name+"-"+last.Chart.Metadata.Version)
	deployed, err := store.DeployedAll("web")
	require.NoError(t, err)
	assert.Len(t, deployed, 1)
}

func TestReleasesMadeByHelmAreUpgraded(t *testing.T) {
	f := newFixture(t)
	store := storage.Init(driver.NewSecrets(f.kube.CoreV1().Secrets(f.namespace)))
	require.NoError(t, store.Create(&rspb.Release{
		Name: "web", Namespace: f.namespace, Version: 4,
		Info:   &rspb.Info{Status: rspb.StatusDeployed, FirstDeployed: helmtime.Now(), LastDeployed: helmtime.Now()},
		Chart:  &chart.Chart{Metadata: &chart.Metadata{Name: "simple", Version: "0.9.0", APIVersion: "v2"}},
		Config: map[string]any{"text": "theirs"},
		Labels: map[string]string{"team": "blue"},
	}))
	assert.Equal(t, map[string]string{"team": "blue"}, f.last("web").Labels)

	rel := f.upgrade("web", "5", simpleChart(t, "1.0.0"), map[string]any{"text": "ours"})
	assert.Equal(t, 5, rel.Revision)
	assert.Equal(t, map[string]string{"team": "blue", "owner-hash": "abc", "op": "5"}, rel.Labels)
	first, err := store.Get("web", 4)
	require.NoError(t, err)
	assert.Equal(t, rspb.StatusSuperseded, first.Info.Status)
	assert.Equal(t, map[string]string{"team": "blue"}, first.Labels, "records of others are not stamped")
}

func TestAReleaseThatHelmUninstallsSaysSinceWhen(t *testing.T) {
	f := newFixture(t)
	store := storage.Init(driver.NewSecrets(f.kube.CoreV1().Secrets(f.namespace)))
	began := helmtime.Now()
	require.NoError(t, store.Create(&rspb.Release{
		Name: "web", Namespace: f.namespace, Version: 1,
		Info: &rspb.Info{Status: rspb.StatusUninstalling, Deleted: began},
	}))
	assert.True(t, began.Time.Equal(f.last("web").Deleted))
}

func TestARecordSaysWhenTheAPIServerWroteItWhateverTheClockOfWhoSentIt(t *testing.T) {
	f := newFixture(t)
	before := time.Now()
	store := storage.Init(driver.NewSecrets(f.kube.CoreV1().Secrets(f.namespace)))
	wrong := helmtime.Time{Time: before.Add(24 * time.Hour)}
	rls := &rspb.Release{Name: "web", Namespace: f.namespace, Version: 1, Info: &rspb.Info{Status: rspb.StatusPendingInstall, LastDeployed: wrong}}
	require.NoError(t, store.Create(rls))
	assert.WithinDuration(t, before, f.last("web").Written, time.Minute)

	created := metav1.NewTime(before)
	changed := metav1.NewTime(before.Add(time.Hour))
	assert.Equal(t, changed.Time, writtenAt(&metav1.ObjectMeta{
		CreationTimestamp: created, ManagedFields: []metav1.ManagedFieldsEntry{{Time: &changed}, {Time: &created}, {}},
	}))
	assert.Equal(t, created.Time, writtenAt(&metav1.ObjectMeta{CreationTimestamp: created}))
}
