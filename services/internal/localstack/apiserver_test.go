package localstack

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheCommandLineOfAProcessIsReadAsItWasGiven(t *testing.T) {
	line, err := commandLine(os.Getpid())
	require.NoError(t, err)
	assert.Equal(t, os.Args, line)

	_, err = commandLine(0)
	assert.ErrorContains(t, err, "did not say")
}
