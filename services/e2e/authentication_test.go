package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
	"github.com/ketches/helm-operator/services/internal/localstack/standin"
	"github.com/ketches/helm-operator/services/internal/tlsfiles/tlstest"
)

// door is a repository that lets in who has the key of now.
type door struct {
	url  string
	auth v1alpha1.RepositoryAuth
	// kind is that of the Secret with the key, right is what it must hold to be let in, and wrong what it must not.
	kind         corev1.SecretType
	right, wrong map[string]string
	// change makes another key the right one, and returns it; nil where one that was used stays good for a while.
	change func() map[string]string
}

const (
	keys    = "keys"    // Secret with what a repository asks for
	private = "private" // Secret with the authority of its certificate
)

// doors are all ways to ask for a key.
func doors(t *testing.T, h *hosts) map[string]door {
	t.Helper()
	named := func(user, password string) map[string]string {
		return map[string]string{"username": user, "password": password}
	}
	bySecret := v1alpha1.RepositoryAuth{SecretRef: &v1alpha1.SecretReference{Name: keys}}
	byBasic := v1alpha1.RepositoryAuth{Basic: &v1alpha1.BasicAuth{SecretRef: &v1alpha1.SecretReference{Name: keys}}}
	web := webChart("1.0.0")

	accounts := standin.NewAccounts(map[string]string{"ann": "s3cret-1"})
	guarded := "https://" + h.serve(accounts.Guard(unserved(t, web)), nil)
	rotate := func() map[string]string { accounts.Change("ann", "s3cret-2"); return named("ann", "s3cret-2") }

	clients := tlstest.NewAuthority(t, "authority of clients")
	pairs := "https://" + h.serve(unserved(t, web), clients)
	pair := func(authority *tlstest.Authority, name string) map[string]string {
		cert, key := h.clientPair(authority, name)
		return map[string]string{"tls.crt": cert, "tls.key": key, "ca.crt": h.ca()}
	}

	basic := h.basicRegistry("door-basic", "ann", "s3cret-1")
	tokens := h.tokenRegistry("door-tokens", "ann", "s3cret-1", false)
	google := h.tokenRegistry("door-google", "_json_key", serviceAccountKey, false)
	login := func(r *registry, password string) map[string]string {
		changed := *r
		changed.password = password
		return map[string]string{corev1.DockerConfigJsonKey: string(dockerConfig(t, &changed))}
	}
	return map[string]door{
		"http-basic": {
			url: guarded, auth: byBasic, kind: corev1.SecretTypeBasicAuth,
			right: named("ann", "s3cret-1"), wrong: named("ann", "s3cret-0"), change: rotate,
		},
		"http-certificate": {
			url: pairs, auth: v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: &v1alpha1.SecretReference{Name: keys}}},
			right: pair(clients, "ann"), wrong: pair(h.authority, "bob"),
		},
		"oci-basic": {
			url: basic.push("charts", web), auth: bySecret, kind: corev1.SecretTypeDockerConfigJson,
			right: login(basic, "s3cret-1"), wrong: login(basic, "s3cret-0"),
			change: func() map[string]string { basic.change("s3cret-2"); return login(basic, "s3cret-2") },
		},
		"oci-tokens": {url: tokens.push("charts", web), auth: byBasic, right: named("ann", "s3cret-1"), wrong: named("ann", "s3cret-0")},
		"oci-key": {
			url: google.push("charts", web), auth: bySecret, right: map[string]string{"key.json": serviceAccountKey},
			wrong: map[string]string{"key.json": strings.Replace(serviceAccountKey, "of a test", "s3cret of another", 1)},
		},
	}
}

func TestPrivateRepositoriesOpenWithTheKeyOfNowOnly(t *testing.T) {
	t.Parallel()
	h := newHosts(t)
	for name, d := range doors(t, h) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			s.keep(private, "", map[string]string{"ca.crt": h.ca()})
			s.keep(keys, d.kind, d.wrong)
			nobody := v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{SecretRef: &v1alpha1.SecretReference{Name: private}}}
			if d.auth.TLS == nil {
				d.auth.TLS = nobody.TLS
			}
			s.privateRepository("charts", d.url, &d.auth)
			s.privateRepository("nobody", d.url, &nobody)
			s.apply(s.release("app"))

			s.refusesTheKey("charts")
			s.refusesTheKey("nobody")
			s.until("app", notReady(""))

			s.keep(keys, d.kind, d.right)
			s.sync("charts", "mended")
			s.repositoryUntil("charts", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
			s.until("app", readyAt("web-1.0.0"))
			if d.change == nil {
				return
			}
			rotated := d.change()
			s.sync("charts", "rotated")
			s.refusesTheKey("charts")
			s.until("app", ready)
			s.keep(keys, d.kind, rotated)
			s.sync("charts", "mended again")
			s.repositoryUntil("charts", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
		})
	}
}

// keep writes a Secret, or writes it anew.
func (s *story) keep(name string, kind corev1.SecretType, content map[string]string) {
	s.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Type: kind, StringData: maps.Clone(content)}
	err := s.Create(s.ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		err = s.Update(s.ctx, secret)
	}
	require.NoError(s, err)
}

// privateRepository applies a HelmRepository that syncs when it is asked to.
func (s *story) privateRepository(name, url string, auth *v1alpha1.RepositoryAuth) {
	s.Helper()
	require.NoError(s, s.Create(s.ctx, &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.namespace},
		Spec:       v1alpha1.HelmRepositorySpec{URL: url, Interval: "10s", Timeout: "10s", Auth: auth},
	}))
}

// sync asks for a sync now.
func (s *story) sync(name, request string) {
	s.Helper()
	repository := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	before := repository.DeepCopy()
	repository.Annotations = map[string]string{v1alpha1.ReconcileAnnotation: request}
	require.NoError(s, s.Patch(s.ctx, repository, kube.MergeFrom(before)))
}

// refusesTheKey waits until a HelmRepository says that its credentials are refused, and no more of them.
func (s *story) refusesTheKey(name string) {
	s.Helper()
	repository := s.repositoryUntil(name, metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed)
	message := meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Contains(s, message, "Failed to authenticate")
	assert.NotContains(s, message, "s3cret")
	assert.NotContains(s, s.event(name, corev1.EventTypeWarning, v1alpha1.ReasonAuthenticationFailed), "s3cret")
}

func TestAnAuthorityThatNobodyKnowsMustBeGiven(t *testing.T) {
	t.Parallel()
	h := newHosts(t)
	web := webChart("1.0.0")
	registry := h.tokenRegistry("unknown-authority", "ann", "s3cret", true)
	s := newStory(t)
	stranger := newHosts(t)
	s.keep("stranger", "", map[string]string{"caFile": stranger.ca()})
	s.keep("right", "", map[string]string{"caFile": h.ca()})
	trust := map[string]*v1alpha1.RepositoryAuth{
		"none":     nil,
		"stranger": {TLS: &v1alpha1.TLSConfig{SecretRef: &v1alpha1.SecretReference{Name: "stranger"}}},
		"missing":  {TLS: &v1alpha1.TLSConfig{SecretRef: &v1alpha1.SecretReference{Name: "missing"}}},
		"right":    {TLS: &v1alpha1.TLSConfig{SecretRef: &v1alpha1.SecretReference{Name: "right"}}},
		"blind":    {TLS: &v1alpha1.TLSConfig{InsecureSkipVerify: true}},
	}
	for kind, url := range map[string]string{
		"http": "https://" + h.serve(unserved(t, web), nil),
		"oci":  registry.push("charts", web),
	} {
		for name, auth := range trust {
			s.privateRepository(kind+"-"+name, url, auth)
		}
	}
	for _, kind := range []string{"http", "oci"} {
		for _, name := range []string{"none", "stranger"} {
			repository := s.repositoryUntil(kind+"-"+name, metav1.ConditionFalse, v1alpha1.ReasonSyncFailed)
			assert.Contains(t, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message, "give its CA")
		}
		repository := s.repositoryUntil(kind+"-missing", metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed)
		assert.Contains(t, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message, "does not exist")
		for _, name := range []string{"right", "blind"} {
			s.repositoryUntil(kind+"-"+name, metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
		}
	}
	s.keep("missing", "", map[string]string{"ca.crt": h.ca()})
	for _, kind := range []string{"http", "oci"} {
		s.sync(kind+"-missing", "made")
		s.repositoryUntil(kind+"-missing", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
	}
}

func TestCredentialsInFilesAreReadBelowTheAllowedFolderOnly(t *testing.T) {
	t.Parallel()
	h := newHosts(t)
	clients := tlstest.NewAuthority(t, "authority of clients")
	url := "https://" + h.serve(unserved(t, webChart("1.0.0")), clients)
	clients.Issue("ann").Write(filepath.Join(h.dir, "client.crt"), filepath.Join(h.dir, "client.key"))
	outside := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(outside, []byte(h.ca()), 0o600))
	s := newStory(t)
	files := func(ca string) *v1alpha1.RepositoryAuth {
		return &v1alpha1.RepositoryAuth{TLS: &v1alpha1.TLSConfig{
			CAFile: ca, CertFile: filepath.Join(h.dir, "client.crt"), KeyFile: filepath.Join(h.dir, "client.key"),
		}}
	}
	s.privateRepository("inside", url, files(h.caFile))
	s.privateRepository("outside", url, files(outside))

	// The chartcache of the other stories has no such folder.
	repository := s.repositoryUntil("inside", metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message, "--allowed-file-dir")

	api := clientOf(t, startChartcache(t, "chartcache-files", "--kubeconfig", suite.Info.Accounts["chartcache"], "--allowed-file-dir", h.dir))
	synced, err := api.Sync(t.Context(), client.Named(s.namespace, "inside"))
	require.NoError(t, err)
	assert.EqualValues(t, 1, synced.Repository.ChartCount)
	_, err = api.Sync(t.Context(), client.Named(s.namespace, "outside"))
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, client.ReasonOf(err), "%v", err)
}
