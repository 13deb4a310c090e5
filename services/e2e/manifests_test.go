package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack"
	"github.com/ketches/helm-operator/services/internal/localstack/standin"
)

// ownServices starts a chartcache that trusts an authority besides those of the system, and an operator of its own for some
// namespaces, in place of the operator that all stories share. Who calls it must not call t.Parallel.
func (s *story) ownServices(caFile string, namespaces ...string) {
	s.Helper()
	name := strings.ToLower(s.Name())
	chartcache, err := suite.Chartcache("chartcache-"+name, s.TempDir())
	require.NoError(s, err)
	chartcache.Env = []string{"SSL_CERT_FILE=" + caFile}
	operator, err := suite.Operator("operator-"+name, chartcache.GRPC, "--watch-namespaces", strings.Join(namespaces, ","))
	require.NoError(s, err)
	for _, service := range []*localstack.Service{chartcache, operator} {
		s.Cleanup(func() {
			assert.NoError(s, service.Terminate(gracePeriod))
			if s.Failed() {
				s.Logf("--- last lines of %s ---\n%s", service.Name, service.LogTail(4000))
			}
		})
		require.NoError(s, service.Start(s.ctx))
	}
}

// publicHosts stand in for the hosts that the manifests name.
type publicHosts struct {
	*story
	replace *strings.Replacer
}

// serviceAccountKey is what a registry of Google takes as a password.
const serviceAccountKey = `{"type": "service_account", "project_id": "project-id", "private_key": "of a test"}`

// newPublicHosts starts them all, with the charts that the manifests want, and the services that know them. The manifests name
// namespaces, so the story has those and not one of its own.
func newPublicHosts(t *testing.T) *publicHosts {
	t.Helper()
	h := newHosts(t)
	s := &story{T: t, Client: suite.client, ctx: t.Context(), namespace: "default"}
	production := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "production"}}
	require.NoError(t, s.Create(s.ctx, production))
	t.Cleanup(func() { kubectl(t, "delete", "namespace", "production", "--wait=false") })
	s.withoutSharedOperator()

	ghcr := h.tokenRegistry("ghcr", "publisher", "secret", true)
	ghcr.push("acme/charts", versions(webappChart, "1.0.0", "1.4.0", "2.0.0")...)
	ghcr.push("company/charts", versions(webappChart, "1.4.0", "2.1.5", "3.0.0-rc.1")...)
	ghcr.push("charts", versions(webappChart, "1.4.0", "2.0.0")...)
	acr := h.basicRegistry("acr", "client", "acr-password")
	acr.push("helm", versions(webappChart, "2.0.4", "2.1.0")...)
	gar := h.tokenRegistry("gar", "_json_key", serviceAccountKey, false)
	gar.push("project-id/helm-charts", versions(webappChart, "2.1.5", "3.0.0-rc.1")...)
	proxy := func(version string) chart { return webappChart(version).named("proxy") }
	stable := h.serve(below("bitnami", unserved(t, versions(proxy, "14.9.0", "15.0.0", "15.0.2", "15.1.0")...)), nil)
	company := standin.NewAccounts(map[string]string{"username": "password"}).Guard(unserved(t, webappChart("1.0.0")))
	p := &publicHosts{story: s, replace: strings.NewReplacer(
		"ghcr.io", ghcr.host, "myregistry.azurecr.io", acr.host, "us-docker.pkg.dev", gar.host,
		"charts.bitnami.com", stable, "charts.company.com", h.serve(company, nil),
		"<base64-encoded-docker-config>", base64.StdEncoding.EncodeToString(dockerConfig(t, acr)),
	)}
	kubectl(t, "create", "secret", "docker-registry", "acr-login", "--docker-server", acr.host,
		"--docker-username", acr.user, "--docker-password", acr.password)
	key := filepath.Join(t.TempDir(), "key.json")
	require.NoError(t, os.WriteFile(key, []byte(serviceAccountKey), 0o600))
	kubectl(t, "create", "secret", "generic", "gar-login", "--from-file", key)
	t.Cleanup(func() { kubectl(t, "delete", "secret", "acr-login", "gar-login") })
	s.ownServices(h.caFile, "default", "production")
	return p
}

// dockerConfig is what docker login writes.
func dockerConfig(t *testing.T, r *registry) []byte {
	t.Helper()
	login := base64.StdEncoding.EncodeToString([]byte(r.user + ":" + r.password))
	config, err := json.Marshal(map[string]any{"auths": map[string]any{r.host: map[string]string{"auth": login}}})
	require.NoError(t, err)
	return config
}

// file writes a manifest with its hosts replaced, and nothing else, and returns its path.
func (p *publicHosts) file(name string) string {
	p.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "original", name+".yaml"))
	require.NoError(p, err)
	path := filepath.Join(p.TempDir(), name+".yaml")
	require.NoError(p, os.WriteFile(path, []byte(p.replace.Replace(string(text))), 0o600))
	return path
}

// apply applies manifests, in order, and deletes them when the test ends, the last one first.
func (p *publicHosts) apply(t *testing.T, names ...string) *publicHosts {
	t.Helper()
	sub := *p.story
	sub.T, sub.ctx = t, t.Context()
	own := &publicHosts{story: &sub, replace: p.replace}
	for _, name := range names {
		path := own.file(name)
		kubectl(t, "apply", "--filename", path)
		t.Cleanup(func() { kubectl(t, "delete", "--ignore-not-found", "--timeout", patience.String(), "--filename", path) })
	}
	t.Cleanup(func() {
		if t.Failed() {
			own.explain(p.ctx)
		}
	})
	return own
}

// in looks at another namespace.
func (p *publicHosts) in(namespace string) *story {
	s := *p.story
	s.namespace = namespace
	return &s
}

// image of the only container of a Deployment.
func image(deployment *appsv1.Deployment) string {
	return deployment.Spec.Template.Spec.Containers[0].Image
}

// This story replaces the operator that all others share, so it does not call t.Parallel.
func TestManifestsOfTheOriginalWorkAsTheyAre(t *testing.T) {
	p := newPublicHosts(t)
	repositories := []struct{ manifest, name, message string }{
		{"01-registry", "registry", "OCI repository registered successfully"},
		{"03-http-repository", "stable", "Repository synced successfully, found 1 charts"},
		{"05-public-registry", "public", "OCI repository registered successfully"},
		{"06-private-registry", "private", "OCI repository registered successfully"},
		{"08-http-repository-edited", "stable", "Repository synced successfully, found 1 charts"},
		{"09-private-http-repository", "company", "Repository synced successfully, found 1 charts"},
	}
	for _, test := range repositories {
		t.Run(test.manifest, func(t *testing.T) {
			repository := p.apply(t, test.manifest).repositoryUntil(test.name, metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
			assert.Equal(t, test.message, meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady).Message)
		})
	}
	for _, test := range []struct {
		manifests          []string
		namespace, name    string
		chart              string
		releasedAs, inside string
		check              func(*publicHosts, *appsv1.Deployment)
	}{
		{[]string{"02-release-by-url"}, "default", "shop", "webapp-1.4.0", "shop", "production",
			func(p *publicHosts, d *appsv1.Deployment) {
				assert.EqualValues(p, 3, *d.Spec.Replicas)
				assert.Equal(p, "example.invalid/webapp:v1.0.0", image(d))
			}},
		{[]string{"03-http-repository", "04-release-by-reference"}, "default", "proxy", "proxy-15.0.2", "proxy", "default",
			func(p *publicHosts, _ *appsv1.Deployment) {
				service := &corev1.Service{}
				require.NoError(p, p.Get(p.ctx, client.ObjectKey{Namespace: "default", Name: "proxy"}, service))
				assert.Equal(p, corev1.ServiceTypeLoadBalancer, service.Spec.Type)
			}},
		{[]string{"07-production"}, "production", "store", "webapp-2.1.5", "store", "production", checkProduction},
		{[]string{"10-constraint"}, "default", "constrained", "webapp-1.4.0", "shop", "default", nil},
		{[]string{"12-registry-and-release"}, "default", "shop", "webapp-1.4.0", "shop", "default", nil},
		{[]string{"13-registry-with-login"}, "default", "acr-shop", "webapp-2.0.4", "acr-shop", "default", nil},
		{[]string{"14-registry-with-key"}, "default", "gar-shop", "webapp-2.1.5", "gar-shop", "default", nil},
	} {
		t.Run(test.manifests[len(test.manifests)-1], func(t *testing.T) {
			p := p.apply(t, test.manifests...)
			release := p.in(test.namespace).until(test.name, readyAt(test.chart))
			assert.Equal(t, test.releasedAs, release.Status.HelmRelease.Name)
			assert.Equal(t, test.inside, release.Status.HelmRelease.Namespace)
			assert.Equal(t, 1, release.Status.HelmRelease.Revision)
			deployment := p.deployment(test.inside, test.releasedAs)
			if test.check != nil {
				test.check(p, deployment)
			}
		})
	}
	t.Run("nothing is left of those that were deleted", func(t *testing.T) {
		for _, namespace := range []string{"default", "production"} {
			assert.NotContains(t, kubectl(t, "get", "deployments,secrets", "--namespace", namespace, "--output", "name"), "webapp")
			records := &corev1.SecretList{}
			require.NoError(t, p.List(t.Context(), records, client.InNamespace(namespace), client.MatchingLabels{"owner": "helm"}))
			assert.Empty(t, records.Items)
		}
	})
	t.Run("11-servicemonitor", func(t *testing.T) { p.scrapesBoth(t) })
	t.Run("12 over 02 is refused", func(t *testing.T) { p.movesARelease(t) })
	t.Run("10 beside 12 is a conflict of owners", func(t *testing.T) { p.sharesARelease(t) })
	t.Run("08 over 03 is an edit in place", func(t *testing.T) { p.editsInPlace(t) })
}

// checkProduction checks what the values of the largest manifest ask for.
func checkProduction(p *publicHosts, deployment *appsv1.Deployment) {
	assert.Equal(p, "company.azurecr.io/webapp:2.1.5", image(deployment))
	container := deployment.Spec.Template.Spec.Containers[0]
	assert.Equal(p, corev1.PullIfNotPresent, container.ImagePullPolicy)
	assert.Equal(p, "2", container.Resources.Limits.Cpu().String())
	assert.Equal(p, "512Mi", container.Resources.Requests.Memory().String())
	ingress := &networkingv1.Ingress{}
	require.NoError(p, p.Get(p.ctx, client.ObjectKeyFromObject(deployment), ingress))
	assert.Equal(p, "store.example.com", ingress.Spec.Rules[0].Host)
	assert.Equal(p, "store-tls", ingress.Spec.TLS[0].SecretName)
	require.EventuallyWithT(p, func(c *assert.CollectT) { // the autoscaler has its own time
		require.NoError(c, p.Get(p.ctx, client.ObjectKeyFromObject(deployment), deployment))
		require.EqualValues(c, 5, deployment.Status.AvailableReplicas)
	}, patience, 50*time.Millisecond)
}

// scrapesBoth wants the ServiceMonitor to select the Services of both processes, and its port to be one of theirs.
func (p *publicHosts) scrapesBoth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "definition.yaml") // as much of Prometheus Operator as its objects need
	text := definition("monitoring.coreos.com", "ServiceMonitor", "stands in")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	kubectl(t, "apply", "--filename", file)
	t.Cleanup(func() { kubectl(t, "delete", "--filename", file) })
	kubectl(t, "wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=60s")
	p = p.apply(t, "11-servicemonitor")

	monitor := &unstructured.Unstructured{}
	monitor.SetAPIVersion("monitoring.coreos.com/v1")
	monitor.SetKind("ServiceMonitor")
	require.NoError(t, p.Get(p.ctx, client.ObjectKey{Namespace: "ketches", Name: "helm-operator"}, monitor))
	labels, _, err := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	require.NoError(t, err)
	endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	require.NoError(t, err)
	require.Len(t, endpoints, 1)
	endpoint, ok := endpoints[0].(map[string]any)
	require.True(t, ok)
	services := &corev1.ServiceList{}
	require.NoError(t, p.List(p.ctx, services, client.InNamespace("ketches"), client.MatchingLabels(labels)))
	selected := map[string]string{} // the program behind the port, by Service
	for i := range services.Items {
		for _, have := range services.Items[i].Spec.Ports {
			if have.Name == endpoint["port"] {
				selected[services.Items[i].Name] = services.Items[i].Spec.Selector["app.ketches.cn/name"]
			}
		}
	}
	assert.Equal(t, map[string]string{"helm-operator-metrics": "helm-operator", "chartcache-metrics": "chartcache"}, selected)
}

// movesARelease applies a manifest that says nothing of the name and namespace which the one before gave the release.
func (p *publicHosts) movesARelease(t *testing.T) {
	p = p.apply(t, "02-release-by-url")
	p.until("shop", ready)
	p = p.apply(t, "12-registry-and-release")

	release := p.until("shop", notReady(v1alpha1.ReasonConfigurationError))
	message := meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message
	assert.Contains(t, message, "production/shop", "it says where the release is")
	assert.Contains(t, message, "default/shop", "it says where it would be")
	assert.Contains(t, message, "release.onChange", "it says how to mend it")
	assert.Equal(t, "production", release.Status.HelmRelease.Namespace)
	p.repositoryUntil("registry", metav1.ConditionTrue, "")
	assert.EqualValues(t, 3, *p.deployment("production", "shop").Spec.Replicas, "what is deployed stays")
	deployments := &appsv1.DeploymentList{}
	require.NoError(t, p.List(p.ctx, deployments, client.InNamespace("default")))
	assert.Empty(t, deployments.Items)
}

// sharesARelease applies a manifest whose release is that of another one.
func (p *publicHosts) sharesARelease(t *testing.T) {
	p = p.apply(t, "12-registry-and-release")
	p.until("shop", ready)
	p = p.apply(t, "10-constraint")

	release := p.until("constrained", notReady(v1alpha1.ReasonConfigurationError))
	assert.Contains(t, meta.FindStatusCondition(release.Status.Conditions, v1alpha1.ConditionReady).Message, "default/shop")
	assert.Nil(t, release.Status.HelmRelease)
	require.NoError(t, p.Delete(p.ctx, release))
	p.gone(release)
	shop := p.until("shop", ready)
	assert.Equal(t, 1, shop.Status.HelmRelease.Revision)
	p.deployment("default", "shop")
}

// editsInPlace applies a manifest that gives the repository of another one a timeout.
func (p *publicHosts) editsInPlace(t *testing.T) {
	p = p.apply(t, "03-http-repository")
	before := p.repositoryUntil("stable", metav1.ConditionTrue, "")
	p = p.apply(t, "08-http-repository-edited")
	after := p.repositoryUntil("stable", metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
	assert.Equal(t, before.UID, after.UID)
	assert.Greater(t, after.Generation, before.Generation)
	assert.EqualValues(t, "10m", after.Spec.Timeout)
	assert.Equal(t, before.Status.Revision, after.Status.Revision)
}
