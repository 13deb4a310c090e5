package helm

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsPostRenderedIsAppliedAndRecorded(t *testing.T) {
	f := newFixture(t)
	chart := tarball(t, "simple", "1.0.0", chartFiles{
		"templates/config.yaml": configMap,
		"templates/hook.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-hook\n" +
			"  annotations: {\"helm.sh/hook\": \"post-install,post-upgrade,post-rollback\"}\ndata: {text: {{ .Values.text }}}\n",
	})
	calls := 0
	source := func(replacement string) ChartSource {
		return ChartSource{Chart: chart, Values: map[string]any{"text": "rendered"}, PostRender: func(manifests []byte) ([]byte, error) {
			calls++
			return bytes.ReplaceAll(manifests, []byte("rendered"), []byte(replacement)), nil
		}}
	}

	_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "op-1"), ChartSource: source("first")})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"text": "first"}, f.data("web-config"))
	assert.Equal(t, map[string]string{"text": "rendered"}, f.data("web-hook"), "Helm does not post-render hooks")

	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "op-2"), ChartSource: source("second")})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"text": "second"}, f.data("web-config"))
	assert.Equal(t, 2, calls)

	_, err = f.helm.Rollback(t.Context(), RollbackOptions{
		Target: f.target("web", "op-3"), Waiting: Waiting{Timeout: time.Minute}, ToRevision: 1,
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"text": "first"}, f.data("web-config"))
	assert.Equal(t, 2, calls, "a rollback deploys what was recorded")
}

func TestAPostRendererThatFailsLeavesNothingBehind(t *testing.T) {
	f := newFixture(t)
	cause := errors.New("the patch is for Deployment www, which the chart does not render, said hush-hush")
	failing := ChartSource{
		Chart: simpleChart(t, "1.0.0"), Values: map[string]any{"password": "hush-hush"},
		PostRender: func([]byte) ([]byte, error) { return nil, cause },
	}

	_, err := f.helm.Install(t.Context(), InstallOptions{Target: f.target("web", "op-1"), ChartSource: failing})
	problem := wantError(t, err)
	require.ErrorIs(t, err, cause)
	assert.Equal(t, StageRender, problem.Stage)
	assert.Equal(t, "the patch is for Deployment www, which the chart does not render, said ***", problem.Message)
	assert.Zero(t, problem.Revision)
	_, found, err := f.helm.Last(t.Context(), f.namespace, "web")
	require.NoError(t, err)
	assert.False(t, found)

	f.install("web", "op-2", simpleChart(t, "1.0.0"), nil)
	_, err = f.helm.Upgrade(t.Context(), UpgradeOptions{Target: f.target("web", "op-3"), ChartSource: failing})
	require.ErrorIs(t, err, cause)
	assert.Equal(t, StageRender, wantError(t, err).Stage)
	assert.Equal(t, 1, f.last("web").Revision)
	assert.Equal(t, StatusDeployed, f.last("web").Status)
}
