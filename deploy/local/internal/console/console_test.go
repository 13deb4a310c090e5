package console

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAStepSaysHowItEndedAndHowLongItTook(t *testing.T) {
	var out strings.Builder
	now := time.Unix(0, 0)
	c := &Console{Out: &out, Now: func() time.Time { now = now.Add(1500 * time.Millisecond); return now }}
	require.NoError(t, c.StepNote("good", func() (string, error) { return "noted", nil }))
	broken := errors.New("broken")
	require.ErrorIs(t, c.Step("bad", func() error { return broken }), broken)
	lines := strings.Split(out.String(), "\n")
	assert.Regexp(t, `^  ✓ good +1\.5s  noted$`, lines[0])
	assert.Regexp(t, `^  ✗ bad +1\.5s$`, lines[1])
}
