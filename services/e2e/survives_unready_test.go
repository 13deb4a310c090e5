package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// brittleChart is a chart of which a hook, a Job or a Deployment can be told what becomes of its Pods (see kwok.yaml).
func brittleChart() chart {
	pod := func(value string) string {
		return `  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {local.ketches.cn/outcome: {{ ` + value + ` | quote }}}
    spec:
      containers: [{name: main, image: "example.invalid/main:1"}]
`
	}
	job := func(name, annotations, value string) string {
		return `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-` + name + `
  annotations: {` + annotations + `}
spec:
  backoffLimit: 0
` + pod(value) + "      restartPolicy: Never\n"
	}
	return chart{name: "brittle", version: "1.0.0", files: map[string]string{
		"values.yaml":          "hook: ''\njob: ''\npod: ''\n",
		"templates/hook.yaml":  job("prepare", "helm.sh/hook: pre-upgrade", ".Values.hook"),
		"templates/job.yaml":   job("work-{{ .Release.Revision }}", "", ".Values.job"),
		"templates/pods.yaml":  "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  selector: {matchLabels: {app: {{ .Release.Name }}}}\n" + pod(".Values.pod"),
		"templates/other.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n",
	}}
}

func TestSurvivesWhatNeverGetsReadyAndSaysWhichObjectAndWhy(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 1)
	// Containers that crash or have no image are given two minutes to mend, which only `make chaos` has time for.
	// Without it, the time that the operation has ends before.
	patient := func(short string) string {
		if c.all {
			return "10m"
		}
		return short
	}
	for name, story := range map[string]struct {
		values, timeout string
		within          time.Duration // of the failure; far less than the timeout where that is 10 m
		mentions        []string
	}{
		"a failing hook":           {"hook: fail", "10m", time.Minute, []string{"Job", "app-prepare", "BackoffLimitExceeded"}},
		"a failing Job":            {"job: fail", "10m", time.Minute, []string{"Job", "app-work-2", "BackoffLimitExceeded"}},
		"a crash-looping Pod":      {"pod: crash-loop", patient("5s"), 4 * time.Minute, []string{"Deployment", "app", "CrashLoopBackOff"}},
		"an image that never came": {"pod: image-error", patient("5s"), 4 * time.Minute, []string{"Deployment", "app", "ImagePullBackOff"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.repository("charts", newChartRepository(t, brittleChart()).URL)
			s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
				r.Spec.Chart.Name = "brittle"
				r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
				r.Spec.Upgrade = &v1alpha1.UpgradeSpec{Timeout: v1alpha1.Duration(story.timeout)}
			}))
			s.until("app", ready)
			began := time.Now()
			s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString(story.values) })

			var release *v1alpha1.HelmRelease
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				release = s.get("app")
				require.NoError(c, notReady(v1alpha1.ReasonRolledBack)(release))
			}, story.within, 50*time.Millisecond)
			t.Logf("failed and rolled back in %s", time.Since(began).Round(time.Second))
			message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
			for _, mention := range story.mentions {
				assert.Contains(t, message, mention)
			}
			assert.EqualValues(t, 1, release.Status.FailureCount)
			assert.Equal(t, 3, release.Status.HelmRelease.Revision, "it went back once")
			assert.Equal(t, "deployed", release.Status.HelmRelease.Status)

			s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("mended: true") })
			release = s.until("app", func(r *v1alpha1.HelmRelease) error {
				if r.Status.FailureCount != 0 {
					return fmt.Errorf("failureCount is %d", r.Status.FailureCount)
				}
				return ready(r)
			})
			assert.Equal(t, 4, release.Status.HelmRelease.Revision, "what failed was held and not tried again")
			suite.survived.count(name, "upgrade", true, !t.Failed())
		})
	}
}
