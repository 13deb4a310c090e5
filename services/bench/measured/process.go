package measured

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is what Linux tells about a process.
type Process struct {
	// Resident is its memory now, Peak the largest it had so far, in bytes.
	Resident, Peak int64
	// CPU is the processor time that it used so far.
	CPU time.Duration
}

// ticksPerSecond is the unit of /proc/PID/stat, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// ReadProcess reads what there is about a running process.
func ReadProcess(pid int) (Process, error) {
	var p Process
	folder := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return p, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	if p.Resident, err = statusBytes(status, "VmRSS"); err != nil {
		return p, err
	}
	if p.Peak, err = statusBytes(status, "VmHWM"); err != nil {
		return p, err
	}
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return p, fmt.Errorf("read the times of process %d: %w", pid, err)
	}
	p.CPU, err = statTime(stat)
	return p, err
}

// statusBytes returns a field of /proc/PID/status.
func statusBytes(status []byte, field string) (int64, error) {
	for line := range bytes.Lines(status) {
		name, value, _ := strings.Cut(string(line), ":")
		if name != field {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s of a process: %w", field, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("read %s of a process: it has none; did it end?", field)
}

// statTime returns user and system time of /proc/PID/stat. Its second field, the name, can hold anything.
func statTime(stat []byte) (time.Duration, error) {
	const user, system = 14 - 3, 15 - 3 // by position, counted from the field behind the name
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= system {
		return 0, fmt.Errorf("read the times of a process: %d fields are too few", len(fields))
	}
	var ticks int64
	for _, field := range []int{user, system} {
		n, err := strconv.ParseInt(string(fields[field]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the times of a process: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
