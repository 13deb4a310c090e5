package helm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (f *fixture) install(name, operation string, chart []byte, values map[string]any) Release {
	f.t.Helper()
	rel, err := f.helm.Install(f.t.Context(), InstallOptions{
		Target:      f.target(name, operation),
		ChartSource: ChartSource{Chart: chart, Values: values},
		Waiting:     Waiting{Timeout: time.Minute, Wait: true, WaitForJobs: true},
	})
	require.NoError(f.t, err)
	return rel
}

func (f *fixture) upgrade(name, operation string, chart []byte, values map[string]any) Release {
	f.t.Helper()
	rel, err := f.helm.Upgrade(f.t.Context(), UpgradeOptions{
		Target:      f.target(name, operation),
		ChartSource: ChartSource{Chart: chart, Values: values},
		Waiting:     Waiting{Timeout: time.Minute, Wait: true, WaitForJobs: true},
	})
	require.NoError(f.t, err)
	return rel
}

func TestReleaseFromInstallToUninstall(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()

	_, found, err := f.helm.Last(ctx, f.namespace, "web")
	require.NoError(t, err)
	assert.False(t, found, "nothing is installed yet")

	values := map[string]any{"text": "one"}
	rel := f.install("web", "op-1", simpleChart(t, "1.0.0"), values)
	assert.Equal(t, map[string]any{"text": "one"}, values, "values are not changed")
	assert.Equal(t, 1, rel.Revision)
	assert.Equal(t, StatusDeployed, rel.Status)
	assert.Equal(t, "simple", rel.ChartName)
	assert.Equal(t, "1.0.0", rel.ChartVersion)
	assert.Equal(t, "9", rel.AppVersion)
	assert.Equal(t, "Install complete", rel.Description)
	assert.Equal(t, map[string]string{"owner-hash": "abc", "op": "op-1"}, rel.Labels)
	assert.Equal(t, map[string]string{"text": "one"}, f.data("web-config"))
	last := f.last("web")
	// Times lose what JSON does not keep.
	last.FirstDeployed, last.LastDeployed = rel.FirstDeployed, rel.LastDeployed
	assert.Equal(t, rel, last, "an action returns what storage says")

	f.upgrade("web", "op-2", simpleChart(t, "1.1.0"), map[string]any{"text": "two"})
	assert.Equal(t, map[string]string{"text": "two"}, f.data("web-config"))
	rel = f.last("web")
	assert.Equal(t, 2, rel.Revision)
	assert.Equal(t, "1.1.0", rel.ChartVersion)
	assert.Equal(t, "op-2", rel.Labels["op"])

	history, err := f.helm.History(ctx, f.namespace, "web")
	require.NoError(t, err)
	require.Len(t, history, 2)
	assert.Equal(t, []int{2, 1}, []int{history[0].Revision, history[1].Revision})
	assert.Equal(t, StatusSuperseded, history[1].Status)
	assert.Equal(t, "op-1", history[1].Labels["op"], "a record keeps the operation that made it")

	rel, err = f.helm.Rollback(ctx, RollbackOptions{
		Target: f.target("web", "op-3"), Waiting: Waiting{Wait: true, Timeout: time.Minute}, ToRevision: 1,
	})
	require.NoError(t, err)
	assert.Equal(t, 3, rel.Revision)
	assert.Equal(t, StatusDeployed, rel.Status)
	assert.Equal(t, "op-3", rel.Labels["op"], "not the operation of the revision that is deployed again")
	assert.Equal(t, map[string]string{"text": "one"}, f.data("web-config"))

	found, err = f.helm.Uninstall(ctx, UninstallOptions{Target: f.target("web", "op-4"), Timeout: time.Minute})
	require.NoError(t, err)
	assert.True(t, found)
	assert.Nil(t, f.data("web-config"))
	_, found, err = f.helm.Last(ctx, f.namespace, "web")
	require.NoError(t, err)
	assert.False(t, found)

	found, err = f.helm.Uninstall(ctx, UninstallOptions{Target: f.target("web", "op-5")})
	require.NoError(t, err)
	assert.False(t, found, "there is nothing left to uninstall")
}

func TestUpgradeUsesNoOldValuesUnlessAsked(t *testing.T) {
	f := newFixture(t)
	chart := simpleChart(t, "1.0.0")
	f.install("web", "1", chart, map[string]any{"text": "old", "kept": "yes"})

	f.upgrade("web", "2", chart, nil)
	assert.Equal(t, "default", f.data("web-config")["text"], "no values mean the chart's, not the old ones")

	f.upgrade("web", "3", chart, map[string]any{"text": "old"})
	_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "4"), ChartSource: ChartSource{Chart: chart}, ReuseValues: true,
	})
	require.NoError(t, err)
	assert.Equal(t, "old", f.data("web-config")["text"])

	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "5"), ChartSource: ChartSource{Chart: chart}, ReuseValues: true, ResetValues: true,
	})
	require.NoError(t, err)
	assert.Equal(t, "default", f.data("web-config")["text"], "reset wins over reuse")
}

func TestHistoryIsBounded(t *testing.T) {
	f := newFixture(t)
	chart := simpleChart(t, "1.0.0")
	f.install("web", "1", chart, nil)
	for _, text := range []string{"a", "b", "c"} {
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
			Target: f.target("web", text), MaxHistory: 2,
			ChartSource: ChartSource{Chart: chart, Values: map[string]any{"text": text}},
		})
		require.NoError(t, err)
	}
	history, err := f.helm.History(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	require.Len(t, history, 2)
	assert.Equal(t, 4, history[0].Revision)

	_, err = f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("web", "r"), ToRevision: 3, MaxHistory: 2})
	require.NoError(t, err)
	history, err = f.helm.History(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	require.Len(t, history, 2, "a rollback keeps the bound, too")
	assert.Equal(t, 5, history[0].Revision)
	assert.Equal(t, "b", f.data("web-config")["text"])
}

func TestInstallCreatesTheNamespaceWhenAsked(t *testing.T) {
	f := newFixture(t)
	target := Target{Name: "web", Namespace: f.namespace + "-new"}
	source := ChartSource{Chart: simpleChart(t, "1.0.0")}

	_, err := f.helm.Install(t.Context(), InstallOptions{Target: target, ChartSource: source})
	failure := wantError(t, err)
	assert.ErrorIs(t, err, ErrNamespaceNotFound)
	assert.Equal(t, StageStorage, failure.Stage)
	assert.Contains(t, failure.Message, target.Namespace)

	rel, err := f.helm.Install(t.Context(), InstallOptions{Target: target, ChartSource: source, CreateNamespace: true})
	require.NoError(t, err)
	assert.Equal(t, target.Namespace, rel.Namespace)
	_, err = f.kube.CoreV1().ConfigMaps(target.Namespace).Get(t.Context(), "web-config", metav1.GetOptions{})
	assert.NoError(t, err, "objects land in the namespace of the release")
}

func TestKeptHistoryIsInstalledOver(t *testing.T) {
	f := newFixture(t)
	chart := simpleChart(t, "1.0.0")
	f.install("web", "1", chart, nil)
	keep := UninstallOptions{Target: f.target("web", "2"), KeepHistory: true}
	found, err := f.helm.Uninstall(t.Context(), keep)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, StatusUninstalled, f.last("web").Status)
	assert.Nil(t, f.data("web-config"))

	found, err = f.helm.Uninstall(t.Context(), keep)
	require.NoError(t, err)
	assert.False(t, found, "kept history counts as absent")

	_, err = f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "3"), ChartSource: ChartSource{Chart: chart}})
	assert.ErrorIs(t, err, ErrNameInUse)

	rel, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("web", "3"), ChartSource: ChartSource{Chart: chart}, Replace: true,
	})
	require.NoError(t, err)
	assert.Equal(t, 2, rel.Revision)
	assert.Equal(t, StatusDeployed, rel.Status)
}

func TestFailedUpgradeSaysWhyAndIsCleanedUp(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), nil)

	rel, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target:        f.target("web", "2"),
		ChartSource:   ChartSource{Chart: stuckChart(t, "2.0.0")},
		Waiting:       Waiting{Wait: true, Timeout: 300 * time.Millisecond},
		CleanupOnFail: true,
	})
	failure := wantError(t, err)
	assert.ErrorIs(t, err, ErrTimeout)
	assert.Equal(t, StageWait, failure.Stage)
	assert.Equal(t, 2, failure.Revision, "a failed revision was written")
	assert.False(t, failure.Interrupted())
	assert.Contains(t, failure.Message, "web-web")
	assert.Equal(t, StatusFailed, rel.Status)
	last := f.last("web")
	assert.Equal(t, StatusFailed, last.Status)
	assert.Equal(t, "2", last.Labels["op"])
	assert.Nil(t, f.data("web-extra"), "what the upgrade created is deleted")
	_, err = f.kube.AppsV1().Deployments(f.namespace).Get(t.Context(), "web-web", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err))

	rel, err = f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("web", "3"), ToRevision: 1})
	require.NoError(t, err)
	assert.Equal(t, 3, rel.Revision)
	assert.NotNil(t, f.data("web-config"), "the rollback brings back what the upgrade deleted")
}

func TestRollbackLeavesAloneWhatTheFailedUpgradeHadNotDeletedYet(t *testing.T) {
	f := newFixture(t)
	files := chartFiles{"templates/job.yaml": `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-work-{{ .Release.Revision }}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: work, image: "example.invalid/work:1"}]
`}
	_, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("web", "1"), ChartSource: ChartSource{Chart: tarball(t, "simple", "1.0.0", files)},
	})
	require.NoError(t, err)
	job, err := f.kube.BatchV1().Jobs(f.namespace).Get(t.Context(), "web-work-1", metav1.GetOptions{})
	require.NoError(t, err)

	files["templates/config.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-config}\ndata: {not a key: x}\n"
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "2"), ChartSource: ChartSource{Chart: tarball(t, "simple", "2.0.0", files)},
	})
	require.Equal(t, StageApply, wantError(t, err).Stage)

	// The API server has given the Job a selector and labels that cannot be changed.
	_, err = f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("web", "3"), ToRevision: 1})
	require.NoError(t, err)
	after, err := f.kube.BatchV1().Jobs(f.namespace).Get(t.Context(), "web-work-1", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, job.UID, after.UID)
	assert.Equal(t, job.Spec, after.Spec)
}

func TestUpgradePrunesWhatFailedRevisionsLeft(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), nil)
	_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target:      f.target("web", "2"),
		ChartSource: ChartSource{Chart: stuckChart(t, "2.0.0")},
		Waiting:     Waiting{Wait: true, Timeout: 200 * time.Millisecond},
	})
	require.ErrorIs(t, err, ErrTimeout)
	require.NotNil(t, f.data("web-extra"), "without cleanup it stays")

	f.upgrade("web", "3", simpleChart(t, "1.0.1"), nil)
	assert.Nil(t, f.data("web-extra"))
	assert.NotNil(t, f.data("web-config"))
}

func TestUninstallAfterAFailedUpgradeLeavesNothingBehind(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), nil)
	_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "2"),
		ChartSource: ChartSource{Chart: tarball(t, "simple", "2.0.0", chartFiles{
			"templates/config.yaml": strings.Replace(configMap, "-config", "-extra", 1),
			"templates/hook.yaml": `apiVersion: v1
kind: Pod
metadata:
  name: never-ends
  annotations: {"helm.sh/hook": pre-upgrade}
spec:
  restartPolicy: Never
  containers: [{name: hook, image: "example.invalid/hook:1"}]
`,
		}), Values: map[string]any{"text": "x"}},
		Waiting: Waiting{Wait: true, Timeout: 300 * time.Millisecond},
	})
	require.Error(t, err)
	require.Equal(t, StatusFailed, f.last("web").Status)
	require.NotNil(t, f.data("web-config"), "the upgrade failed before it removed anything")

	found, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "3"), Timeout: 5 * time.Second})

	require.NoError(t, err)
	assert.True(t, found)
	assert.Nil(t, f.data("web-config"), "only the deployed revision has it")
}

func TestFailedInstallIsUpgradedOver(t *testing.T) {
	f := newFixture(t)
	_, err := f.helm.Install(t.Context(), InstallOptions{
		Target:      f.target("web", "1"),
		ChartSource: ChartSource{Chart: stuckChart(t, "1.0.0")},
		Waiting:     Waiting{Wait: true, Timeout: 200 * time.Millisecond},
	})
	failure := wantError(t, err)
	assert.Equal(t, 1, failure.Revision)
	assert.Equal(t, StatusFailed, f.last("web").Status)

	rel := f.upgrade("web", "2", simpleChart(t, "1.0.1"), nil)
	assert.Equal(t, 2, rel.Revision)
	assert.Nil(t, f.data("web-extra"))
}

func TestInterruptedWaitLeavesTheRecordPending(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), nil)

	shutdown := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	type outcome struct {
		rel Release
		err error
	}
	done := make(chan outcome, 1)
	chart := stuckChart(t, "2.0.0")
	go func() {
		rel, err := f.helm.Upgrade(ctx, UpgradeOptions{
			Target:        f.target("web", "2"),
			ChartSource:   ChartSource{Chart: chart},
			Waiting:       Waiting{Wait: true, Timeout: time.Minute},
			CleanupOnFail: true,
		})
		done <- outcome{rel, err}
	}()
	f.eventually("the upgrade has applied its objects", func(context.Context) bool { return f.data("web-extra") != nil })
	cancel(shutdown)
	got := <-done
	failure := wantError(t, got.err)
	assert.True(t, failure.Interrupted())
	assert.Zero(t, failure.Revision)
	assert.ErrorIs(t, got.err, shutdown)
	assert.Equal(t, StatusPendingUpgrade, got.rel.Status)

	last := f.last("web")
	assert.Equal(t, StatusPendingUpgrade, last.Status)
	assert.Equal(t, "2", last.Labels["op"], "the record tells whose it is")
	assert.NotNil(t, f.data("web-extra"), "nothing is cleaned up")
	history, err := f.helm.History(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	assert.Equal(t, StatusDeployed, history[1].Status)

	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "3"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")},
	})
	assert.ErrorIs(t, err, ErrPending)

	require.NoError(t, f.helm.MarkInterrupted(t.Context(), f.namespace, "web", 2, "the operator stopped"))
	last = f.last("web")
	assert.Equal(t, StatusFailed, last.Status)
	assert.Equal(t, "interrupted: the operator stopped", last.Description)
	assert.Equal(t, "2", last.Labels["op"])
	require.NoError(t, f.helm.MarkInterrupted(t.Context(), f.namespace, "web", 2, "again"), "once is enough")
	assert.Equal(t, "interrupted: the operator stopped", f.last("web").Description)
	assert.ErrorIs(t, f.helm.MarkInterrupted(t.Context(), f.namespace, "web", 9, "x"), ErrNotFound)

	f.upgrade("web", "4", simpleChart(t, "1.0.2"), nil)
	assert.Nil(t, f.data("web-extra"), "what the interrupted revision created is pruned")
}

func TestNothingBeginsWhenTheContextHasEnded(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.helm.Install(ctx, InstallOptions{
		Target: f.target("web", "1"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")},
	})
	assert.True(t, wantError(t, err).Interrupted())
	_, found, err := f.helm.Last(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	assert.False(t, found)
}

func TestUninstallKeepsTheRecordWhileObjectsStay(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "held", "1.0.0", chartFiles{"templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: held
  finalizers: [example.com/hold]
`})
	f.install("web", "1", chart, nil)

	found, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "2"), Timeout: 200 * time.Millisecond})
	assert.True(t, found)
	failure := wantError(t, err)
	assert.ErrorIs(t, err, ErrTimeout)
	assert.Equal(t, StageWait, failure.Stage)
	assert.Contains(t, failure.Message, "ConfigMap held (finalizers example.com/hold)")
	assert.Equal(t, StatusUninstalling, f.last("web").Status)

	patch := []byte(`{"metadata":{"finalizers":null}}`)
	_, err = f.kube.CoreV1().ConfigMaps(f.namespace).Patch(
		t.Context(), "held", "application/merge-patch+json", patch, metav1.PatchOptions{})
	require.NoError(t, err)
	found, err = f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "3"), Timeout: time.Minute})
	require.NoError(t, err)
	assert.True(t, found)
	_, found, err = f.helm.Last(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	assert.False(t, found)
}

func TestInstallOfCustomResourcesWithTheirDefinition(t *testing.T) {
	f := newFixture(t)
	const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.test.example.com
spec:
  group: test.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`
	chart := tarball(t, "widgets", "1.0.0", chartFiles{
		"crds/widgets.yaml": crd,
		"templates/widget.yaml": `{{- if not (.Capabilities.APIVersions.Has "test.example.com/v1/Widget") }}{{ fail "no widgets" }}{{ end -}}
apiVersion: test.example.com/v1
kind: Widget
metadata: {name: one}
spec: {size: 1}
`,
	})
	// The shared caches are warm and do not know the kind yet.
	f.install("before", "0", simpleChart(t, "1.0.0"), nil)
	f.install("web", "1", chart, nil)

	// With the definition goes the kind; the release can be uninstalled nevertheless.
	require.NoError(t, f.kube.CoreV1().RESTClient().Delete().
		AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.test.example.com").Do(t.Context()).Error())
	f.eventually("the kind is gone", func(context.Context) bool {
		_, err := f.kube.Discovery().ServerResourcesForGroupVersion("test.example.com/v1")
		return apierrors.IsNotFound(err)
	})
	client, err := New(Config{REST: server.rest})
	require.NoError(t, err)
	found, err := client.Uninstall(t.Context(), UninstallOptions{Target: f.target("web", "2"), Timeout: time.Minute})
	require.NoError(t, err)
	assert.True(t, found)
}
