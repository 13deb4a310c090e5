package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"helm.sh/helm/v3/pkg/repo"

	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/services/bench/measured"
	"github.com/ketches/helm-operator/services/internal/indexcheck"
)

// childCommand makes this program do one task in a process that did nothing before.
const childCommand = "child"

// runChild does one task and prints its result.
func runChild(args []string, out, errs io.Writer) int {
	log.SetOutput(errs) // Helm tells of each entry that it leaves out
	return measured.Main(args, tasks(), out, errs)
}

// tasks are those that need Helm:
//
//	helm INDEX
//	helm-again INDEX
//	compare INDEX GENERATION
func tasks() map[string]measured.Task {
	helm := measured.Task{Arguments: 1, SetUp: func(args []string) (measured.Work, error) {
		return func() (int64, error) { return loadByHelm(args[0]) }, nil
	}}
	return map[string]measured.Task{
		"helm":       helm,
		"helm-again": measured.Again(helm),
		"compare": {Arguments: 2, SetUp: func(args []string) (measured.Work, error) {
			return func() (int64, error) { return compare(args[0], args[1]) }, nil
		}},
	}
}

func loadByHelm(path string) (entries int64, err error) {
	loaded, err := repo.LoadIndexFile(path)
	if err != nil {
		return 0, err
	}
	for _, versions := range loaded.Entries {
		entries += int64(len(versions))
	}
	return entries, nil
}

// compare says how a generation differs from what Helm reads.
func compare(path, generation string) (entries int64, err error) {
	loaded, err := repo.LoadIndexFile(path)
	if err != nil {
		return 0, err
	}
	ours, err := index.Open(generation)
	if err != nil {
		return 0, err
	}
	defer ours.Close()
	return ours.Stats().Versions, indexcheck.Equal(loaded, ours)
}

// buildBuilder compiles the program that builds generations, once.
func (b *bench) buildBuilder(ctx context.Context) error {
	if b.builder != "" {
		return nil
	}
	program := b.path("builder")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "./bench/builder")
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(b.source, "services"), b.log, b.log
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build in %s: %w", cmd.Dir, err)
	}
	b.builder = program
	return nil
}

// byHelm and byUs are command lines of tasks.
func (b *bench) byHelm(args ...string) []string {
	return append([]string{b.self, childCommand}, args...)
}

func (b *bench) byUs(args ...string) []string { return append([]string{b.builder}, args...) }

// child runs a command line that prints a result.
func (b *bench) child(ctx context.Context, command []string, env ...string) (measured.Result, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), b.log
	name := taskOf(command)
	var r measured.Result
	printed, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	if err := json.Unmarshal(printed, &r); err != nil {
		return r, fmt.Errorf("%s: read what the child printed: %w", name, err)
	}
	b.say("  %s: %s, CPU %s, peak %s", name, seconds(r.Wall), seconds(r.CPU), megabytes(r.Peak))
	return r, nil
}

// taskOf is the name of the task of a command line.
func taskOf(command []string) string {
	if command[1] == childCommand {
		return command[2]
	}
	return command[1]
}

// alternate runs command lines in turns, so that what disturbs the machine for a while disturbs all of them. Files that
// they write are overwritten by each run.
func (b *bench) alternate(ctx context.Context, name string, each ...[]string) ([]runs, error) {
	all := make([]runs, len(each))
	for range b.runs {
		for i, command := range each {
			r, err := b.child(ctx, command)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], r)
		}
	}
	if b.profiles == "" {
		return all, nil
	}
	if err := os.MkdirAll(b.profiles, 0o750); err != nil {
		return nil, err
	}
	for _, command := range each {
		prefix := filepath.Join(b.profiles, name+"-"+taskOf(command))
		if _, err := b.child(ctx, command, measured.ProfilesVariable+"="+prefix); err != nil {
			return nil, err
		}
	}
	return all, nil
}
