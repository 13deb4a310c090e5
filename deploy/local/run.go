package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ketches/helm-operator/deploy/local/internal/rundir"
	"github.com/ketches/helm-operator/deploy/local/internal/stack"
)

// stackFlags are the flags of all commands that start a stack.
type stackFlags struct {
	config  stack.Config
	samples bool
}

func (f *stackFlags) register(flags *pflag.FlagSet) {
	c := &f.config
	flags.IntVar(&c.Nodes, "nodes", 3, "number of simulated nodes; 0 leaves every Pod pending")
	flags.StringVar(&c.RegistryUser, "registry-htpasswd", "", "user:password that the OCI registry asks for")
	flags.BoolVar(&c.RegistryTLS, "registry-tls", false, "serve the OCI registry over TLS")
	flags.StringVar(&c.ChartsUser, "charts-basic-auth", "", "user:password that the HTTP chart repository asks for")
	flags.StringVar(&c.Install, "install", "", "folder with crds/*.yaml and manifests.yaml to apply")
	flags.StringVar(&c.Services, "services", "", "folder with the programs chartcache and operator to start (needs --install)")
	flags.BoolVar(&c.KeepLogs, "keep-logs", false, "keep the logs of the programs, in logs/NAME of the state folder")
	flags.BoolVar(&f.samples, "samples", false, "publish the sample charts as version 1.0.0")
}

// start builds what is missing and starts a stack.
func (a *app) start(ctx context.Context, f stackFlags) (*stack.Stack, error) {
	c := f.config
	c.State, c.Console, c.Now = a.rundir(), a.console, time.Now
	for name, value := range map[string]string{"--registry-htpasswd": c.RegistryUser, "--charts-basic-auth": c.ChartsUser} {
		if user, password, _ := strings.Cut(value, ":"); value != "" && (user == "" || password == "") {
			return nil, fmt.Errorf("flag %s: want user:password", name)
		}
	}
	for _, folder := range []*string{&c.Install, &c.Services} {
		if *folder == "" {
			continue
		}
		absolute, err := filepath.Abs(*folder)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", *folder, err)
		}
		*folder = absolute
	}
	if c.Services != "" {
		for _, program := range []string{"chartcache", "operator"} {
			if _, err := os.Stat(filepath.Join(c.Services, program)); err != nil {
				return nil, fmt.Errorf("program %s is not built (make build): %w", program, err)
			}
		}
	}
	if c.Name == "" {
		c.Name = rundir.RandomName()
	}
	if err := a.build(ctx); err != nil {
		return nil, err
	}
	if f.samples {
		c.Prepare = func(ctx context.Context, info stack.Info) error {
			return a.console.Step("sample charts published", func() error { return a.publishSamples(ctx, info, "1.0.0") })
		}
	}
	return stack.Start(ctx, c)
}

func (a *app) runCommand() *cobra.Command {
	var f stackFlags
	var untilEOF bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a stack in the foreground until SIGTERM, Ctrl-C, or the end of standard input",
		Long: "Run a stack in the foreground. When it is ready, one line of JSON on standard output describes it; the same is in\n" +
			"run/NAME/stack.json of the state folder. Progress goes to standard error.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := context.WithCancelCause(cmd.Context())
			defer stop(nil)
			if untilEOF {
				go func() { // ends with the process at the latest: reads from a terminal or pipe cannot be cancelled
					_, _ = io.Copy(io.Discard, cmd.InOrStdin())
					stop(errors.New("standard input was closed"))
				}()
			}
			s, err := a.start(ctx, f)
			if err != nil {
				return err
			}
			line, err := json.Marshal(s.Info)
			if err != nil {
				return errors.Join(fmt.Errorf("describe stack: %w", err), s.Close())
			}
			_, _ = fmt.Fprintln(cmd.OutOrStdout(), string(line)) // the reader may be gone; stack.json says the same
			return a.hold(ctx, s)
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.config.Name, "name", "", "name of the run (default: a random one)")
	cmd.Flags().BoolVar(&untilEOF, "until-stdin-closes", false, "end the stack when standard input ends, so that it cannot outlive its caller")
	return cmd
}

// hold keeps a stack until ctx ends, or until a part of it fails.
func (a *app) hold(ctx context.Context, s *stack.Stack) error {
	select {
	case <-ctx.Done():
		return s.Close()
	case err := <-s.Failed():
		logs := s.KeepLogs()
		return errors.Join(fmt.Errorf("%w\nlogs are in %s", err, logs), s.Close())
	}
}
