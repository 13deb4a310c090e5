package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack/standin"
)

// Every manifest that the repository ships must pass the API server's strict validation.
func TestEveryShippedSampleIsValid(t *testing.T) {
	t.Parallel()
	kubectl(t, "apply", "--dry-run=server", "--validate=strict", "--filename", "../../deploy/samples/")
	kubectl(t, "apply", "--dry-run=server", "--validate=strict", "--filename", "../../deploy/manifests.yaml")
}

// sample is a file of deploy/samples, in a story of its own.
type sample struct {
	*story

	name, text string
}

// samples reads all files.
func samples(t *testing.T) []*sample {
	t.Helper()
	files, err := filepath.Glob("../../deploy/samples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := make([]*sample, 0, len(files))
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all = append(all, &sample{story: newStory(t), name: strings.TrimSuffix(filepath.Base(file), ".yaml"), text: string(text)})
	}
	return all
}

// given are what a few samples say is there already.
func given() map[string]func(*sample) {
	return map[string]func(*sample){
		"adoption": func(s *sample) {
			file := filepath.Join(s.TempDir(), "web.tgz")
			require.NoError(s, os.WriteFile(file, sampleChart("web", "1.2.0").tarball(s.T), 0o600))
			helm(s.T, "install", "web", file, "--namespace", s.namespace)
		},
	}
}

// checks look at what samples promise beyond being Ready.
func checks() map[string]func(*sample) {
	return map[string]func(*sample){
		"adoption": func(s *sample) {
			assert.Equal(s, 1, s.get("web-adopted").Status.HelmRelease.Revision, "it was not upgraded")
		},
		"definitions": func(s *sample) {
			assert.Contains(s, kubectl(s.T, "get", "widgets.samples.example.com", "--namespace", s.namespace), "one")
		},
		"dependencies": func(s *sample) {
			assert.Less(s, s.createdAt("database"), s.createdAt("shop"))
		},
		"post-rendering": func(s *sample) {
			web := s.deployment(s.namespace, "web")
			assert.Regexp(s, "^mirror.example.com/web@sha256:", image(web))
			assert.Equal(s, "LOG_LEVEL", web.Spec.Template.Spec.Containers[0].Env[0].Name)
		},
		"tests": func(s *sample) {
			assert.Equal(s, v1alpha1.TestsPassed, s.get("web-tested").Status.History[0].Tests, "the test that fails is left out")
		},
		"values": func(s *sample) {
			assert.Equal(s, "from the spec", s.message("web"))
			assert.EqualValues(s, 2, *s.deployment(s.namespace, "web").Spec.Replicas)
			secret := &corev1.Secret{}
			require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "web"}, secret))
			assert.Equal(s, "change-me", string(secret.Data["password"]))
		},
	}
}

// createdAt is the resource version at which the ConfigMap of a chart was made; nobody changes it later.
func (s *sample) createdAt(name string) int {
	s.Helper()
	object := &corev1.ConfigMap{}
	require.NoError(s, s.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, object))
	created, err := strconv.Atoi(object.ResourceVersion)
	require.NoError(s, err)
	return created
}

// write writes the file into a folder, with its hosts and its namespaces replaced, and makes the repository that it names.
func (s *sample) write(folder string, replace *strings.Replacer) {
	s.Helper()
	text := replace.Replace(s.text)
	for _, namespace := range regexp.MustCompile(`(?m)^ +namespace: (\S+)$`).FindAllStringSubmatch(text, -1) {
		own := s.namespace
		if namespace[1] != "default" {
			own += "-" + namespace[1]
			s.Cleanup(func() { kubectl(s.T, "delete", "namespace", own, "--ignore-not-found", "--wait=false") })
		}
		text = strings.ReplaceAll(text, namespace[0]+"\n", strings.Replace(namespace[0], namespace[1], own, 1)+"\n")
	}
	if !strings.Contains(text, "kind: HelmRepository") {
		s.repository("charts", replace.Replace("https://charts.example.com"))
	}
	require.NoError(s, os.WriteFile(filepath.Join(folder, s.name+".yaml"), []byte(text), 0o600))
}

// allReady wants every repository and every release of the sample to be Ready, and at least one of them to be there.
func (s *sample) allReady() error {
	repositories, releases := &v1alpha1.HelmRepositoryList{}, &v1alpha1.HelmReleaseList{}
	if err := errors.Join(s.List(s.ctx, repositories, client.InNamespace(s.namespace)), s.List(s.ctx, releases, client.InNamespace(s.namespace))); err != nil {
		return err
	}
	if len(repositories.Items)+len(releases.Items) == 0 {
		return errors.New("the sample has neither a HelmRepository nor a HelmRelease")
	}
	var errs []error
	for i := range repositories.Items {
		errs = append(errs, readyIs(repositories.Items[i].Status.Conditions, repositories.Items[i].Generation, metav1.ConditionTrue, ""))
	}
	for i := range releases.Items {
		errs = append(errs, ready(&releases.Items[i]))
	}
	return errors.Join(errs...)
}

// This story replaces the operator that all others share, so it does not call t.Parallel.
func TestEveryShippedSampleWorksOnceItsHostsAreReplaced(t *testing.T) {
	all := samples(t)
	h := newHosts(t)
	web := sampleChart("web", "1.2.0")
	charts := []chart{web, sampleChart("storefront", "1.0.0"), sampleChart("billing", "2.3.0"), sampleChart("database", "1.0.0"),
		sampleChart("shop", "1.0.0"), widgetsChart()}
	registry := h.basicRegistry("samples", "reader", "change-me")
	registry.push("charts", web)
	guarded := standin.NewAccounts(map[string]string{"reader": "change-me"}).Guard(unserved(t, web))
	pinned := sha256.Sum256(web.tarball(t))
	replace := strings.NewReplacer(
		"charts.example.com", h.serve(unserved(t, charts...), nil),
		"charts.internal.example.com", h.serve(guarded, nil),
		"registry.example.com", registry.host,
		"    -----BEGIN CERTIFICATE-----\n    the certificate authority in PEM\n    -----END CERTIFICATE-----\n", indented(h.ca()),
		"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", hex.EncodeToString(pinned[:]),
	)
	namespaces := make([]string, 0, len(all))
	for _, s := range all {
		namespaces = append(namespaces, s.namespace)
	}
	all[0].withoutSharedOperator()
	all[0].ownServices(h.caFile, namespaces...)
	t.Cleanup(func() { kubectl(t, "delete", "crd", "widgets.samples.example.com", "--ignore-not-found") })

	folder := t.TempDir()
	for _, s := range all {
		if prepare := given()[s.name]; prepare != nil {
			prepare(s)
		}
		s.write(folder, replace)
	}
	kubectl(t, "apply", "--validate=strict", "--filename", folder)
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			require.EventuallyWithT(t, func(c *assert.CollectT) { require.NoError(c, s.allReady()) }, patience, 50*time.Millisecond)
			if check := checks()[s.name]; check != nil {
				check(s)
			}
		})
	}
	for _, s := range all { // at once, not one after the other when their stories end
		assert.NoError(t, s.DeleteAllOf(s.ctx, &v1alpha1.HelmRelease{}, client.InNamespace(s.namespace)))
	}
}

// indented is a text in a block of a Secret.
func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}
