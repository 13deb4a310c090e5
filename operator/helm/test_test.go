package helm

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testedChart is a chart with two tests.
func testedChart(t *testing.T) []byte {
	t.Helper()
	test := func(name string) string {
		return `apiVersion: v1
kind: Pod
metadata:
  name: ` + name + `
  annotations: {helm.sh/hook: test}
spec:
  restartPolicy: Never
  containers: [{name: main, image: example.com/test}]
`
	}
	return tarball(t, "tested", "1.0.0", chartFiles{
		"templates/config.yaml": configMap, "templates/one.yaml": test("one"), "templates/two.yaml": test("two"),
	})
}

// endPods makes Pods end in a phase once they exist. It runs beside the test and leaves its failure to what the test expects.
func (f *fixture) endPods(phases map[string]corev1.PodPhase) *sync.WaitGroup {
	var group sync.WaitGroup
	for name, phase := range phases {
		group.Go(func() { f.endPod(name, phase) })
	}
	return &group
}

func TestTheTestsOfAChartRun(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", testedChart(t), nil)

	ended := f.endPods(map[string]corev1.PodPhase{"one": corev1.PodSucceeded, "two": corev1.PodSucceeded})
	rel, err := f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t1"), Timeout: time.Minute, MarkFailed: true})
	require.NoError(t, err)
	ended.Wait()
	assert.Equal(t, StatusDeployed, rel.Status)
	assert.Equal(t, 1, rel.Revision)
	assert.Equal(t, "t1", f.last("web").Labels["op"], "the record tells that the tests have ended")
	assert.Equal(t, f.last("web").ResourceVersion, rel.ResourceVersion)

	f.deletePods("one", "two")
	ended = f.endPods(map[string]corev1.PodPhase{"two": corev1.PodFailed})
	_, err = f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t2"), Timeout: time.Minute, Exclude: []string{"one"}})
	ended.Wait()
	failure := wantError(t, err)
	assert.Equal(t, StageTest, failure.Stage)
	assert.Zero(t, failure.Revision)
	assert.Contains(t, failure.Message, "two")
	assert.Equal(t, StatusDeployed, f.last("web").Status, "a test that failed fails nothing else where it is not asked to")

	f.deletePods("two")
	ended = f.endPods(map[string]corev1.PodPhase{"one": corev1.PodFailed})
	rel, err = f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t3"), Timeout: time.Minute, Include: []string{"one"}, MarkFailed: true})
	ended.Wait()
	failure = wantError(t, err)
	assert.Equal(t, 1, failure.Revision)
	assert.Equal(t, StatusFailed, rel.Status)
	assert.Equal(t, StatusFailed, f.last("web").Status)
	assert.Contains(t, f.last("web").Description, "test failed")

	_, err = f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t4"), Timeout: time.Minute})
	require.ErrorIs(t, err, ErrNotDeployed)
}

func TestATestThatIsDeletedBeforeItEndedHasFailed(t *testing.T) {
	f := newFixture(t)
	f.install("web", "1", testedChart(t), nil)
	var vanishing sync.WaitGroup
	vanishing.Go(func() {
		f.onPod(t.Context(), "one", func(ctx context.Context, pod *corev1.Pod) error {
			return f.kube.CoreV1().Pods(f.namespace).Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0))
		})
	})
	rel, err := f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t1"), Timeout: time.Minute, Include: []string{"one"}, MarkFailed: true})
	vanishing.Wait()
	failure := wantError(t, err)
	assert.Equal(t, StageTest, failure.Stage)
	assert.Equal(t, "hook Pod one: pod one failed: it could not be run to its end, because it was deleted before", failure.Message)
	assert.Equal(t, StatusFailed, rel.Status)
}

func TestAChartWithoutTestsPassesThem(t *testing.T) {
	f := newFixture(t)
	installed := f.install("web", "1", simpleChart(t, "1.0.0"), nil)
	rel, err := f.helm.Test(t.Context(), TestOptions{Target: f.target("web", "t1")})
	require.NoError(t, err)
	assert.Equal(t, installed.ResourceVersion, rel.ResourceVersion, "nothing is written")
}

func (f *fixture) deletePods(names ...string) {
	f.t.Helper()
	for _, name := range names {
		require.NoError(f.t, f.kube.CoreV1().Pods(f.namespace).Delete(f.t.Context(), name, *metav1.NewDeleteOptions(0)))
	}
}
