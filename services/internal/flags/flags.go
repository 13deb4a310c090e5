// Package flags gives every command line flag an environment variable: --data-dir of a process with the prefix
// CHARTCACHE is also CHARTCACHE_DATA_DIR. The command line wins over the environment, the environment over the default.
//
// It depends on cobra and pflag. It must never know what a flag means.
package flags

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Environment maps flags to environment variables.
type Environment struct {
	// Prefix stands in front of every variable, without the underscore that follows it, such as "CHARTCACHE".
	Prefix string
	// Lookup reads one variable, as os.LookupEnv does.
	Lookup func(name string) (string, bool)
}

// Variable returns the name of the variable of a flag.
func (e Environment) Variable(flag string) string {
	return e.Prefix + "_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(flag))
}

// Bind makes a command and all below it read their flags from the environment too, and names the variable in the help of
// each flag. Call it once on the root, when all flags and sub-commands are there. It takes the root's PersistentPreRunE,
// and calls the one that was there afterwards; a sub-command must not have its own.
func (e Environment) Bind(root *cobra.Command) {
	e.document(root)
	before := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if err := e.Apply(cmd.Flags()); err != nil {
			return err
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

func (e Environment) document(cmd *cobra.Command) {
	mention := func(flag *pflag.Flag) {
		if byEnvironment(flag) {
			flag.Usage += fmt.Sprintf(" (env %s)", e.Variable(flag.Name))
		}
	}
	cmd.PersistentFlags().VisitAll(mention)
	cmd.LocalNonPersistentFlags().VisitAll(mention)
	for _, child := range cmd.Commands() {
		e.document(child)
	}
}

// Apply sets each flag that the command line left alone from its variable. An empty variable counts as unset. The error
// names every variable whose value is refused, and not the value, which may be a secret.
func (e Environment) Apply(set *pflag.FlagSet) error {
	var refused []error
	set.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed || !byEnvironment(flag) {
			return
		}
		name := e.Variable(flag.Name)
		value, ok := e.Lookup(name)
		if !ok || value == "" {
			return
		}
		if set.Set(flag.Name, value) != nil {
			refused = append(refused, fmt.Errorf("environment variable %s: not a valid %s for --%s",
				name, flag.Value.Type(), flag.Name))
		}
	})
	return errors.Join(refused...)
}

// byEnvironment reports whether a flag has a variable. The flags that make a process print something and end have none.
func byEnvironment(flag *pflag.Flag) bool {
	return flag.Name != "help" && flag.Name != "version"
}
