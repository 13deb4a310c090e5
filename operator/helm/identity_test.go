package helm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// account makes a ServiceAccount that may do some things with ConfigMaps of the fixture's namespace, and nothing else.
func (f *fixture) account(name string, verbs ...string) string {
	f.t.Helper()
	ctx, at := f.t.Context(), metav1.ObjectMeta{Namespace: f.namespace, Name: name}
	_, err := f.kube.CoreV1().ServiceAccounts(f.namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: at}, metav1.CreateOptions{})
	require.NoError(f.t, err)
	_, err = f.kube.RbacV1().Roles(f.namespace).Create(ctx, &rbacv1.Role{ObjectMeta: at, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: verbs,
	}}}, metav1.CreateOptions{})
	require.NoError(f.t, err)
	_, err = f.kube.RbacV1().RoleBindings(f.namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: at, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: f.namespace, Name: name}},
	}, metav1.CreateOptions{})
	require.NoError(f.t, err)
	return f.namespace + "/" + name
}

func (f *fixture) as(name, operation, account string) Target {
	target := f.target(name, operation)
	target.ServiceAccount = account
	return target
}

func TestObjectsAreWrittenAsAServiceAccount(t *testing.T) {
	f := newFixture(t)
	account := f.account("deployer", "get", "list", "watch", "create", "update", "patch", "delete")
	chart := tarball(t, "looking", "1.0.0", chartFiles{
		"templates/config.yaml": configMap,
		"templates/other.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: seen}
data: {number: {{ len (lookup "v1" "ConfigMap" .Release.Namespace "").items | quote }}}
`,
	})

	rel, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.as("web", "1", account), ChartSource: ChartSource{Chart: chart}, Waiting: Waiting{Wait: true, Timeout: time.Minute},
	})
	require.NoError(t, err, "it needs no right to Secrets: records are the operator's")
	assert.Equal(t, StatusDeployed, rel.Status)
	found, err := f.helm.Uninstall(t.Context(), UninstallOptions{Target: f.as("web", "2", account), Timeout: time.Minute})
	require.NoError(t, err)
	assert.True(t, found)
}

func TestAServiceAccountThatLacksARightNamesIt(t *testing.T) {
	f := newFixture(t)
	account := f.account("reader", "get")
	_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.as("web", "1", account), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0")}})
	failure := wantError(t, err)
	assert.Contains(t, failure.Message, `system:serviceaccount:`+f.namespace+`:reader`)
	assert.Contains(t, failure.Message, `cannot create resource "configmaps"`)
	assert.Nil(t, f.data("web-config"))
}

func TestLookupActsAsTheServiceAccount(t *testing.T) {
	f := newFixture(t)
	account := f.account("deployer", "get", "create")
	chart := tarball(t, "spy", "1.0.0", chartFiles{"templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: spied}
data: {text: {{ len (lookup "v1" "Secret" .Release.Namespace "").items | quote }}}
`})
	_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.as("web", "1", account), ChartSource: ChartSource{Chart: chart}})
	failure := wantError(t, err)
	assert.Contains(t, failure.Message, `cannot list resource "secrets"`)
}
