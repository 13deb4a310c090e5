package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// pull runs chartcache pull against the suite's chartcache and returns the path that it prints, alone, on standard output.
func pull(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), suite.Programs.Path("chartcache"), append([]string{"pull", "--server", suite.chartcache.GRPC}, args...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	output, err := cmd.Output()
	require.NoError(t, err, "%s", errs.String())
	return strings.TrimSuffix(string(output), "\n")
}

func TestPullGivesWhatHelmPullGives(t *testing.T) {
	t.Parallel()
	web := webChart("1.0.0")
	repo := newChartRepository(t, web, webChart("1.1.0"))
	registry := push(t, "pulled", web, webChart("1.1.0"))
	s := newStory(t)
	for name, test := range map[string]struct {
		url  string
		helm []string
	}{
		"HTTP": {repo.URL, []string{"pull", "web", "--repo", repo.URL}},
		"OCI":  {registry, []string{"pull", registry + "/web", "--plain-http"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.repository(strings.ToLower(name), test.url)
			s.repositoryUntil(strings.ToLower(name), metav1.ConditionTrue, v1alpha1.ReasonSyncCompleted)
			source := s.namespace + "/" + strings.ToLower(name)
			ours, helms := t.TempDir(), t.TempDir()
			helm(t, append(test.helm, "--version", "~1.0", "-d", helms)...)
			path := pull(t, source, "web", "~1.0", "-d", ours)
			assert.Equal(t, filepath.Join(ours, "web-1.0.0.tgz"), path)
			want, err := os.ReadFile(filepath.Join(helms, "web-1.0.0.tgz"))
			require.NoError(t, err)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, want, got)

			helm(t, append(test.helm, "--untar", "--untardir", helms)...)
			folder := pull(t, source, "web", "-d", ours, "--untar")
			assert.Equal(t, filepath.Join(ours, "web"), folder)
			assert.Equal(t, filesBelow(t, filepath.Join(helms, "web")), filesBelow(t, folder))
		})
	}
}

// filesBelow returns the contents of the files below a folder by their paths in it.
func filesBelow(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, folder)] = string(content)
		return err
	}))
	return files
}
