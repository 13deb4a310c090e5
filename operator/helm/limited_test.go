package helm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// limited makes the client of the fixture that of somebody who has the ClusterRoles of deploy/manifests.yaml with some names, and no
// other right.
func (f *fixture) limited(names ...string) {
	f.t.Helper()
	user, err := server.env.AddUser(envtest.User{Name: f.namespace}, nil)
	require.NoError(f.t, err)
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "manifests.yaml"))
	require.NoError(f.t, err)
	roles := map[string]*rbacv1.ClusterRole{}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		role := &rbacv1.ClusterRole{}
		require.NoError(f.t, yaml.Unmarshal(document, role))
		if role.Kind == "ClusterRole" {
			roles[role.Name] = role
		}
	}
	for _, name := range names {
		role := roles[name]
		require.NotNil(f.t, role, name)
		role.Name = f.namespace + "-" + name
		_, err := f.kube.RbacV1().ClusterRoles().Create(f.t.Context(), role, metav1.CreateOptions{})
		require.NoError(f.t, err)
		_, err = f.kube.RbacV1().ClusterRoleBindings().Create(f.t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: f.namespace}},
		}, metav1.CreateOptions{})
		require.NoError(f.t, err)
	}
	f.helm, err = New(Config{REST: user.Config(), Poll: 50 * time.Millisecond})
	require.NoError(f.t, err)
}

const service = `apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {ports: [{port: 80}]}
`

func TestWithoutTheRoleForChartsAReleaseHasTheRightsOfItsAccountOnly(t *testing.T) {
	f := newFixture(t)
	account := f.account("deployer", "get")
	roles := f.kube.RbacV1().Roles(f.namespace)
	role, err := roles.Get(t.Context(), "deployer", metav1.GetOptions{})
	require.NoError(t, err)
	role.Rules[0].Resources, role.Rules[0].Verbs = []string{"services"}, []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	_, err = roles.Update(t.Context(), role, metav1.UpdateOptions{})
	require.NoError(t, err)
	f.limited("helm-operator", "helm-operator-impersonation")
	install := func(target Target, chart []byte) error {
		_, err := f.helm.Install(t.Context(), InstallOptions{
			Target: target, ChartSource: ChartSource{Chart: chart}, Waiting: Waiting{Timeout: time.Minute},
		})
		return err
	}
	web := tarball(t, "web", "1.0.0", chartFiles{"templates/service.yaml": service})
	require.Eventually(t, func() bool { // the API server needs a moment to learn of the roles
		_, _, err := f.helm.Last(t.Context(), f.namespace, "none")
		return err == nil
	}, time.Minute, 20*time.Millisecond)

	failure := wantError(t, install(f.target("alone", "1"), web))
	assert.Contains(t, failure.Message, `is forbidden: User "`+f.namespace+`" cannot get resource "services"`)
	require.NoError(t, install(f.as("web", "1", account), web))
	_, err = f.kube.CoreV1().Services(f.namespace).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)

	failure = wantError(t, install(f.as("too-much", "1", account), tarball(t, "web", "1.0.0", chartFiles{
		"templates/role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: {{ .Release.Name }}}\n",
	})))
	assert.Contains(t, failure.Message, "system:serviceaccount:"+f.namespace+":deployer")
	assert.Contains(t, failure.Message, "clusterroles")
}
