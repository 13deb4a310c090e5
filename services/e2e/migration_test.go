package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// inheritance is a release as the original leaves it: a Helm release whose records have Helm's own labels only, and a HelmRelease
// with a finalizer and a status that repeats the values.
type inheritance struct {
	name string
	// chart is where the helm command finds the chart that is deployed, and deployed its name and version.
	chart, deployed string
	options         []string // of the helm command
	// values are those of each revision; the last ones are in the spec.
	values []string
	spec   func(*v1alpha1.HelmReleaseSpec)
}

// trickyValues are values whose stored form reads otherwise than what was written: the original upgraded without end for each.
const trickyValues = `message: s3cret-of-the-values
replicas: 1
runAsUser: 1000680000
ratio: 1.0
large: 1e3
day: 2026-01-02
empty: {}
`

// This story replaces the operator that all others share, so it does not call t.Parallel.
func TestAFleetOfTheOriginalIsTakenOverAsItIs(t *testing.T) {
	s := newStory(t)
	s.withoutSharedOperator()
	target := s.namespace + "-target"
	t.Cleanup(func() { kubectl(t, "delete", "namespace", target, "--wait=false") })
	web := versions(webChart, "1.0.0", "1.1.0")
	repo := newChartRepository(t, web...)
	registry := push(t, s.namespace+"/charts", web...)
	s.inheritRepository("charts", repo.URL, func(r *v1alpha1.HelmRepository) {
		synced := metav1.Now()
		r.Status.LastSyncTime = &synced
		r.Status.Stats = &v1alpha1.RepositoryStats{TotalCharts: 1, TotalVersions: 1}
		r.Status.Charts = []v1alpha1.ChartInfo{{Name: "web", Versions: []v1alpha1.ChartVersionInfo{{Version: "1.1.0", AppVersion: "1"}}}}
	})
	s.inheritRepository("registry", registry, func(r *v1alpha1.HelmRepository) { r.Spec.Insecure = true })
	reference := func(version, repository string) func(*v1alpha1.HelmReleaseSpec) {
		return func(spec *v1alpha1.HelmReleaseSpec) {
			spec.Chart = v1alpha1.ChartSpec{Name: "web", Version: version, Repository: &v1alpha1.RepositoryReference{Name: repository}}
		}
	}
	tarball := s.packaged(web[0])
	fleet := []inheritance{
		{name: "exact", chart: tarball, deployed: "web-1.0.0", values: []string{"message: s3cret"}, spec: reference("1.0.0", "charts")},
		{name: "none", chart: tarball, deployed: "web-1.0.0", values: []string{""}, spec: reference("~1.0.0", "charts")},
		{
			name: "tricky", chart: tarball, deployed: "web-1.0.0",
			values: []string{"message: first", "message: second", trickyValues}, spec: reference("1.0.x", "charts"),
		},
		{
			name: "by-url", chart: registry + "/web", options: []string{"--version", "1.1.0", "--plain-http"}, deployed: "web-1.1.0",
			values: []string{"message: s3cret"}, spec: func(spec *v1alpha1.HelmReleaseSpec) {
				spec.Chart = v1alpha1.ChartSpec{Name: "web", Version: "^1.0.0", OCIRepository: registry + "/web"}
				spec.Release = &v1alpha1.ReleaseTarget{Name: "elsewhere", Namespace: target, CreateNamespace: true}
			},
		},
	}
	for i := range fleet {
		s.inherit(&fleet[i])
	}
	before := s.versionsOfAll(s.namespace, target)

	s.ownServices("", s.namespace)

	for _, name := range []string{"charts", "registry"} {
		repository := s.repositoryUntil(name, metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
		for _, condition := range []string{v1alpha1.ConditionSyncing, v1alpha1.ConditionFailed} {
			assert.True(t, meta.IsStatusConditionFalse(repository.Status.Conditions, condition), "%s of %s", condition, name)
		}
	}
	assert.Equal(t, 2, s.repositoryUntil("charts", metav1.ConditionTrue, "").Status.Stats.TotalVersions)
	for _, one := range fleet {
		s.takenOver(&one)
	}
	assert.Equal(t, before, s.versionsOfAll(s.namespace, target), "nothing that was deployed is written")

	// Another look upgrades nothing either, and who leaves takes along what the original deployed.
	for _, one := range fleet {
		s.look(one.name, "again")
		s.until(one.name, handled("again", ready))
	}
	assert.Equal(t, before, s.versionsOfAll(s.namespace, target))
	s.leaves("by-url", target, "elsewhere")
	repository := s.repositoryUntil("registry", metav1.ConditionTrue, "")
	require.NoError(t, s.Delete(s.ctx, repository))
	s.gone(repository)
}

// packaged writes a packaged chart and returns its path.
func (s *story) packaged(c chart) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), c.name+"-"+c.version+".tgz")
	require.NoError(s, os.WriteFile(path, c.tarball(s.T), 0o600))
	return path
}

// inheritRepository makes a HelmRepository as the original leaves it, with conditions that it never takes back.
func (s *story) inheritRepository(name, url string, edit func(*v1alpha1.HelmRepository)) {
	s.Helper()
	repository := &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace, Finalizers: []string{v1alpha1.RepositoryFinalizer}},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url},
	}
	edit(repository)
	status := repository.Status
	require.NoError(s, s.Create(s.ctx, repository))
	repository.Status = status
	repository.Status.ObservedGeneration = repository.Generation
	repository.Status.Conditions = inherited(map[string]string{
		v1alpha1.ConditionReady: v1alpha1.ReasonSyncCompleted, v1alpha1.ConditionSyncing: v1alpha1.ReasonSyncStarted,
		v1alpha1.ConditionFailed: v1alpha1.ReasonSyncFailed,
	})
	require.NoError(s, s.Status().Update(s.ctx, repository))
}

// inherited are conditions that are True, with a reason by type.
func inherited(reasons map[string]string) []metav1.Condition {
	var conditions []metav1.Condition
	for kind, reason := range reasons {
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: "of the original",
		})
	}
	return conditions
}

// inherit makes a release as the original leaves it.
func (s *story) inherit(one *inheritance) {
	s.Helper()
	release := s.release(one.name)
	release.Finalizers = []string{v1alpha1.ReleaseFinalizer}
	one.spec(&release.Spec)
	namespace, name := s.namespace, one.name
	if to := release.Spec.Release; to != nil {
		namespace, name = to.Namespace, to.Name
	}
	values := filepath.Join(s.TempDir(), "values.yaml")
	for _, text := range one.values {
		require.NoError(s, os.WriteFile(values, []byte(text), 0o600))
		helm(s.T, append([]string{
			"upgrade", "--install", name, one.chart, "--namespace", namespace, "--create-namespace", "--values", values, "--wait",
		}, one.options...)...)
		release.Spec.Values = v1alpha1.ValuesFromString(text)
	}
	s.deployment(namespace, name)
	applied, err := json.Marshal(release.Spec)
	require.NoError(s, err)
	s.apply(release)
	release.Status = v1alpha1.HelmReleaseStatus{
		ObservedGeneration: release.Generation, HelmRelease: s.recorded(namespace, name, one.deployed),
		LastAppliedConfiguration: string(applied), OriginalValues: webChart("").files["values.yaml"],
		Conditions: inherited(map[string]string{
			v1alpha1.ConditionReady: v1alpha1.ReasonInstallCompleted, v1alpha1.ConditionReleased: v1alpha1.ReasonInstallCompleted,
			v1alpha1.ConditionProgressing: v1alpha1.ReasonInstallStarted, v1alpha1.ConditionFailed: v1alpha1.ReasonUpgradeFailed,
		}),
	}
	require.NoError(s, s.Status().Update(s.ctx, release))
}

// recorded is what the original writes into a status of what the helm command says.
func (s *story) recorded(namespace, name, chart string) *v1alpha1.HelmReleaseInfo {
	s.Helper()
	var said struct {
		Version int `json:"version"`
		Info    struct {
			FirstDeployed time.Time `json:"first_deployed"`
			LastDeployed  time.Time `json:"last_deployed"`
			Description   string    `json:"description"`
		} `json:"info"`
	}
	output := helm(s.T, "status", name, "--namespace", namespace, "--output", "json")
	require.NoError(s, json.Unmarshal([]byte(output), &said))
	installed, upgraded := metav1.NewTime(said.Info.FirstDeployed), metav1.NewTime(said.Info.LastDeployed)
	return &v1alpha1.HelmReleaseInfo{
		Name: name, Namespace: namespace, Revision: said.Version, Status: "deployed", FirstDeployed: &installed, LastDeployed: &upgraded,
		Description: said.Info.Description, Chart: chart, AppVersion: "1",
	}
}

// takenOver waits until a release of the original is Ready, and checks that it is as it was but for what the status must not hold.
func (s *story) takenOver(one *inheritance) {
	s.Helper()
	release := s.until(one.name, func(r *v1alpha1.HelmRelease) error {
		if r.Status.AppliedDigest == "" {
			return fmt.Errorf("the status is still that of the original")
		}
		return readyAt(one.deployed)(r)
	})
	assert.Equal(s, len(one.values), release.Status.HelmRelease.Revision, one.name)
	assert.Empty(s, release.Status.Failures, one.name)
	for _, condition := range []string{v1alpha1.ConditionProgressing, v1alpha1.ConditionFailed} {
		assert.True(s, meta.IsStatusConditionFalse(release.Status.Conditions, condition), "%s of %s", condition, one.name)
	}
	status, err := json.Marshal(release.Status)
	require.NoError(s, err)
	assert.NotContains(s, string(status), "s3cret", "values of %s", one.name)
	assert.Empty(s, release.Status.LastAppliedConfiguration, one.name)
	assert.Empty(s, release.Status.OriginalValues, one.name)
}

// leaves deletes a HelmRelease, and waits until its Helm release and its objects are gone.
func (s *story) leaves(name, namespace, helmRelease string) {
	s.Helper()
	release := s.release(name)
	require.NoError(s, s.Delete(s.ctx, release))
	s.gone(release)
	s.gone(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: helmRelease}})
	records := &corev1.SecretList{}
	require.NoError(s, s.List(s.ctx, records, client.InNamespace(namespace), client.MatchingLabels{"owner": "helm"}))
	assert.Empty(s, records.Items, "records of %s", helmRelease)
}

// versionsOfAll returns the resource versions of the objects and of the records of all releases of namespaces.
func (s *story) versionsOfAll(namespaces ...string) map[string]string {
	s.Helper()
	versions := map[string]string{}
	for _, namespace := range namespaces {
		for kind, list := range map[string]client.ObjectList{
			"Secret": &corev1.SecretList{}, "ConfigMap": &corev1.ConfigMapList{},
			"Service": &corev1.ServiceList{}, "Deployment": &appsv1.DeploymentList{},
		} {
			require.NoError(s, s.List(s.ctx, list, client.InNamespace(namespace)))
			require.NoError(s, meta.EachListItem(list, func(item runtime.Object) error {
				object, err := meta.Accessor(item)
				if err == nil {
					versions[fmt.Sprintf("%s %s/%s", kind, namespace, object.GetName())] = object.GetResourceVersion()
				}
				return err
			}))
		}
	}
	return versions
}
