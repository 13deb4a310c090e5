// Command chartcache keeps Helm chart repositories on disk and serves them over gRPC.
//
// It reads which repositories there are from a Kubernetes cluster, or from a repositories.yaml file, and wires that, the
// catalog, the gRPC server, probes, metrics and logs together. It must never write to the cluster. Its other commands ask a
// server that runs; they are in package cli.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/services/chartcache/cli"
	"github.com/ketches/helm-operator/services/internal/buildinfo"
	"github.com/ketches/helm-operator/services/internal/flags"
	"github.com/ketches/helm-operator/services/internal/lifecycle"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := lifecycle.WithSignals(context.Background())
	defer stop()
	if err := newCommand(os.LookupEnv, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "chartcache:", err)
		return 1
	}
	return 0
}

// newCommand returns the command line. lookup reads environment variables; logs go to the writer.
func newCommand(lookup func(string) (string, bool), logs io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "chartcache",
		Short:         "Cache of Helm chart repositories with a gRPC interface",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newServeCommand(logs), &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  chartcache version",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "chartcache", buildinfo.Get())
			return err
		},
	})
	root.AddCommand(cli.Commands()...)
	flags.Environment{Prefix: "CHARTCACHE", Lookup: lookup}.Bind(root)
	return root
}
