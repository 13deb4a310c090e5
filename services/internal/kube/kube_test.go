package kube

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig writes a file that names a server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{Server: server}
	config.Contexts["x"] = &api.Context{Cluster: "c"}
	config.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, file))
	return file
}

func TestLoadPrefersTheFileThatIsNamed(t *testing.T) {
	t.Setenv("KUBECONFIG", kubeconfig(t, "https://environment.example"))
	config, err := Load(kubeconfig(t, "https://flag.example"), "tool/v1")
	require.NoError(t, err)
	assert.Equal(t, "https://flag.example", config.Host)
	assert.Equal(t, "tool/v1", config.UserAgent)
	assert.Negative(t, config.QPS)

	config, err = Load("", "tool/v1")
	require.NoError(t, err)
	assert.Equal(t, "https://environment.example", config.Host)
}

func TestLoadSaysWhatItCouldNotRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := Load(missing, "")
	assert.ErrorContains(t, err, "read the kubeconfig")
	assert.ErrorIs(t, err, os.ErrNotExist)
}
