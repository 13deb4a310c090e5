package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	for name, c := range map[string]struct {
		version  string
		revision string
		settings []debug.BuildSetting
		want     Info
	}{
		"nothing is known":         {"", "", nil, Info{Version: "devel", Revision: "unknown"}},
		"a release":                {"v1.2.3", "", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}, Info{Version: "v1.2.3", Revision: "abc"}},
		"a work tree with changes": {"", "", []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}}, Info{Version: "devel", Revision: "abc-dirty"}},
		"the linker wins":          {"", "def", []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}, Info{Version: "devel", Revision: "def"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := describe(c.version, c.revision, c.settings)
			assert.Equal(t, c.want.Version, got.Version)
			assert.Equal(t, c.want.Revision, got.Revision)
			assert.True(t, strings.HasPrefix(got.GoVersion, "go1."), got.GoVersion)
		})
	}
}

func TestTheMetricCarriesTheBuild(t *testing.T) {
	info := Info{Version: "v1", Revision: "abc", GoVersion: "go1.26", Platform: "linux/amd64"}
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(info.Collector("tool")))
	assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
		# HELP tool_build_info The running build; always 1.
		# TYPE tool_build_info gauge
		tool_build_info{goversion="go1.26",revision="abc",version="v1"} 1
	`)))
	assert.Equal(t, "tool/v1", info.UserAgent("tool"))
	assert.Equal(t, "v1 (revision abc, go1.26, linux/amd64)", info.String())
}
