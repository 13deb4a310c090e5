package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// shippedPods are the pods of deploy/manifests.yaml, by the name of what makes them.
func shippedPods(t *testing.T) map[string]corev1.PodTemplateSpec {
	t.Helper()
	manifests, err := os.ReadFile("../../deploy/manifests.yaml")
	require.NoError(t, err)
	pods := map[string]corev1.PodTemplateSpec{}
	for _, document := range bytes.Split(manifests, []byte("\n---\n")) {
		workload := &appsv1.Deployment{} // a StatefulSet has its template at the same place
		require.NoError(t, yaml.Unmarshal(document, workload))
		if workload.Kind == "Deployment" || workload.Kind == "StatefulSet" {
			pods[workload.Name] = workload.Spec.Template
		}
	}
	return pods
}

func TestPodsOfBothServicesAreAllowedWhereTheRestrictedProfileIsEnforced(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	kubectl(t, "label", "namespace", s.namespace, "pod-security.kubernetes.io/enforce=restricted")
	kubectl(t, "create", "serviceaccount", "chartcache", "--namespace", s.namespace)
	kubectl(t, "create", "serviceaccount", "helm-operator", "--namespace", s.namespace)
	try := func(name string, spec corev1.PodSpec) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace}, Spec: spec}
		return s.Create(s.ctx, pod, client.DryRunAll)
	}
	pods := shippedPods(t)
	require.Len(t, pods, 2)
	for name, pod := range pods {
		require.NoError(t, try(name, pod.Spec))
		careless := pod.Spec.DeepCopy()
		careless.SecurityContext.RunAsNonRoot, careless.SecurityContext.RunAsUser = nil, nil
		assert.True(t, apierrors.IsForbidden(try(name, *careless)), "the profile is enforced")
	}
	for _, file := range []string{"../../Dockerfile.operator", "../../Dockerfile.chartcache"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		stages := strings.Split(string(text), "\nFROM ")
		assert.Regexp(t, `(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`, stages[len(stages)-1], file)
	}
}

func TestNothingThatIsShippedStandsInTheWayOfTheAPI(t *testing.T) {
	t.Parallel()
	blocking := regexp.MustCompile(`(?m)^kind: (\w*WebhookConfiguration|APIService|ValidatingAdmissionPolicy\w*)$|strategy: Webhook`)
	files := 0
	require.NoError(t, filepath.WalkDir("../../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && entry.Name() == ".state" {
			return errSkipped(err)
		}
		if entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		assert.Empty(t, blocking.FindString(string(text)), path)
		return err
	}))
	assert.Greater(t, files, 10)
}

// errSkipped leaves a folder out, unless there is an error.
func errSkipped(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}
