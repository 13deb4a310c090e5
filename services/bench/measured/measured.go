// Package measured is for programs that do one thing in a process that did nothing before, and print what it took.
//
// It depends on nothing but Linux, so that the memory of such a program is that of the one thing.
package measured

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// Result is what such a program prints, as JSON.
type Result struct {
	// Wall is how long the work took; CPU the processor time, of all threads.
	Wall, CPU time.Duration
	// Peak is the largest resident memory of the process from its start, in bytes.
	Peak int64
	// Entries is the number of chart versions that were read.
	Entries int64
}

// Work is what is measured. It returns the number of chart versions that it read.
type Work func() (entries int64, err error)

// Task is what a program can do.
type Task struct {
	// Arguments is the number of arguments that it takes.
	Arguments int
	// SetUp prepares the work; of that only the memory is measured.
	SetUp func(args []string) (Work, error)
}

// warmUp is how often Again does the work before it is measured: after that, times do not fall any further.
const warmUp = 5

// Again is a task whose work was done before in the same process, as in a service that runs for long: its memory is there,
// its code is in the caches.
func Again(t Task) Task {
	return Task{Arguments: t.Arguments, SetUp: func(args []string) (Work, error) {
		for range warmUp {
			work, err := t.SetUp(args)
			if err != nil {
				return nil, err
			}
			if _, err := work(); err != nil {
				return nil, err
			}
		}
		return t.SetUp(args)
	}}
}

// ProfilesVariable names the environment variable with the prefix of the files that a program writes its profiles to,
// PREFIX.cpu.pprof and PREFIX.allocs.pprof. There are none without it.
const ProfilesVariable = "HELM_OPERATOR_BENCH_PROFILES"

// Main does the task that the first argument names with the others, prints the Result, and returns the exit code.
func Main(args []string, tasks map[string]Task, out, errs io.Writer) int {
	r, err := do(args, tasks, os.Getenv(ProfilesVariable))
	if err == nil {
		err = json.NewEncoder(out).Encode(r)
	}
	if err != nil {
		_, _ = fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

func do(args []string, tasks map[string]Task, profiles string) (Result, error) {
	if len(args) == 0 {
		return Result{}, errors.New("want the name of a task")
	}
	t, ok := tasks[args[0]]
	if !ok || len(args) != t.Arguments+1 {
		return Result{}, fmt.Errorf("there is no task %q with %d arguments", args[0], len(args)-1)
	}
	work, err := t.SetUp(args[1:])
	if err != nil {
		return Result{}, err
	}
	if profiles == "" {
		return measure(work)
	}
	stop, err := startProfiles(profiles)
	if err != nil {
		return Result{}, err
	}
	r, err := measure(work)
	return r, errors.Join(err, stop())
}

func measure(work Work) (Result, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return Result{}, err
	}
	start := time.Now()
	entries, err := work()
	wall := time.Since(start)
	if err != nil {
		return Result{}, err
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return Result{}, err
	}
	self, err := ReadProcess(os.Getpid())
	return Result{Wall: wall, CPU: used(after) - used(before), Peak: self.Peak, Entries: entries}, err
}

func used(u syscall.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }

func startProfiles(prefix string) (stop func() error, err error) {
	cpu, err := os.Create(prefix + ".cpu.pprof")
	if err != nil {
		return nil, err
	}
	runtime.MemProfileRate = 4096 // one sample for each 512 KiB is too coarse for what takes 60 MB in all
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		allocations, err := os.Create(prefix + ".allocs.pprof")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocations, 0), allocations.Close(), cpu.Close())
	}, nil
}
