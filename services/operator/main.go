// Command operator keeps a Kubernetes cluster as its HelmRelease and HelmRepository objects say.
//
// It wires the controllers of package operator, a client of chartcache, probes, metrics, logs and leader election
// together. It must never talk to chart repositories: that is for chartcache.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/services/internal/buildinfo"
	"github.com/ketches/helm-operator/services/internal/flags"
	"github.com/ketches/helm-operator/services/internal/lifecycle"
	"github.com/ketches/helm-operator/services/internal/logging"
)

// process is what this process calls itself in metrics, and towards other servers.
const process = "helm-operator"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := lifecycle.WithSignals(context.Background())
	defer stop()
	boundHeap(os.LookupEnv)
	if err := newCommand(os.LookupEnv, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		return 1
	}
	return 0
}

// newCommand returns the command line. lookup reads environment variables; logs go to the writer.
func newCommand(lookup func(string) (string, bool), logs io.Writer) *cobra.Command {
	var opts options
	root := &cobra.Command{
		Use:           "operator",
		Short:         "Reconciles HelmRelease and HelmRepository objects",
		Version:       buildinfo.Get().String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.check(); err != nil {
				return err
			}
			log, err := logging.New(logs, opts.logging)
			if err != nil {
				return err
			}
			logging.CaptureLibraries(log)
			return serve(cmd.Context(), &opts, log)
		},
	}
	opts.addFlags(root.Flags())
	flags.Environment{Prefix: "OPERATOR", Lookup: lookup}.Bind(root)
	return root
}
