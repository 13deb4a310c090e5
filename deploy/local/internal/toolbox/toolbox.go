// Package toolbox builds the programs of a local stack (the Kubernetes components, etcd, KWOK, kubectl, helm, a registry) from Go
// modules, once: later calls find them by a stamp.
//
// It depends on the go command only. It must never change the module that it builds.
package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ketches/helm-operator/deploy/local/internal/console"
)

// ldflags give the programs their version (a dependency has none of its own) and leave out what debuggers need, half their size.
const ldflags = "-s -w" +
	" -X k8s.io/component-base/version.gitVersion=v1.37.2" +
	" -X k8s.io/component-base/version.gitMajor=1" +
	" -X k8s.io/component-base/version.gitMinor=37"

const stampFile = ".stamp"

// Programs are the built programs by the name of what the go command makes. etcd's main package is called server; the names on
// the right are also those that envtest expects in KUBEBUILDER_ASSETS.
func Programs() map[string]string {
	return map[string]string{
		"server":                  "etcd",
		"kube-apiserver":          "kube-apiserver",
		"kube-controller-manager": "kube-controller-manager",
		"kube-scheduler":          "kube-scheduler",
		"kubectl":                 "kubectl",
		"kwok":                    "kwok",
		"helm":                    "helm",
		"registry":                "registry",
	}
}

// Config says what to build where.
type Config struct {
	// Module is the folder of the module whose tool directives name the programs.
	Module string
	// Bin receives the programs.
	Bin string
	// Lock keeps others from building into Bin at the same time. Required.
	Lock func() (unlock func(), err error)
	// Console receives progress.
	Console *console.Console
	// Now is the clock.
	Now func() time.Time
}

// Build builds what is missing or outdated. With nothing to do it returns within milliseconds and prints nothing.
func Build(ctx context.Context, cfg Config) error {
	stamp, err := stampOf(ctx, cfg.Module)
	if err != nil {
		return err
	}
	if current(cfg.Bin, stamp) {
		return nil
	}
	unlock, err := cfg.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if current(cfg.Bin, stamp) {
		return nil // somebody else has built meanwhile
	}
	return cfg.Console.Step("Kubernetes, etcd, KWOK, helm and registry built", func() error { return build(ctx, cfg, stamp) })
}

// current reports whether bin holds everything, built from what the stamp stands for.
func current(bin, stamp string) bool {
	found, err := os.ReadFile(filepath.Join(bin, stampFile))
	if err != nil || string(found) != stamp {
		return false
	}
	for _, name := range Programs() {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return false
		}
	}
	return true
}

// stampOf digests everything that the programs are made of.
func stampOf(ctx context.Context, module string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", fmt.Errorf("read module of programs: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(data), data)
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH")
	cmd.Dir = module
	version, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask for version of go: %w", err)
	}
	fmt.Fprintf(h, "%s%s", version, ldflags)
	return hex.EncodeToString(h.Sum(nil)), nil
}

func build(ctx context.Context, cfg Config, stamp string) error {
	fresh := cfg.Bin + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.MkdirAll(fresh, 0o755), os.MkdirAll(cfg.Bin, 0o755)); err != nil {
		return fmt.Errorf("make folder for programs: %w", err)
	}
	cfg.Console.Line("  building Kubernetes, etcd, KWOK, helm and a registry from source: 10 to 20 minutes the first time")
	if err := compile(ctx, cfg, fresh); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	for made, name := range Programs() {
		// A rename is safe while an older stack still runs the replaced program.
		if err := os.Rename(filepath.Join(fresh, made), filepath.Join(cfg.Bin, name)); err != nil {
			return fmt.Errorf("put program in place: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Bin, stampFile), []byte(stamp), 0o644); err != nil {
		return fmt.Errorf("write stamp: %w", err)
	}
	return os.RemoveAll(fresh)
}

// compile runs the go command and prints how far it is, at most every 15 seconds.
func compile(ctx context.Context, cfg Config, into string) error {
	// -v prints one line for each package that is compiled, the only sign of progress that the go command gives.
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-ldflags", ldflags, "-o", into+string(filepath.Separator), "tool")
	cmd.Dir = cfg.Module
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	progress := &progress{}
	cmd.Stdout, cmd.Stderr = progress, progress
	start := cfg.Now()
	finished := make(chan error, 1)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go build: %w", err)
	}
	go func() { finished <- cmd.Wait() }()
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-finished:
			if err != nil {
				return fmt.Errorf("build programs: %w\n%s", errors.Join(context.Cause(ctx), err), progress.problems())
			}
			return nil
		case <-tick.C:
			cfg.Console.Line("    %s  %d packages compiled, %d of %d programs linked",
				cfg.Now().Sub(start).Round(time.Second), progress.packages.Load(), countFiles(into), len(Programs()))
		}
	}
}

func countFiles(dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	return len(entries)
}

// progress counts the package lines of go build -v and keeps all others, which are downloads and errors. Written to by the go
// command's one output goroutine, read by problems after that ended.
type progress struct {
	packages atomic.Int64
	rest     bytes.Buffer
	partial  []byte
}

// Write implements io.Writer.
func (p *progress) Write(data []byte) (int, error) {
	p.partial = append(p.partial, data...)
	for {
		end := bytes.IndexByte(p.partial, '\n')
		if end < 0 {
			return len(data), nil
		}
		line := string(p.partial[:end])
		p.partial = p.partial[end+1:]
		if isPackage(line) {
			p.packages.Add(1)
		} else {
			p.rest.WriteString(line + "\n")
		}
	}
}

// isPackage recognises an import path. Messages of the compiler start with a path too, but go on behind it.
func isPackage(line string) bool { return line != "" && !strings.ContainsAny(line, " \t:#") }

// problems returns the last lines that are no packages.
func (p *progress) problems() string {
	var lines []string
	for s := bufio.NewScanner(&p.rest); s.Scan(); {
		if !strings.HasPrefix(s.Text(), "go: downloading ") {
			lines = append(lines, "  "+s.Text())
		}
	}
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
