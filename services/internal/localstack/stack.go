// Package localstack runs the local control plane of deploy/local and our services as real processes, for end-to-end tests
// and benchmarks.
//
// It depends on the go command and on the sources of this repository. It must never be linked with what is shipped, and it
// imports nothing of the product: it knows our services as programs only.
package localstack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Info is what the launcher prints once the stack is ready.
type Info struct {
	// Kubeconfig of the administrator.
	Kubeconfig string `json:"kubeconfig"`
	// Accounts are the kubeconfigs of the shipped ServiceAccounts, by name.
	Accounts map[string]string `json:"accounts"`
	// PIDs are the numbers of the control plane's processes, by name.
	PIDs map[string]int `json:"pids"`
	// Bin is the folder of kubectl and helm.
	Bin string `json:"bin"`
	// Registry is the OCI registry.
	Registry struct {
		// Host is its host:port; it speaks plain HTTP.
		Host string `json:"host"`
	} `json:"registry"`
}

// Config says where a stack comes from and where it writes. All fields are required.
type Config struct {
	// Source is the root of the repository.
	Source string
	// Dir is an existing folder for programs and logs.
	Dir string
	// Output gets what the go command and the launcher say.
	Output io.Writer
}

// Stack is a control plane and a registry, and makes the services that belong to them.
type Stack struct {
	// Info is there after Start.
	Info Info
	// Programs are those that Start was given.
	Programs Programs

	launcher *exec.Cmd
	stdin    io.Closer
}

// Start builds the launcher and starts the control plane, with what deploy/ installs. The control plane stops by itself
// when this process ends. On an error everything is stopped already.
func Start(ctx context.Context, c Config, programs Programs) (*Stack, error) {
	// The module of the launcher is outside the workspace.
	program := filepath.Join(c.Dir, "local")
	if err := goBuild(ctx, c, filepath.Join(c.Source, "deploy", "local"), "GOWORK=off", "-o", program, "."); err != nil {
		return nil, err
	}
	s := &Stack{Programs: programs}
	if err := s.launch(c, program); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// launch starts the launcher and reads what it prints when ready.
func (s *Stack) launch(c Config, program string) error {
	s.launcher = exec.Command(program, "run", "--until-stdin-closes", "--install", "..")
	s.launcher.Dir, s.launcher.Stderr = filepath.Join(c.Source, "deploy", "local"), c.Output
	stdout, err := s.launcher.StdoutPipe()
	if err != nil {
		return err
	}
	if s.stdin, err = s.launcher.StdinPipe(); err != nil {
		return err
	}
	if err := s.launcher.Start(); err != nil {
		return fmt.Errorf("start the launcher: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the launcher ended before the stack was ready: %w", err)
	}
	if err := json.Unmarshal(line, &s.Info); err != nil {
		return fmt.Errorf("read what the launcher printed: %w", err)
	}
	return nil
}

// Stop stops the control plane and waits for its end. Services are stopped by whoever started them.
func (s *Stack) Stop() error {
	if s.launcher == nil || s.launcher.Process == nil {
		return nil
	}
	return errors.Join(s.stdin.Close(), s.launcher.Wait())
}

// Chartcache describes a chartcache process that runs as the shipped ServiceAccount, unless args name a repositories file.
func (s *Stack) Chartcache(name, dataDir string, args ...string) (*Service, error) {
	if len(args) == 0 {
		args = []string{"--kubeconfig", s.Info.Accounts["chartcache"]}
	}
	return s.Programs.Chartcache(name, dataDir, args...)
}

// Operator describes an operator process that runs as the shipped ServiceAccount and asks the chartcache at an address.
func (s *Stack) Operator(name, chartcacheAddress string, args ...string) (*Service, error) {
	return s.Programs.Operator(name, append([]string{
		"--chartcache-address", chartcacheAddress, "--kubeconfig", s.Info.Accounts["helm-operator"],
		"--leader-elect", "--leader-election-namespace", "ketches",
	}, args...)...)
}

// goBuild runs go build in a folder of the repository.
func goBuild(ctx context.Context, c Config, folder, env string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, c.Output, c.Output
	cmd.Env = append(os.Environ(), env, "CGO_ENABLED=0") // one build, whoever calls
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build in %s: %w", folder, err)
	}
	return nil
}
