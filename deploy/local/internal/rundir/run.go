package rundir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/ketches/helm-operator/deploy/local/internal/process"
)

// Run is the folder of one live stack. Safe for concurrent use.
type Run struct {
	state     State
	name, dir string

	mu        sync.Mutex // guards processes, and the order of its file's versions
	processes Processes
}

// Name is the run's name.
func (r *Run) Name() string { return r.name }

// Dir is the run's folder.
func (r *Run) Dir() string { return r.dir }

// Logs is the folder of the programs' logs.
func (r *Run) Logs() string { return filepath.Join(r.dir, logsFolder) }

// Folder makes and returns a folder of the run, readable by its owner only.
func (r *Run) Folder(name string) (string, error) {
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder %s of run: %w", name, err)
	}
	return dir, nil
}

// Record writes down that a program belongs to this run. A later program of the same name replaces the earlier one, which must
// have ended.
func (r *Run) Record(name string, id process.Identity) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes.Children[name] = id
	return r.save()
}

// PIDs returns the ids of the recorded programs by name.
func (r *Run) PIDs() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	pids := make(map[string]int, len(r.processes.Children))
	for name, id := range r.processes.Children {
		pids[name] = id.PID
	}
	return pids
}

// Publish writes the description of the stack, atomically, where ReadStack finds it.
func (r *Run) Publish(stack any) error { return writeJSON(filepath.Join(r.dir, stackFile), stack) }

// Remove removes the folder. With keepLogs the logs move to State.KeptLogs and replace what an earlier run of that name left
// there.
func (r *Run) Remove(keepLogs bool) error {
	if keepLogs {
		kept := r.state.KeptLogs(r.name)
		if err := os.RemoveAll(kept); err != nil {
			return fmt.Errorf("remove older logs: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
			return fmt.Errorf("keep logs: %w", err)
		}
		if err := os.Rename(r.Logs(), kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep logs: %w", err)
		}
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("remove run folder: %w", err)
	}
	return nil
}

func (r *Run) save() error { return writeJSON(filepath.Join(r.dir, processesFile), r.processes) }

// writeJSON replaces a file in one step, so that no reader sees half of it.
func writeJSON(path string, content any) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}
