package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// Spec describes a program to start.
type Spec struct {
	// Name is what people call it; it also names the log file.
	Name string
	// Path is the program's file.
	Path string
	// Args are its arguments, without the program name.
	Args []string
	// Env are NAME=value pairs added to a nearly empty environment (PATH and HOME only): nothing of the caller's shell may
	// change how a stack behaves.
	Env []string
	// Dir is its working directory and HOME. Must exist.
	Dir string
}

// SpawnerConfig is what a Spawner needs.
type SpawnerConfig struct {
	// LogDir receives one file NAME.log for each program. Must exist.
	LogDir string
	// Recorded is called with the identity of each started program before Start returns, so that it can be found again even if
	// this process is killed. An error ends the program and fails Start. Required.
	Recorded func(name string, id Identity) error
	// Table reads identities.
	Table Table
}

// Spawner starts programs that the kernel ends (SIGKILL) when this process ends, however it ends. Close it when done.
type Spawner struct {
	cfg   SpawnerConfig
	forks chan func()
	done  chan struct{}
	close sync.Once
}

// NewSpawner returns a Spawner. The parent-death signal belongs to the operating system thread that forked, not to the process,
// so one goroutine keeps one thread for all forks until Close.
func NewSpawner(cfg SpawnerConfig) *Spawner {
	s := &Spawner{cfg: cfg, forks: make(chan func()), done: make(chan struct{})}
	go onThreadOfItsOwn(func() {
		for {
			select {
			case fork := <-s.forks:
				fork()
			case <-s.done:
				return
			}
		}
	})
	return s
}

// onThreadOfItsOwn runs f on a thread that ends with it. The first thread of a process never ends before the process does (the
// runtime parks it), so f moves to another one when the scheduler happened to choose that.
func onThreadOfItsOwn(f func()) {
	runtime.LockOSThread() // never unlocked where f runs: the thread, and all that it forked, ends with this goroutine
	if syscall.Gettid() != os.Getpid() {
		f()
		return
	}
	elsewhere := make(chan struct{})
	go func() {
		runtime.LockOSThread() // the first thread is taken until elsewhere is closed, so this is another
		close(elsewhere)
		f()
	}()
	<-elsewhere
	runtime.UnlockOSThread()
}

// Close ends everything that is still running, by SIGKILL, without waiting for it. Safe to call more than once.
func (s *Spawner) Close() { s.close.Do(func() { close(s.done) }) }

// Start starts a program, its output appended to its log file.
func (s *Spawner) Start(spec Spec) (*Child, error) {
	logPath := filepath.Join(s.cfg.LogDir, spec.Name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", spec.Name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor

	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = spec.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + spec.Dir}, spec.Env...)
	// An own process group keeps the terminal's Ctrl-C away from the child: its supervisor decides the order of ending.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error, 1)
	select {
	case s.forks <- func() { started <- cmd.Start() }:
	case <-s.done:
		return nil, fmt.Errorf("start %s: spawner is closed", spec.Name)
	}
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	child := newChild(spec.Name, logPath, cmd)
	id, err := s.cfg.Table.Identify(cmd.Process.Pid)
	if err != nil {
		child.Kill()
		return nil, errors.Join(fmt.Errorf("%s ended at once", spec.Name), child.Err(), err)
	}
	child.id = id
	if err := s.cfg.Recorded(spec.Name, id); err != nil {
		child.Kill()
		return nil, fmt.Errorf("record %s: %w", spec.Name, err)
	}
	return child, nil
}
