package flags

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// execute runs a command line with a root that has a persistent flag, and a sub-command that has one of its own.
func execute(t *testing.T, environment map[string]string, args ...string) (level string, count int, output string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "tool", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().StringVar(&level, "log-level", "info", "How much to log.")
	serve := &cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return nil }}
	serve.Flags().IntVar(&count, "count", 1, "How many.")
	root.AddCommand(serve)
	Environment{Prefix: "TOOL", Lookup: func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}}.Bind(root)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.Execute()
	return level, count, out.String(), err
}

func TestTheCommandLineWinsOverTheEnvironmentAndThatOverTheDefault(t *testing.T) {
	for name, c := range map[string]struct {
		environment map[string]string
		args        []string
		level       string
		count       int
	}{
		"nothing is given":             {nil, nil, "info", 1},
		"the environment is read":      {map[string]string{"TOOL_COUNT": "2", "TOOL_LOG_LEVEL": "debug"}, nil, "debug", 2},
		"a flag wins":                  {map[string]string{"TOOL_COUNT": "2"}, []string{"--count=3"}, "info", 3},
		"a flag at its default wins":   {map[string]string{"TOOL_COUNT": "2"}, []string{"--count=1"}, "info", 1},
		"an empty variable is none":    {map[string]string{"TOOL_COUNT": "", "TOOL_LOG_LEVEL": ""}, nil, "info", 1},
		"another prefix is not ours":   {map[string]string{"COUNT": "2", "OTHER_COUNT": "2"}, nil, "info", 1},
		"there is no variable of help": {map[string]string{"TOOL_HELP": "true", "TOOL_COUNT": "4"}, nil, "info", 4},
	} {
		t.Run(name, func(t *testing.T) {
			level, count, _, err := execute(t, c.environment, append([]string{"serve"}, c.args...)...)
			require.NoError(t, err)
			assert.Equal(t, c.level, level)
			assert.Equal(t, c.count, count)
		})
	}
}

func TestARefusedVariableIsNamedWithoutItsValue(t *testing.T) {
	_, _, _, err := execute(t, map[string]string{"TOOL_COUNT": "s3cret"}, "serve")
	require.Error(t, err)
	assert.EqualError(t, err, "environment variable TOOL_COUNT: not a valid int for --count")
}

func TestTheHelpNamesTheVariableOfEachFlagOnce(t *testing.T) {
	_, _, output, err := execute(t, nil, "serve", "--help")
	require.NoError(t, err)
	assert.Regexp(t, `--count int +How many\. \(env TOOL_COUNT\) \(default 1\)`, output)
	assert.Regexp(t, `--log-level string +How much to log\. \(env TOOL_LOG_LEVEL\) \(default "info"\)`, output)
	assert.NotContains(t, output, "TOOL_HELP")
}

func TestBindKeepsThePreRunThatWasThere(t *testing.T) {
	var size, seen int
	root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error { return nil }}
	root.Flags().IntVar(&size, "size", 0, "")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { seen = size; return nil }
	Environment{Prefix: "TOOL", Lookup: func(string) (string, bool) { return "7", true }}.Bind(root)
	root.SetArgs(nil)
	require.NoError(t, root.Execute())
	assert.Equal(t, 7, seen)
}
