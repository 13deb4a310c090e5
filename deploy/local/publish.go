package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ketches/helm-operator/deploy/local/internal/stack"
)

// publishSamples publishes all sample charts in the HTTP repository and in the registry.
func (a *app) publishSamples(ctx context.Context, info stack.Info, version string) error {
	found, err := filepath.Glob(filepath.Join(a.samples(), "*", "Chart.yaml"))
	if err != nil || len(found) == 0 {
		return fmt.Errorf("no sample charts in %s", a.samples())
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, file := range found {
		group.Go(func() error { return a.publish(ctx, info, filepath.Dir(file), version, true, true) })
	}
	return group.Wait()
}

func (a *app) publish(ctx context.Context, info stack.Info, chart, version string, http, oci bool) error {
	home, err := os.MkdirTemp("", "helm-operator-local-")
	if err != nil {
		return fmt.Errorf("make folder for helm: %w", err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	p := info.Publisher(home)
	if http {
		if err := p.ToFolder(ctx, chart, version); err != nil {
			return err
		}
	}
	if oci {
		return p.ToRegistry(ctx, chart, version)
	}
	return nil
}

func (a *app) publishCommand() *cobra.Command {
	var run, to string
	cmd := &cobra.Command{
		Use:   "publish CHART VERSION",
		Short: "Publish a chart (a folder, or the name of a sample) in a running stack",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var info stack.Info
			if err := a.readRunning(run, &info); err != nil {
				return err
			}
			chart := args[0]
			if _, err := os.Stat(filepath.Join(chart, "Chart.yaml")); err != nil {
				chart = filepath.Join(a.samples(), args[0])
			}
			if to != "http" && to != "oci" && to != "both" {
				return fmt.Errorf("flag --to: want http, oci or both, not %q", to)
			}
			return a.console.Step(fmt.Sprintf("%s %s published", filepath.Base(chart), args[1]), func() error {
				return a.publish(cmd.Context(), info, chart, args[1], to != "oci", to != "http")
			})
		},
	}
	cmd.Flags().StringVar(&run, "name", upName, "name of the run")
	cmd.Flags().StringVar(&to, "to", "both", "where to: http (the chart repository), oci (the registry) or both")
	return cmd
}
