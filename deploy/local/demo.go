package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/deploy/local/internal/demo"
	"github.com/ketches/helm-operator/deploy/local/internal/stack"
)

func (a *app) demoCommand() *cobra.Command {
	var f stackFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the operator at work on a stack of its own; the exit code tells whether all went well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.config.Install == "" {
				f.config.Install = filepath.Join(a.source, "deploy")
			}
			if f.config.Services == "" {
				f.config.Services = filepath.Join(a.source, "bin")
			}
			return a.demo(cmd.Context(), f)
		},
	}
	c := &f.config
	cmd.Flags().StringVar(&c.Install, "install", "", "folder with crds/*.yaml and manifests.yaml (default: deploy of the repository)")
	cmd.Flags().StringVar(&c.Services, "services", "", "folder with the programs chartcache and operator (default: bin of the repository)")
	cmd.Flags().BoolVar(&c.KeepLogs, "keep-logs", false, "keep the logs of the programs")
	c.Nodes = 3
	return cmd
}

// demo starts a stack, shows the demo on it and takes it down again, on Ctrl-C too.
func (a *app) demo(ctx context.Context, f stackFlags) error {
	if err := a.build(ctx); err != nil {
		return err
	}
	begin := time.Now()
	a.console.Line("Start a control plane, a chart repository, a registry, and the operator's two services")
	s, err := a.start(ctx, f)
	if err != nil {
		return err
	}
	showCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	shown := make(chan struct{})
	go func() {
		select {
		case err := <-s.Failed():
			cancel(err)
		case <-shown:
		}
	}()
	a.console.Line("Use it")
	err = a.show(showCtx, s)
	close(shown)
	if err != nil && ctx.Err() == nil { // Ctrl-C explains itself
		err = a.explainFailure(s, err)
	}
	err = errors.Join(err, a.console.Step("everything taken down", s.Close))
	if err == nil {
		a.console.Line("Done in %s.", time.Since(begin).Round(time.Second))
	}
	return err
}

func (a *app) show(ctx context.Context, s *stack.Stack) error {
	publisher, err := s.Publisher()
	if err != nil {
		return err
	}
	return demo.Show(ctx, demo.Config{
		Client: s.Cluster.Client, Publisher: publisher, Samples: a.samples(),
		ChartsURL: s.Info.Charts.URL, OCIURL: s.Info.OCIURL(), Kubeconfig: s.Info.Kubeconfig, Console: a.console,
	})
}

// explainFailure adds to an error what the objects, events and logs say. Its own time limit: the demo's is over.
func (a *app) explainFailure(s *stack.Stack, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	explanation := demo.Explain(ctx, s.Cluster.Client)
	return fmt.Errorf("%w\n\n%s\n%s\nall logs are in %s", err, explanation, s.LogTails(15, "chartcache", "operator"), s.KeepLogs())
}
