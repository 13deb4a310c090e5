package main

import (
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is linked with this test is more than what is linked with the program.
func TestThereIsNoHelmInChartcache(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	require.True(t, ok)
	require.NotEmpty(t, info.Deps)
	for _, module := range info.Deps {
		assert.False(t, strings.HasPrefix(module.Path, "helm.sh/"), module.Path)
	}
}
