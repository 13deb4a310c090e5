// Package rundir keeps what local stacks leave on disk: one folder for the built binaries and one for each running stack, with
// the processes that belong to it, so that a stack which was killed can be cleaned up by the next one.
//
// It depends on process only. It must never touch a run whose supervisor is alive.
package rundir

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ketches/helm-operator/deploy/local/internal/process"
)

const (
	processesFile = "processes.json"
	stackFile     = "stack.json"
	logsFolder    = "logs"
)

// ErrRunning tells that a run of that name is alive already.
var ErrRunning = errors.New("already running")

// ErrNotRunning tells that no run of that name is alive.
var ErrNotRunning = errors.New("not running")

// State is the folder that holds everything. Layout: bin/ (programs), run/NAME/ (one per stack), logs/NAME/ (kept logs).
type State struct {
	// Root is the folder; made when missing.
	Root string
	// Table finds processes.
	Table process.Table
}

// Processes is the content of processes.json: who is in charge, and what it started.
type Processes struct {
	Supervisor process.Identity            `json:"supervisor"`
	Children   map[string]process.Identity `json:"children"`
}

// Bin is the folder of the built programs.
func (s State) Bin() string { return filepath.Join(s.Root, "bin") }

// RunFolder is the folder of the run with this name, whether it exists or not.
func (s State) RunFolder(name string) string { return filepath.Join(s.Root, "run", name) }

// KeptLogs is where the logs of the run with this name go when they are kept.
func (s State) KeptLogs(name string) string { return filepath.Join(s.Root, logsFolder, name) }

// Lock takes the named lock of this state folder, waiting for whoever has it. It ends with the process at the latest.
func (s State) Lock(name string) (unlock func(), err error) {
	if err := os.MkdirAll(s.Root, 0o755); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(s.Root, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock %s: %w", name, err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take lock %s: %w", name, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

var runName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// RandomName returns a name for a run that nobody named.
func RandomName() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // crypto/rand never fails
	return "run-" + hex.EncodeToString(b)
}

// Create cleans up after killed runs and makes the folder of a new one in the name of the given supervisor. It fails with
// ErrRunning when the name is taken.
func (s State) Create(name string, supervisor process.Identity) (*Run, error) {
	if !runName.MatchString(name) {
		return nil, fmt.Errorf("name of run %q: want lower-case letters, digits and dashes, at most 40", name)
	}
	unlock, err := s.Lock("runs")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := s.sweep(); err != nil {
		return nil, err
	}
	dir := s.RunFolder(name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("make run folder: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("run %s: %w", name, ErrRunning)
		}
		return nil, fmt.Errorf("make run folder: %w", err)
	}
	run := &Run{state: s, name: name, dir: dir, processes: Processes{Supervisor: supervisor, Children: map[string]process.Identity{}}}
	if err := os.Mkdir(run.Logs(), 0o755); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	if err := run.save(); err != nil {
		return nil, err
	}
	return run, nil
}

// Sweep ends and removes what killed runs left behind, and returns their names.
func (s State) Sweep() ([]string, error) {
	unlock, err := s.Lock("runs")
	if err != nil {
		return nil, err
	}
	defer unlock()
	return s.sweep()
}

// sweep is Sweep with the lock held. A folder without a readable list of processes belongs to a run that died while it was
// being created, under the same lock: it has started nothing.
func (s State) sweep() ([]string, error) {
	names, err := s.folders()
	if err != nil {
		return nil, err
	}
	var swept []string
	for _, name := range names {
		processes, err := s.load(name)
		if err == nil {
			alive, err := s.Table.Alive(processes.Supervisor)
			if err != nil {
				return swept, fmt.Errorf("look for supervisor of run %s: %w", name, err)
			}
			if alive {
				continue
			}
			for child, id := range processes.Children {
				if err := s.Table.Kill(id); err != nil {
					return swept, fmt.Errorf("end %s of run %s: %w", child, name, err)
				}
			}
		}
		if err := os.RemoveAll(s.RunFolder(name)); err != nil {
			return swept, fmt.Errorf("remove run %s: %w", name, err)
		}
		swept = append(swept, name)
	}
	return swept, nil
}

// Running returns the names of the runs whose supervisor is alive, in order.
func (s State) Running() ([]string, error) {
	names, err := s.folders()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := s.Supervisor(name)
		return err != nil
	}), nil
}

// Supervisor returns the process in charge of a run; ErrNotRunning when there is none or it is dead.
func (s State) Supervisor(name string) (process.Identity, error) {
	processes, err := s.load(name)
	if err != nil {
		return process.Identity{}, fmt.Errorf("run %s: %w", name, ErrNotRunning)
	}
	alive, err := s.Table.Alive(processes.Supervisor)
	if err != nil {
		return process.Identity{}, err
	}
	if !alive {
		return process.Identity{}, fmt.Errorf("run %s: %w", name, ErrNotRunning)
	}
	return processes.Supervisor, nil
}

// ReadStack reads what the run with this name published into into. The error wraps fs.ErrNotExist until it has.
func (s State) ReadStack(name string, into any) error {
	data, err := os.ReadFile(filepath.Join(s.RunFolder(name), stackFile))
	if err != nil {
		return fmt.Errorf("read description of run %s: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read description of run %s: %w", name, err)
	}
	return nil
}

func (s State) folders() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.Root, "run"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (s State) load(name string) (Processes, error) {
	data, err := os.ReadFile(filepath.Join(s.RunFolder(name), processesFile))
	if err != nil {
		return Processes{}, fmt.Errorf("read processes of run %s: %w", name, err)
	}
	return parseProcesses(data)
}

func parseProcesses(data []byte) (Processes, error) {
	var p Processes
	if err := json.Unmarshal(data, &p); err != nil {
		return Processes{}, fmt.Errorf("parse list of processes: %w", err)
	}
	return p, nil
}
