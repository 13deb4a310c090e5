// Command local runs everything that the operator needs on one machine, without a container runtime: a real Kubernetes control
// plane with simulated nodes, a chart repository, an OCI registry, and, when asked, the operator's two services.
//
// It is a module of its own and is used as a program only, so that its dependencies never meet those of the product. Linux only.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/deploy/local/internal/console"
	"github.com/ketches/helm-operator/deploy/local/internal/process"
	"github.com/ketches/helm-operator/deploy/local/internal/rundir"
	"github.com/ketches/helm-operator/deploy/local/internal/toolbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// stateVariable names the environment variable that replaces the default of --state.
const stateVariable = "HELM_OPERATOR_LOCAL_STATE"

// app is what all commands share.
type app struct {
	source, state string // flags; empty until resolve if not given
	console       *console.Console
}

func newRoot() *cobra.Command {
	a := &app{console: &console.Console{Out: os.Stderr, Now: time.Now}}
	root := &cobra.Command{
		Use:               "local",
		Short:             "Run a Kubernetes control plane, chart repositories and the operator on this machine",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.resolve() },
	}
	root.PersistentFlags().StringVar(&a.source, "source", "",
		"root of the repository (default: found from the working folder and from the program's own)")
	root.PersistentFlags().StringVar(&a.state, "state", os.Getenv(stateVariable),
		"folder for built programs and running stacks (default: deploy/local/.state of the repository; environment: "+stateVariable+")")
	root.AddCommand(a.buildCommand(), a.runCommand(), a.upCommand(), a.downCommand(), a.statusCommand(), a.publishCommand(), a.demoCommand())
	return root
}

// resolve finds the repository and the state folder.
func (a *app) resolve() error {
	if a.source == "" {
		var err error
		if a.source, err = findSource(); err != nil {
			return err
		}
	}
	if a.state == "" {
		a.state = filepath.Join(a.source, "deploy", "local", ".state")
	}
	var err1, err2 error
	a.source, err1 = filepath.Abs(a.source)
	a.state, err2 = filepath.Abs(a.state)
	return errors.Join(err1, err2)
}

// findSource looks for the repository upwards from the working folder and from the folder of this program.
func findSource() (string, error) {
	starts := make([]string, 0, 2)
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if self, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(self))
	}
	for _, dir := range starts {
		for {
			if _, err := os.Stat(filepath.Join(dir, "deploy", "local", "bin", "go.mod")); err == nil {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New("cannot find the repository: run this inside of it, or give --source")
}

func (a *app) rundir() rundir.State { return rundir.State{Root: a.state, Table: process.Table{}} }

// samples is the folder of the sample charts.
func (a *app) samples() string { return filepath.Join(a.source, "deploy", "local", "charts") }

// build makes sure that the programs of a stack are there.
func (a *app) build(ctx context.Context) error {
	state := a.rundir()
	return toolbox.Build(ctx, toolbox.Config{
		Module: filepath.Join(a.source, "deploy", "local", "bin"), Bin: state.Bin(),
		Lock:    func() (func(), error) { return state.Lock("build") },
		Console: a.console, Now: time.Now,
	})
}

func (a *app) buildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build the programs of a stack; nothing happens when they are up to date",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.build(cmd.Context()) },
	}
}
