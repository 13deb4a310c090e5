package controller

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// What can be told at once is refused by the API server, with the words of the condition that it would become otherwise. Only
// fields that the original project did not have are checked so.
func TestContradictionsInNewFieldsAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	image := func(image v1alpha1.KustomizeImage) func(*v1alpha1.HelmReleaseSpec) {
		return func(spec *v1alpha1.HelmReleaseSpec) {
			spec.PostRenderers = []v1alpha1.PostRenderer{{Kustomize: &v1alpha1.Kustomize{Images: []v1alpha1.KustomizeImage{image}}}}
		}
	}
	ignore := func(paths ...string) func(*v1alpha1.HelmReleaseSpec) {
		return func(spec *v1alpha1.HelmReleaseSpec) {
			spec.DriftDetection = &v1alpha1.DriftDetection{Ignore: []v1alpha1.DriftIgnoreRule{{Paths: paths}}}
		}
	}
	labels := func(labels map[string]string) func(*v1alpha1.HelmReleaseSpec) {
		return func(spec *v1alpha1.HelmReleaseSpec) { spec.CommonMetadata = &v1alpha1.CommonMetadata{Labels: labels} }
	}
	for name, c := range map[string]struct {
		edit func(*v1alpha1.HelmReleaseSpec)
		told string // empty where it is accepted
	}{
		"a post-renderer without renderer": {
			func(spec *v1alpha1.HelmReleaseSpec) { spec.PostRenderers = []v1alpha1.PostRenderer{{}} },
			"spec.postRenderers[0]: Invalid value: names no renderer: set kustomize or remove the entry",
		},
		"an image that stays as it is": {
			image(v1alpha1.KustomizeImage{Name: "web"}),
			"spec.postRenderers[0].kustomize.images[0]: Invalid value: changes nothing: set newName, newTag or digest, or remove the entry",
		},
		"an image with a tag":           {image(v1alpha1.KustomizeImage{Name: "web", NewTag: "2"}), ""},
		"an image with half a digest":   {image(v1alpha1.KustomizeImage{Name: "web", Digest: "sha256:abc"}), "spec.postRenderers[0].kustomize.images[0].digest"},
		"a label of Helm":               {labels(map[string]string{"app.kubernetes.io/managed-by": "us"}), "belongs to Helm, which knows its objects by it: remove it from labels"},
		"another label":                 {labels(map[string]string{"team": "shop"}), ""},
		"fields to ignore, not by path": {ignore("/spec/replicas", "spec.replicas"), "spec.driftDetection.ignore[0].paths[1]"},
		"fields to ignore":              {ignore("", "/spec/replicas"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := &v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "app"}}
			object.Spec.Chart.Name = "web"
			c.edit(&object.Spec)
			err := b.Create(b.ctx, object, kube.DryRunAll)
			if c.told == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			assert.Contains(t, err.Error(), c.told)
		})
	}
}

func TestManifestsOfTheOriginalAndSamplesAreAccepted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	accepted := 0
	for _, pattern := range []string{"../../services/e2e/testdata/original/*.yaml", "../../deploy/samples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, document := range bytes.Split(text, []byte("\n---\n")) {
				object := &unstructured.Unstructured{}
				require.NoError(t, yaml.Unmarshal(document, &object.Object), file)
				if object.GroupVersionKind().Group != v1alpha1.GroupVersion.Group {
					continue
				}
				object.SetNamespace(b.namespace)
				assert.NoError(t, b.Create(b.ctx, object, kube.DryRunAll, kube.FieldValidation("Strict")), file)
				accepted++
			}
		}
	}
	assert.Greater(t, accepted, 30)
}
