package helm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestInstallOfBadInputSaysWhatIsWrong(t *testing.T) {
	f := newFixture(t)
	const secret = "hunter22"
	tests := []struct {
		name     string
		release  string
		source   ChartSource
		stage    Stage
		cause    error
		contains []string
		recorded int
	}{
		{
			"a tarball that is none", "bad",
			ChartSource{Chart: []byte("<html>")},
			StageLoad, ErrInvalidChart, []string{"read the chart"}, 0,
		},
		{
			"another chart than asked for", "bad",
			ChartSource{Chart: simpleChart(t, "1.0.0"), ChartName: "nginx"},
			StageLoad, ErrChartName, []string{`"simple"`, `"nginx"`}, 0,
		},
		{
			"a library chart", "bad",
			ChartSource{Chart: tarball(t, "lib", "1.0.0", chartFiles{
				"Chart.yaml": "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n",
			})},
			StageLoad, ErrInvalidChart, []string{"library"}, 0,
		},
		{
			"a chart without one of its dependencies", "bad",
			ChartSource{Chart: tarball(t, "parent", "1.0.0", chartFiles{
				"Chart.yaml": "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{name: child, version: 1.0.0}]\n",
			})},
			StageLoad, ErrInvalidChart, []string{"child"}, 0,
		},
		{
			"a release name that is none", "Not_A_Name",
			ChartSource{Chart: simpleChart(t, "1.0.0")},
			StageValidate, nil, []string{"Not_A_Name", "53"}, 0,
		},
		{
			"a template that does not parse", "bad",
			ChartSource{Chart: tarball(t, "broken", "1.0.0", chartFiles{"templates/a.yaml": "{{ if }}"})},
			StageRender, nil, []string{"broken/templates/a.yaml"}, 0,
		},
		{
			"a template that gives up", "bad",
			ChartSource{
				Chart:  tarball(t, "picky", "1.0.0", chartFiles{"templates/a.yaml": `{{ fail (printf "bad password %s" .Values.password) }}`}),
				Values: map[string]any{"password": secret},
			},
			StageRender, nil, []string{"bad password ***"}, 0,
		},
		{
			"a template that renders no YAML", "bad",
			ChartSource{Chart: tarball(t, "broken", "1.0.0", chartFiles{"templates/a.yaml": "a: b: c"})},
			StageRender, nil, []string{"templates/a.yaml"}, 0,
		},
		{
			"a kind that the cluster does not know", "bad",
			ChartSource{Chart: tarball(t, "strange", "1.0.0", chartFiles{
				"templates/a.yaml": "apiVersion: nowhere.example.com/v1\nkind: Widget\nmetadata: {name: w}\n",
			})},
			StageRender, nil, []string{"Widget", "nowhere.example.com/v1"}, 0,
		},
		{
			"a chart for another Kubernetes", "bad",
			ChartSource{Chart: tarball(t, "old", "1.0.0", chartFiles{
				"Chart.yaml": "apiVersion: v2\nname: old\nversion: 1.0.0\nkubeVersion: \"<1.10.0\"\n",
			})},
			StageRender, nil, []string{"kubeVersion"}, 0,
		},
		{
			"an object that the API server refuses", "refused",
			ChartSource{
				Chart: tarball(t, "refused", "1.0.0", chartFiles{
					"templates/a.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: {{ .Values.token }}, ports: [{port: 80}]}\n",
				}),
				Values: map[string]any{"token": secret},
			},
			StageApply, nil, []string{"spec.type", "***"}, 1,
		},
		{
			"values that do not match the schema", "bad",
			ChartSource{
				Chart: tarball(t, "strict", "1.0.0", chartFiles{
					"values.schema.json": `{"type":"object","required":["host"],"properties":{
						"replicas":{"type":"integer"},"password":{"type":"string","pattern":"^[a-z]+$"}}}`,
				}),
				Values: map[string]any{"replicas": secret, "password": secret},
			},
			StageValidate, ErrInvalidValues, []string{"replicas must be of type integer", "lacks host", "password must match"}, 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target(tt.release, "op"), ChartSource: tt.source})
			failure := wantError(t, err)
			assert.Equal(t, tt.stage, failure.Stage, failure.Message)
			assert.Equal(t, tt.recorded, failure.Revision)
			assert.False(t, failure.Interrupted())
			if tt.cause != nil {
				assert.ErrorIs(t, err, tt.cause)
			}
			for _, text := range tt.contains {
				assert.Contains(t, failure.Message, text)
			}
			assert.NotContains(t, failure.Message, secret)
			assert.NotContains(t, failure.Message, "\n")
			last, found, err := f.helm.Last(t.Context(), f.namespace, tt.release)
			require.NoError(t, err)
			assert.Equal(t, tt.recorded > 0, found)
			assert.NotContains(t, last.Description, secret)
		})
	}
}

func TestSchemaIsSkippedWhenAsked(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "strict", "1.0.0", chartFiles{
		"values.schema.json":    `{"type":"object","required":["host"]}`,
		"templates/config.yaml": configMap,
	})
	_, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("web", "1"), ChartSource: ChartSource{Chart: chart, SkipSchemaValidation: true},
	})
	require.NoError(t, err)
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "2"), ChartSource: ChartSource{Chart: chart}})
	require.ErrorIs(t, err, ErrInvalidValues)
	assert.Zero(t, wantError(t, err).Revision, "nothing is recorded before the values are right")
	assert.Equal(t, 1, f.last("web").Revision)
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "3"), ChartSource: ChartSource{Chart: chart, SkipSchemaValidation: true},
	})
	require.NoError(t, err)
}

func TestReusedValuesAreCheckedToo(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", simpleChart(t, "1.0.0"), map[string]any{"text": "from before"})
	chart := tarball(t, "simple", "1.1.0", chartFiles{
		"values.schema.json":    `{"type":"object","required":["text"]}`,
		"templates/config.yaml": configMap,
	})
	_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("web", "2"), ChartSource: ChartSource{Chart: chart}, ReuseValues: true,
	})
	require.NoError(t, err)
	assert.Equal(t, "from before", f.data("web-config")["text"])
}

func TestObjectsOfOthersAreTakenOnlyWhenAsked(t *testing.T) {
	f := newFixture(t)
	_, err := f.kube.CoreV1().ConfigMaps(f.namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "web-config"}, Data: map[string]string{"text": "mine"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	options := InstallOptions{Target: f.target("web", "1"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")}}

	_, err = f.helm.Install(t.Context(), options)
	failure := wantError(t, err)
	assert.Equal(t, StageApply, failure.Stage)
	assert.Zero(t, failure.Revision)
	assert.Contains(t, failure.Message, "web-config")
	assert.Equal(t, "mine", f.data("web-config")["text"])

	options.TakeOwnership = true
	_, err = f.helm.Install(t.Context(), options)
	require.NoError(t, err)
	assert.Equal(t, "default", f.data("web-config")["text"])
}

func TestReleaseThatDoesNotExistIsNotUpgraded(t *testing.T) {
	f := newFixture(t)
	_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target: f.target("absent", "1"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")},
	})
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("absent", "1"), ToRevision: 1})
	assert.ErrorIs(t, err, ErrNotFound)
	f.install("web", "1", simpleChart(t, "1.0.0"), nil)
	_, err = f.helm.Rollback(t.Context(), RollbackOptions{Target: f.target("web", "2"), ToRevision: 7})
	assert.ErrorIs(t, err, ErrNotFound)
	assert.Equal(t, 1, f.last("web").Revision)
}

func TestWaitForJobs(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "job", "1.0.0", chartFiles{"templates/job.yaml": `apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: example.com/work}]}
`})
	rel, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("plain", "1"), ChartSource: ChartSource{Chart: chart}, Waiting: Waiting{Wait: true, Timeout: time.Minute},
	})
	require.NoError(t, err, "Jobs are waited for only when asked")
	assert.Equal(t, StatusDeployed, rel.Status)

	jobs := f.kube.BatchV1().Jobs(f.namespace)
	job, err := jobs.Get(t.Context(), "work", metav1.GetOptions{})
	require.NoError(t, err)
	now := metav1.Now()
	job.Status.StartTime = &now
	job.Status.Conditions = []batchv1.JobCondition{
		{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded"},
		{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "too many failures"},
	}
	_, err = jobs.UpdateStatus(t.Context(), job, metav1.UpdateOptions{})
	require.NoError(t, err)

	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{
		Target:      f.target("plain", "2"),
		ChartSource: ChartSource{Chart: chart, Values: map[string]any{"x": 1}},
		Waiting:     Waiting{Wait: true, WaitForJobs: true, Timeout: time.Minute},
	})
	failure := wantError(t, err)
	assert.ErrorIs(t, err, ErrFailed, "a failed Job is not waited for until the timeout")
	assert.Equal(t, StageWait, failure.Stage)
	assert.Contains(t, failure.Message, "Job work: failed: BackoffLimitExceeded: too many failures")
}

func TestTimeoutTellsWhyAPodIsNotScheduled(t *testing.T) {
	f := newFixture(t)
	pods := f.kube.CoreV1().Pods(f.namespace)
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available",
	}}
	_, err = pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)

	_, err = f.helm.Install(t.Context(), InstallOptions{
		Target:      f.target("app", "1"),
		ChartSource: ChartSource{Chart: stuckChart(t, "1.0.0")},
		Waiting:     Waiting{Wait: true, Timeout: 300 * time.Millisecond},
	})
	assert.Contains(t, wantError(t, err).Message,
		"Deployment app-web is not ready: Pod web-1: Unschedulable: 0/3 nodes are available")
}
