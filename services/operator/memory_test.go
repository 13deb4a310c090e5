package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheHeapGrowsAsTheEnvironmentSaysOrLessThanByDefault(t *testing.T) { //nolint:paralleltest // It sets a limit of the process.
	was := debug.SetGCPercent(150)
	defer debug.SetGCPercent(was)
	boundHeap(func(string) (string, bool) { return "150", true })
	assert.Equal(t, 150, debug.SetGCPercent(150), "the runtime has read it already")
	boundHeap(func(string) (string, bool) { return "", false })
	assert.Equal(t, heapGrowth, debug.SetGCPercent(was))
}
