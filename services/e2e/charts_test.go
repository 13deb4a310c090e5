package e2e

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestAChartThatLooksUpItsOwnSecretKeepsIt(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	generating := webChart("1.0.0").with("templates/secret.yaml", `{{- $made := lookup "v1" "Secret" .Release.Namespace .Release.Name }}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}
data:
  {{- if $made }}
  password: {{ $made.data.password }}
  {{- else }}
  password: {{ randAlphaNum 20 | b64enc }}
  {{- end }}
`)
	s.repository("charts", newChartRepository(t, generating).URL)
	s.apply(s.release("app"))
	s.until("app", ready)
	password := func() string {
		secret := &corev1.Secret{}
		require.NoError(t, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "app"}, secret))
		return string(secret.Data["password"])
	}
	first := password()
	require.Len(t, first, 20)

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: changed") })
	s.until("app", atRevision(2))
	assert.Equal(t, first, password(), "the upgrade found what the install had made")
	assert.Equal(t, "changed", s.message("app"))
}

// residentMemory is how much memory the operator of the suite holds, in MiB.
func residentMemory(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", suite.operator.PID()))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "VmRSS:")
	require.True(t, found)
	var kib int
	_, err = fmt.Sscan(rest, &kib)
	require.NoError(t, err)
	return kib / 1024
}

// memoryLimit is what deploy/manifests.yaml allows the operator, in MiB.
const memoryLimit = 1024

func TestAReleaseOfFiveHundredObjectsIsInstalledUpgradedAndUninstalled(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	const objects = 500
	s.repository("charts", newChartRepository(t, chart{name: "web", version: "1.0.0", files: map[string]string{
		"values.yaml": "message: hello\n",
		"templates/many.yaml": fmt.Sprintf(`{{- range $n := until %d }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $.Release.Name }}-{{ $n }}
  labels: {many: {{ $.Release.Name }}}
data:
  message: {{ $.Values.message | quote }}
{{- end }}
`, objects),
	}}).URL)
	count := func(message string) int {
		list := &corev1.ConfigMapList{}
		require.NoError(t, s.List(s.ctx, list, client.InNamespace(s.namespace), client.MatchingLabels{"many": "app"}))
		n := 0
		for i := range list.Items {
			if list.Items[i].Data["message"] == message {
				n++
			}
		}
		return n
	}
	memory := residentMemory(t)
	stage := time.Now()
	told := func(what string) {
		t.Logf("%s took %s, the operator holds %d MiB", what, time.Since(stage).Round(time.Millisecond), residentMemory(t))
		memory, stage = max(memory, residentMemory(t)), time.Now()
	}

	app := s.apply(s.release("app"))
	s.until("app", ready)
	told("the install")
	assert.Equal(t, objects, count("hello"))

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: changed") })
	s.until("app", atRevision(2))
	told("the upgrade")
	assert.Equal(t, objects, count("changed"))

	require.NoError(t, s.Delete(s.ctx, app))
	s.gone(app)
	told("the uninstall")
	assert.Zero(t, count("changed"))
	assert.Less(t, memory, memoryLimit)
}

// largeFile is a file that compresses badly, so that the record of a chart that holds it does not fit into a Secret.
func largeFile() string {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // only its size matters
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return base64.StdEncoding.EncodeToString(data)
}

func TestAReleaseThatDoesNotFitIntoItsRecordIsRefusedBeforeAnythingIsApplied(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	group := s.namespace + ".example.com"
	large := webChart("2.0.0").with("files/large.txt", largeFile()).with("crds/widgets.yaml", definition(group, "Widget", "large"))
	s.repository("charts", newChartRepository(t, webChart("1.0.0"), large).URL)
	target := s.namespace + "-target"
	const told = "the release record is too large: chart, values and manifests take "
	tooLarge := func(reason string) func(*v1alpha1.HelmRelease) error {
		return func(r *v1alpha1.HelmRelease) error {
			if err := notReady(reason)(r); err != nil {
				return err
			}
			message := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady).Message
			if !strings.Contains(message, told) || !strings.Contains(message, "next try at") {
				return fmt.Errorf("the message is %q", message)
			}
			return nil
		}
	}

	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Namespace: target, CreateNamespace: true}
		r.Spec.Upgrade = &v1alpha1.UpgradeSpec{MaxHistory: new(int32)}
		r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true}
	}))
	release := s.until("app", tooLarge(v1alpha1.ReasonInstallFailed))
	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Regexp(t, `take \d{7} bytes compressed, and the Secret that records them holds \d{7}: leave files that no template needs out`, message)
	assert.EqualValues(t, 1, release.Status.FailureCount, "it is not tried again and again")
	assert.Empty(t, kubectl(t, "get", "namespace", target, "--ignore-not-found"))
	assert.Empty(t, kubectl(t, "get", "crd", "widgets."+group, "--ignore-not-found"))

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.x" })
	s.until("app", readyAt("web-1.0.0"))

	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "2.x" })
	release = s.until("app", tooLarge(v1alpha1.ReasonUpgradeFailed))
	assert.Equal(t, 1, release.Status.HelmRelease.Revision, "nothing was written, so there is nothing to roll back")
	assert.True(t, meta.IsStatusConditionTrue(release.Status.Conditions, v1alpha1.ConditionReleased))
	s.edit("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "1.x" })
	assert.Equal(t, 1, s.until("app", ready).Status.HelmRelease.Revision)
	t.Cleanup(func() { kubectl(t, "delete", "namespace", target, "--ignore-not-found", "--wait=false") })
}
