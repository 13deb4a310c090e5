package helm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// byHand adds a key to the ConfigMap of the release web, as a person does.
func (f *fixture) byHand(key string) {
	f.t.Helper()
	_, err := f.kube.CoreV1().ConfigMaps(f.namespace).Patch(f.t.Context(), "web-config", "application/merge-patch+json",
		[]byte(`{"data":{"`+key+`":"by hand"}}`), metav1.PatchOptions{})
	require.NoError(f.t, err)
}

// installStuck installs what never gets ready, without waiting for it.
func (f *fixture) installStuck() {
	f.t.Helper()
	_, err := f.helm.Install(f.t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: ChartSource{Chart: stuckChart(f.t, "1.0.0")}})
	require.NoError(f.t, err)
}

func TestForceReplacesObjectsInsteadOfPatchingThem(t *testing.T) {
	f := newFixture(t)
	chart := simpleChart(t, "1.0.0")
	f.install("web", "1", chart, map[string]any{"text": "one"})
	upgrade := func(text string, force bool) {
		t.Helper()
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
			Target: f.target("web", text), Force: force, ChartSource: ChartSource{Chart: chart, Values: map[string]any{"text": text}},
		})
		require.NoError(t, err)
		assert.Equal(t, text, f.data("web-config")["text"])
	}
	rollback := func(force bool) {
		t.Helper()
		_, err := f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("web", "r"), ToRevision: 1, Force: force})
		require.NoError(t, err)
		assert.Equal(t, "one", f.data("web-config")["text"])
	}

	f.byHand("more")
	upgrade("two", false)
	assert.Contains(t, f.data("web-config"), "more", "a patch leaves what others added")
	upgrade("three", true)
	assert.NotContains(t, f.data("web-config"), "more")

	f.byHand("more")
	rollback(false)
	assert.Contains(t, f.data("web-config"), "more")
	upgrade("four", false)
	rollback(true)
	assert.NotContains(t, f.data("web-config"), "more")
}

func TestRecreateDeletesThePodsOfUpdatedObjects(t *testing.T) {
	f := newFixture(t)
	f.installStuck() // nobody makes Pods here
	pods := f.kube.CoreV1().Pods(f.namespace)
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	upgrade := func(recreate bool) error {
		t.Helper()
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "2"), Recreate: recreate, ChartSource: ChartSource{Chart: stuckChart(t, "1.0.0")}})
		require.NoError(t, err)
		_, err = pods.Get(t.Context(), "web-1", metav1.GetOptions{})
		return err
	}

	require.NoError(t, upgrade(false))
	assert.True(t, apierrors.IsNotFound(upgrade(true)))
}

func TestHooksAreLeftOutWhereAsked(t *testing.T) {
	f := newFixture(t)
	files := chartFiles{"templates/config.yaml": configMap, "values.yaml": "text: default\n"}
	for _, event := range []string{"pre-install", "pre-upgrade", "pre-rollback", "pre-delete"} {
		files["templates/"+event+".yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + event + ", annotations: {helm.sh/hook: " + event + "}}\n" +
			"data: {ran: \"yes\"}\n"
	}
	chart := tarball(t, "hooked", "1.0.0", files)
	for _, disabled := range []bool{true, false} {
		waiting := Waiting{DisableHooks: disabled}
		source := func(text string) ChartSource { return ChartSource{Chart: chart, Values: map[string]any{"text": text}} }
		ran := func(event string) {
			assert.Equal(t, disabled, f.data(event) == nil, "%s, disabled: %t", event, disabled)
		}

		_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "1"), ChartSource: source("one"), Waiting: waiting})
		require.NoError(t, err)
		ran("pre-install")
		_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "2"), ChartSource: source("two"), Waiting: waiting})
		require.NoError(t, err)
		ran("pre-upgrade")
		_, err = f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("web", "3"), ToRevision: 1, Waiting: waiting})
		require.NoError(t, err)
		ran("pre-rollback")
		_, err = f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "4"), DisableHooks: disabled})
		require.NoError(t, err)
		ran("pre-delete")
	}
}

func TestARollbackWaitsAndCleansUpWhereAsked(t *testing.T) {
	f := newFixture(t)
	// Revision 1 has what revision 2 lacks, and never gets ready.
	f.installStuck()
	f.upgrade("web", "2", simpleChart(t, "1.1.0"), nil)
	require.Nil(t, f.data("web-extra"))
	rollback := func(options RollbackOptions) error {
		t.Helper()
		options.Target, options.ToRevision, options.Timeout = f.target("web", "r"), 1, 300*time.Millisecond
		_, err := f.helm.Rollback(t.Context(), options)
		return err
	}

	err := rollback(RollbackOptions{Waiting: Waiting{Wait: true}, CleanupOnFail: true})
	require.ErrorIs(t, err, ErrTimeout)
	assert.Contains(t, wantError(t, err).Message, "timed out after 300ms")
	assert.Nil(t, f.data("web-extra"), "what the rollback created is deleted")
	require.ErrorIs(t, rollback(RollbackOptions{Waiting: Waiting{Wait: true}}), ErrTimeout)
	assert.NotNil(t, f.data("web-extra"), "and stays otherwise")
	require.NoError(t, rollback(RollbackOptions{}), "nothing is waited for unless asked")
}

func TestAnUpgradeWaitsAndKeepsWhatItMadeWhereAsked(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), nil)
	upgrade := func(waiting Waiting) error {
		t.Helper()
		waiting.Timeout = 300 * time.Millisecond
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "2"), ChartSource: ChartSource{Chart: stuckChart(t, "2.0.0")}, Waiting: waiting})
		return err
	}
	require.ErrorIs(t, upgrade(Waiting{Wait: true}), ErrTimeout)
	assert.NotNil(t, f.data("web-extra"), "without cleanupOnFail")
	require.NoError(t, upgrade(Waiting{}))
}

func TestAnUpgradeTakesObjectsOfOthersOnlyWhereAsked(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", tarball(t, "simple", "1.0.0", chartFiles{"templates/none.yaml": ""}), nil)
	_, err := f.kube.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "web-config"}, Data: map[string]string{"text": "mine"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	options := UpgradeOptions{Target: f.target("web", "2"), ChartSource: ChartSource{Chart: simpleChart(t, "1.1.0")}}

	_, err = f.helm.Upgrade(t.Context(), options)
	assert.Contains(t, wantError(t, err).Message, "web-config")
	assert.Equal(t, "mine", f.data("web-config")["text"])
	options.TakeOwnership = true
	_, err = f.helm.Upgrade(t.Context(), options)
	require.NoError(t, err)
	assert.Equal(t, "default", f.data("web-config")["text"])
}

func TestAnUninstallThatTakesTooLongSaysWhatStays(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", tarball(t, "held", "1.0.0", chartFiles{
		"templates/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-config, finalizers: [example.com/held]}\n",
	}), nil)
	_, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "2"), Timeout: 300 * time.Millisecond})
	require.ErrorIs(t, err, ErrTimeout)
	message := wantError(t, err).Message
	assert.Contains(t, message, "timed out after 300ms")
	assert.Contains(t, message, "ConfigMap web-config")
	_, err = f.kube.CoreV1().ConfigMaps(f.namespace).Patch(t.Context(), "web-config", "application/merge-patch+json",
		[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	require.NoError(t, err)
}

func TestAnInstallWaitsForJobsWhereAsked(t *testing.T) {
	f := newFixture(t)
	install := func(name string, jobs bool) error {
		t.Helper()
		chart := tarball(t, "job", "1.0.0", chartFiles{"templates/job.yaml": `apiVersion: batch/v1
kind: Job
metadata: {name: {{ .Release.Name }}}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: example.com/work}]}
`})
		_, err := f.helm.Install(t.Context(), InstallOptions{
			Target: f.target(name, "1"), ChartSource: ChartSource{Chart: chart},
			Waiting: Waiting{Wait: true, WaitForJobs: jobs, Timeout: 300 * time.Millisecond},
		})
		return err
	}
	require.NoError(t, install("unheeded", false))
	err := install("awaited", true)
	require.ErrorIs(t, err, ErrTimeout)
	assert.Contains(t, wantError(t, err).Message, "Job awaited: 0 of 1 completed")
}

func TestATestThatTakesTooLongFails(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", testedChart(t), nil)
	_, err := f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t"), Timeout: 300 * time.Millisecond, Include: []string{"one"}})
	require.ErrorIs(t, err, ErrTimeout)
	failure := wantError(t, err)
	assert.Equal(t, StageTest, failure.Stage)
	assert.Contains(t, failure.Message, "timed out after 300ms waiting for hook Pod one")
}
