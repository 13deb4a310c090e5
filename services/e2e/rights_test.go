package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestChartcacheMayReadRepositoriesAndGetSecretsAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, may := range []struct {
		verb, resource string
		allowed        bool
	}{
		{"get", "helmrepositories.helm-operator.ketches.cn", true},
		{"list", "helmrepositories.helm-operator.ketches.cn", true},
		{"watch", "helmrepositories.helm-operator.ketches.cn", true},
		{"get", "secrets", true},
		{"list", "secrets", false},
		{"watch", "secrets", false},
		{"create", "secrets", false},
		{"update", "helmrepositories.helm-operator.ketches.cn", false},
		{"update", "helmrepositories.helm-operator.ketches.cn/status", false},
		{"get", "helmreleases.helm-operator.ketches.cn", false},
		{"get", "configmaps", false},
		{"get", "pods", false},
		{"create", "events", false},
		{"create", "leases.coordination.k8s.io", false},
		{"impersonate", "serviceaccounts", false},
	} {
		t.Run(may.verb+" "+may.resource, func(t *testing.T) {
			cmd := exec.Command(filepath.Join(suite.Info.Bin, "kubectl"), "auth", "can-i", may.verb, may.resource, "--all-namespaces")
			cmd.Env = append(cmd.Environ(), "KUBECONFIG="+suite.Info.Accounts["chartcache"])
			output, err := cmd.Output()
			assert.Equal(t, may.allowed, err == nil, "%s", output)
		})
	}
}
