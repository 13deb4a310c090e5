package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// stageChart is a chart on which much can be cut off: hooks before and after, a workload that is waited for, and an object
// that each message has for itself.
func stageChart() chart {
	hook := func(name, when, outcome string) string {
		return `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-` + name + `
  labels: {stage: {{ .Release.Name }}}
  annotations:
    helm.sh/hook: ` + when + `
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
spec:
  backoffLimit: 0
  template:
    metadata:
      annotations: {local.ketches.cn/outcome: "` + outcome + `"}
    spec:
      restartPolicy: Never
      containers: [{name: hook, image: "example.invalid/hook:1"}]
`
	}
	return chart{name: "stage", version: "1.0.0", files: map[string]string{
		"values.yaml": "message: none\noutcome: ''\n",
		"templates/configmap.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {stage: {{ .Release.Name }}}
data: {message: {{ .Values.message }}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-only-{{ .Values.message }}
  labels: {stage: {{ .Release.Name }}}
`,
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {stage: {{ .Release.Name }}}
spec:
  replicas: 1
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {message: {{ .Values.message }}}
    spec:
      containers: [{name: web, image: "example.invalid/web:1"}]
`,
		"templates/before.yaml": hook("before", "pre-install,pre-upgrade", ""),
		"templates/after.yaml":  hook("after", "post-install,post-upgrade", "{{ .Values.outcome }}"),
		"templates/gone.yaml":   hook("gone", "pre-delete", ""),
		"templates/check.yaml": `apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-check
  labels: {stage: {{ .Release.Name }}}
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  containers: [{name: check, image: "example.invalid/check:1"}]
`,
	}}
}

// Messages that a stage can have.
const (
	first  = "one"
	second = "two"
	bad    = "bad" // its hook after the upgrade fails
	newer  = "three"
)

func stageValues(message string) *v1alpha1.Values {
	text := "message: " + message + "\n"
	if message == bad {
		text += "outcome: fail\n"
	}
	return v1alpha1.ValuesFromString(text)
}

// stageRelease returns a release of the chart stage. It is not created.
func (s *story) stageRelease(name, message string) *v1alpha1.HelmRelease {
	return s.release(name, func(r *v1alpha1.HelmRelease) {
		r.Spec.Chart.Name = "stage"
		r.Spec.Values = stageValues(message)
		r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
		r.Spec.Retry = &v1alpha1.RetrySpec{Interval: "1s", MaxInterval: "2s"}
	})
}

// say changes the message of a stage.
func (s *story) say(name, message string) {
	s.Helper()
	s.edit(name, func(r *v1alpha1.HelmRelease) { r.Spec.Values = stageValues(message) })
}

// act is something that the operator does to a stage, and that can be cut off.
type act struct {
	name string
	// onStage reports that the stage is deployed with the first message before it.
	onStage bool
	begin   func(s *story, name string)
	// after is the message that is deployed in the end; empty when nothing is.
	after string
	// failures is how often the act fails when nothing disturbs it.
	failures int32
}

func acts() []act {
	say := func(message string) func(*story, string) {
		return func(s *story, name string) { s.say(name, message) }
	}
	return []act{
		{name: "install", begin: func(s *story, name string) { s.apply(s.stageRelease(name, first)) }, after: first},
		{name: "upgrade", onStage: true, begin: say(second), after: second},
		{name: "rollback", onStage: true, begin: say(bad), after: first, failures: 1},
		{name: "test", begin: func(s *story, name string) {
			release := s.stageRelease(name, first)
			release.Spec.Test = &v1alpha1.TestSpec{Enable: true}
			s.apply(release)
		}, after: first},
		{name: "uninstall", onStage: true, begin: func(s *story, name string) {
			require.NoError(s, s.Delete(s.ctx, s.release(name)))
		}},
	}
}

// subject is a stage on which something is done.
type subject struct {
	act
	name string
	// kept are objects that must outlive the act: nothing may be deleted and made again.
	kept map[string]types.UID
	// newer reports that the message was changed on the way; disturbed that the act may fail more often than by itself.
	newer, disturbed bool
	// plain reports that the stage is not rolled back when an upgrade fails.
	plain bool
}

// onStage deploys what the acts need and waits for it.
func (s *story) onStage(subjects ...*subject) {
	s.Helper()
	for _, subject := range subjects {
		if subject.onStage {
			release := s.stageRelease(subject.name, first)
			release.Spec.Rollback.Enabled = !subject.plain
			s.apply(release)
		}
	}
	for _, subject := range subjects {
		if subject.onStage {
			s.until(subject.name, ready)
			subject.kept = s.uids(subject.name)
		}
	}
}

// uids returns the objects that every message of a stage has.
func (s *story) uids(name string) map[string]types.UID {
	s.Helper()
	key := client.ObjectKey{Namespace: s.namespace, Name: name}
	configMap, deployment := &corev1.ConfigMap{}, &appsv1.Deployment{}
	require.NoError(s, s.Get(s.ctx, key, configMap))
	require.NoError(s, s.Get(s.ctx, key, deployment))
	return map[string]types.UID{"ConfigMap": configMap.UID, "Deployment": deployment.UID}
}

// message that is deployed in the end.
func (u *subject) finally() string {
	if u.newer {
		return newer
	}
	return u.after
}

// ended returns nil when the act has come to its end.
func (s *story) ended(u *subject) error {
	release := &v1alpha1.HelmRelease{}
	err := s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: u.name}, release)
	switch {
	case u.finally() == "" && apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case u.finally() == "":
		return errors.New("the HelmRelease is still there")
	case u.failures > 0 && !u.newer:
		return notReady(v1alpha1.ReasonRolledBack)(release)
	}
	return ready(release)
}

// settle waits until an act has come to its end and checks that all is as it should be.
func (s *story) settle(u *subject) {
	s.Helper()
	require.EventuallyWithT(s, func(c *assert.CollectT) { require.NoError(c, s.ended(u)) }, patience, 50*time.Millisecond, u.name)
	wanted := []string{}
	if message := u.finally(); message != "" {
		wanted = []string{u.name, u.name + "-only-" + message}
		assert.Equal(s, message, s.message(u.name), "%s has another message", u.name)
		s.checkStatus(u)
		s.checkHistory(u)
		if u.kept != nil {
			assert.Equal(s, u.kept, s.uids(u.name), "%s was deleted and made again", u.name)
		}
	} else {
		records := &corev1.SecretList{}
		require.NoError(s, s.List(s.ctx, records, client.InNamespace(s.namespace), client.MatchingLabels{"owner": "helm", "name": u.name}))
		assert.Empty(s, records.Items, "records of %s are left", u.name)
	}
	assert.Equal(s, wanted, s.configMaps(u.name), "objects of %s are lost or left", u.name)
	if u.disturbed {
		return // a hook whose deletion was refused stays, as with Helm, until it runs again
	}
	assert.Eventually(s, func() bool { // the garbage collector deletes the Pods of a Job first
		jobs := &batchv1.JobList{}
		return s.List(s.ctx, jobs, s.staged(u.name)...) == nil && len(jobs.Items) == 0
	}, patience, 50*time.Millisecond, "hooks of %s are left", u.name)
}

func (s *story) staged(name string) []client.ListOption {
	return []client.ListOption{client.InNamespace(s.namespace), client.MatchingLabels{"stage": name}}
}

// configMaps returns the names of the ConfigMaps of a stage, sorted.
func (s *story) configMaps(name string) []string {
	s.Helper()
	list := &corev1.ConfigMapList{}
	require.NoError(s, s.List(s.ctx, list, s.staged(name)...))
	names := []string{}
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// checkStatus wants no failure but those of the act itself.
func (s *story) checkStatus(u *subject) {
	s.Helper()
	release := &v1alpha1.HelmRelease{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: u.name}, release))
	if u.newer {
		assert.Zero(s, release.Status.FailureCount, "%s: what is deployed has not failed", u.name)
	} else if !u.disturbed {
		assert.Equal(s, u.failures, release.Status.FailureCount, "%s: an interruption is no failure: %v", u.name, release.Status.Failures)
	}
	if !u.disturbed {
		assert.LessOrEqual(s, len(release.Status.Failures), int(u.failures), "%s: an interruption is no failure: %v", u.name, release.Status.Failures)
	}
}

// historyEntry is a revision as the helm CLI prints it.
type historyEntry struct {
	Revision    int    `json:"revision"`
	Status      string `json:"status"`
	Description string `json:"description"`
}

// history returns the revisions of a release as the helm CLI prints them, oldest first; at least one.
func (s *story) history(name string) []historyEntry {
	s.Helper()
	var history []historyEntry
	output := s.helm("history", name, "--output", "json", "--max", "100")
	require.NoError(s, json.Unmarshal([]byte(output), &history), output)
	require.NotEmpty(s, history)
	return history
}

// checkHistory wants what the helm CLI says of a stage to make sense: nothing pending, the newest revision deployed and only
// that one, and the first still there to roll back to.
func (s *story) checkHistory(u *subject) {
	s.Helper()
	history := s.history(u.name)
	var wrong []string
	for i, revision := range history {
		newest := i == len(history)-1
		switch {
		case revision.Revision != i+1:
			wrong = append(wrong, fmt.Sprintf("revision %d is missing", i+1))
		case newest != (revision.Status == "deployed"),
			!newest && revision.Status != "superseded" && revision.Status != "failed":
			wrong = append(wrong, fmt.Sprintf("revision %d is %s", revision.Revision, revision.Status))
		case u.onStage && i == 0 && !newest && revision.Status != "superseded":
			wrong = append(wrong, "the first revision did not stay good: it is "+revision.Status)
		}
	}
	assert.Empty(s, wrong, "history of %s: %+v", u.name, history)
}

// deployedAgain returns nil when a stage has gone back to its first message.
func (s *story) deployedAgain(u *subject) error {
	configMap := &corev1.ConfigMap{}
	if err := s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: u.name}, configMap); err != nil {
		return err
	}
	if release := s.get(u.name).Status.HelmRelease; configMap.Data["message"] != first || release == nil || release.Revision < 3 ||
		release.Status != "deployed" {
		return fmt.Errorf("%s is at %+v with message %s", u.name, release, configMap.Data["message"])
	}
	return nil
}
