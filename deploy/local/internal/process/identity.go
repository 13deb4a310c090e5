// Package process starts, watches and ends the programs of a local stack, and recognises programs that an earlier stack left
// behind.
//
// It depends on Linux (/proc, parent-death signals) and on nothing of this project. It must never signal a process that it
// cannot identify beyond its id: ids are reused.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Identity names one process for good: an id alone may be reused, an id with its start time and the boot it belongs to may not.
type Identity struct {
	// PID is the process id; above 1.
	PID int `json:"pid"`
	// StartTicks is the start time in clock ticks since boot, field 22 of /proc/PID/stat.
	StartTicks uint64 `json:"startTicks"`
	// Boot is the kernel's boot id: start times of different boots are not comparable.
	Boot string `json:"boot"`
}

// Table reads the process table.
type Table struct {
	// Proc is where procfs is mounted. Default: /proc.
	Proc string
}

// errGone tells that no process has the id that was asked for.
var errGone = errors.New("no such process")

func (t Table) path(parts ...string) string {
	root := t.Proc
	if root == "" {
		root = "/proc"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// Identify returns the identity of the running process with this id. The error wraps fs.ErrNotExist when there is none.
func (t Table) Identify(pid int) (Identity, error) {
	boot, err := os.ReadFile(t.path("sys", "kernel", "random", "boot_id"))
	if err != nil {
		return Identity{}, fmt.Errorf("read boot id: %w", err)
	}
	stat, err := os.ReadFile(t.path(strconv.Itoa(pid), "stat"))
	if err != nil {
		return Identity{}, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	ticks, err := startTicks(stat)
	if err != nil {
		return Identity{}, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	return Identity{PID: pid, StartTicks: ticks, Boot: string(bytes.TrimSpace(boot))}, nil
}

// Alive reports whether exactly this process still runs. A process that ended and was not waited for counts as gone.
func (t Table) Alive(id Identity) (bool, error) {
	if id.PID <= 1 {
		return false, nil
	}
	now, err := t.Identify(id.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errGone), errors.Is(err, syscall.ESRCH):
		return false, nil
	case err != nil:
		return false, err
	}
	return now == id, nil
}

// Kill ends exactly this process with SIGKILL. A process that is gone already is no error.
func (t Table) Kill(id Identity) error {
	alive, err := t.Alive(id)
	if err != nil || !alive {
		return err
	}
	if err := syscall.Kill(id.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d: %w", id.PID, err)
	}
	return nil
}

// Terminate asks exactly this process to end, by SIGTERM. A process that is gone already is no error.
func (t Table) Terminate(id Identity) error {
	alive, err := t.Alive(id)
	if err != nil || !alive {
		return err
	}
	if err := syscall.Kill(id.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("terminate process %d: %w", id.PID, err)
	}
	return nil
}

// startTicks finds field 22 of a /proc/PID/stat line. The second field, the program's name, is in parentheses and may hold
// anything, spaces and parentheses included; so counting starts behind the last closing one.
func startTicks(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("no program name in process state")
	}
	fields := bytes.Fields(stat[end+1:])
	// Field 3 (the state) comes first, so field 22 has index 19.
	const state, start = 0, 19
	if len(fields) <= start {
		return 0, fmt.Errorf("process state has %d fields, want more than %d", len(fields)+2, start+2)
	}
	if s := fields[state]; len(s) == 1 && (s[0] == 'Z' || s[0] == 'X') {
		return 0, errGone
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("start time of process: %w", err)
	}
	return ticks, nil
}
