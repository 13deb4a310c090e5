package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/deploy/local/internal/process"
	"github.com/ketches/helm-operator/deploy/local/internal/rundir"
	"github.com/ketches/helm-operator/deploy/local/internal/stack"
)

// upName is the run that up, down and status mean.
const upName = "up"

// endsWithin bounds how long a stack may take to end before its supervisor is killed, and all of it with the supervisor.
const endsWithin = 45 * time.Second

func (a *app) upCommand() *cobra.Command {
	f := stackFlags{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a stack with the operator in the background and say how to use it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("install") {
				f.config.Install = filepath.Join(a.source, "deploy")
			}
			if !cmd.Flags().Changed("services") {
				f.config.Services = filepath.Join(a.source, "bin")
			}
			var info stack.Info
			switch err := a.readRunning(upName, &info); {
			case err == nil:
				a.console.Line("The stack is already running.")
			case errors.Is(err, rundir.ErrNotRunning):
				if err := a.startDetached(cmd.Context(), f, &info); err != nil {
					return err
				}
			case errors.Is(err, fs.ErrNotExist):
				return errors.New("the stack is being started by somebody else; try again in a moment")
			default:
				return err
			}
			return a.explain(cmd.OutOrStdout(), info)
		},
	}
	f.register(cmd.Flags())
	_ = cmd.Flags().MarkHidden("samples") // always published: there must be something to try
	return cmd
}

// startDetached starts `local run` in a session of its own, so that it outlives this command and its terminal, and shows its
// progress until the stack is ready.
func (a *app) startDetached(ctx context.Context, f stackFlags, info *stack.Info) error {
	// Here rather than in the background: a build can take long, and Ctrl-C must end it.
	if err := a.build(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(a.state, "logs"), 0o755); err != nil {
		return fmt.Errorf("make log folder: %w", err)
	}
	logPath := filepath.Join(a.state, "logs", upName+".log")
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("make log of stack: %w", err)
	}
	defer func() { _ = log.Close() }()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	c := f.config
	cmd := exec.Command(self, "run", "--name="+upName, "--samples", "--source="+a.source, "--state="+a.state,
		"--install="+c.Install, "--services="+c.Services, "--nodes="+strconv.Itoa(c.Nodes), "--registry-htpasswd="+c.RegistryUser,
		"--registry-tls="+strconv.FormatBool(c.RegistryTLS), "--charts-basic-auth="+c.ChartsUser, "--keep-logs="+strconv.FormatBool(c.KeepLogs))
	cmd.Stdout, cmd.Stderr = nil, log
	cmd.Dir = a.source
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start stack: %w", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	return a.follow(ctx, cmd.Process, ended, logPath, info)
}

// follow prints the progress of a starting stack until it has published itself.
func (a *app) follow(ctx context.Context, supervisor *os.Process, ended <-chan struct{}, logPath string, info *stack.Info) error {
	log, err := os.Open(logPath)
	if err != nil {
		return fmt.Errorf("open log of stack: %w", err)
	}
	defer func() { _ = log.Close() }()
	lines := bufio.NewReader(log)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var partial string
	show := func() {
		for {
			part, err := lines.ReadString('\n')
			partial += part
			if err != nil { // the end so far
				return
			}
			a.console.Line("%s", partial[:len(partial)-1])
			partial = ""
		}
	}
	for {
		ready := a.readRunning(upName, info) == nil
		show()
		if ready {
			return nil
		}
		select {
		case <-ended:
			show()
			return fmt.Errorf("the stack did not start; its log is %s", logPath)
		case <-ctx.Done():
			_ = supervisor.Signal(syscall.SIGTERM) // it has ended already: fine
			<-ended
			return fmt.Errorf("start stack: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// readRunning reads the description of a running stack. The error wraps rundir.ErrNotRunning when there is none, and
// fs.ErrNotExist while it is being started.
func (a *app) readRunning(name string, info *stack.Info) error {
	state := a.rundir()
	if _, err := state.Supervisor(name); err != nil {
		return err
	}
	return state.ReadStack(name, info)
}

func (a *app) downCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End the stack that up has started, and clean up after killed ones",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state := a.rundir()
			supervisor, err := state.Supervisor(name)
			switch {
			case errors.Is(err, rundir.ErrNotRunning):
				a.console.Line("The stack is not running.")
			case err != nil:
				return err
			default:
				if err := a.console.Step("stack ended", func() error { return end(cmd.Context(), state.Table, supervisor) }); err != nil {
					return err
				}
			}
			swept, err := state.Sweep()
			for _, run := range swept {
				a.console.Line("  cleaned up after run %s", run)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", upName, "name of the run")
	return cmd
}

// end ends a supervisor, which ends its stack; by SIGKILL if it takes too long: the kernel then ends all that it started.
func end(ctx context.Context, table process.Table, supervisor process.Identity) error {
	if err := table.Terminate(supervisor); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		alive, err := table.Alive(supervisor)
		if err != nil || !alive {
			return err
		}
		select {
		case <-limit.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("wait for the stack to end: %w", context.Cause(ctx))
			}
			return table.Kill(supervisor)
		case <-tick.C:
		}
	}
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say which stacks are running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := a.rundir().Running()
			if err != nil {
				return err
			}
			if len(running) == 0 {
				a.console.Line("No stack is running.")
			}
			for _, name := range running {
				var info stack.Info
				if err := a.readRunning(name, &info); err != nil {
					a.console.Line("%s: starting", name)
					continue
				}
				if name == upName {
					if err := a.explain(cmd.OutOrStdout(), info); err != nil {
						return err
					}
					continue
				}
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: export KUBECONFIG=%s\n", name, info.Kubeconfig)
			}
			return nil
		},
	}
}

// explain prints how to use a running stack.
func (a *app) explain(out io.Writer, info stack.Info) error {
	sample, err := a.writeSample(info)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`
  export KUBECONFIG=%s
  export PATH=%s:$PATH    # kubectl and helm, if you have none

  chart repository  %s   (serves %s)
  OCI registry      %s
`, info.Kubeconfig, info.Bin, info.Charts.URL, info.Charts.Dir, info.OCIURL())
	if info.Services != nil {
		text += fmt.Sprintf(`  chartcache gRPC   %s

Try:
  1. Deploy a chart, and watch it become ready:
       kubectl apply -f %s
       kubectl get hrepo,hrel,deployments -A
  2. Publish a newer version, and watch it arrive by itself:
       GOWORK=off go -C %s run . publish webapp 1.1.0
       kubectl get hrel -n demo --watch
  3. Ask the cache what it knows:
       go run github.com/fullstorydev/grpcurl/cmd/grpcurl@latest -plaintext %[1]s list
       go run github.com/fullstorydev/grpcurl/cmd/grpcurl@latest -plaintext %[1]s chartcache.v1.ChartCacheService/ListRepositories

make down ends it.
`, info.Services.ChartcacheGRPC, sample, filepath.Join(a.source, "deploy", "local"))
	}
	_, err = io.WriteString(out, text)
	return err
}
