package localstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Service is one of our processes. It can be started again after its end. It is not safe for concurrent use.
type Service struct {
	// Name of the process, and of its log.
	Name string
	// GRPC, Metrics, Health are its addresses; GRPC is empty for the operator.
	GRPC, Metrics, Health string
	// Env are variables, NAME=value, that the process has besides those of this one. Set them before it is started.
	Env []string

	binary, logFile string
	args            []string
	// readyz is the URL that says whether the process is ready, and client asks it; by default, Health is asked in plaintext.
	readyz string
	client *http.Client
	// guarded reports that being asked for credentials means that the process is ready.
	guarded bool
	cmd     *exec.Cmd
	done    chan error // receives the outcome of the process once
}

// Running reports whether the process was started and not ended by one of the methods.
func (s *Service) Running() bool { return s.cmd != nil }

// PID is the number of the process; 0 when it does not run.
func (s *Service) PID() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Start starts the process and waits until it says that it is ready.
func (s *Service) Start(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	return s.AwaitReady(ctx)
}

// Launch starts the process and waits for nothing.
func (s *Service) Launch() error {
	log, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	s.cmd = exec.Command(s.binary, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = append(os.Environ(), s.Env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	s.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan<- error) { done <- cmd.Wait() }(s.cmd, s.done)
	return nil
}

// AwaitReady waits until a launched process says that it is ready.
func (s *Service) AwaitReady(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 60*time.Second, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-s.done:
			s.cmd = nil
			return false, fmt.Errorf("%s ended: %w", s.Name, err)
		default:
			return s.ready(ctx), nil
		}
	})
	if err != nil {
		return fmt.Errorf("wait until %s is ready: %w\n%s", s.Name, err, s.LogTail(4000))
	}
	return nil
}

func (s *Service) ready(ctx context.Context) bool {
	readyz, client := s.readyz, s.client
	if client == nil {
		readyz, client = "http://"+s.Health+"/readyz", http.DefaultClient
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, readyz, http.NoBody)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK || s.guarded && response.StatusCode == http.StatusUnauthorized
}

// Freeze stops the process from doing anything, as a machine does that stalls, until Thaw.
func (s *Service) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (s *Service) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// AwaitEnd waits until the process has ended by itself, and fails when it does not within the time. How it ended does not
// matter.
func (s *Service) AwaitEnd(within time.Duration) error {
	select {
	case <-s.done: //nolint:errcheck // how it ended does not matter
		s.cmd = nil
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s did not end within %s", s.Name, within)
	}
}

// Terminate asks the process to stop, as the kubelet does, and fails when it does not within the time.
func (s *Service) Terminate(within time.Duration) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.done:
		s.cmd = nil
		if err != nil {
			return fmt.Errorf("%s did not end well: %w", s.Name, err)
		}
		return nil
	case <-time.After(within):
		return errors.Join(fmt.Errorf("%s did not stop within %s", s.Name, within), s.Kill())
	}
}

// Kill ends the process as a crash does.
func (s *Service) Kill() error {
	if s.cmd == nil {
		return nil
	}
	killed := s.cmd.Process.Kill()
	ended := <-s.done
	s.cmd = nil
	if signalled := new(exec.ExitError); errors.As(ended, &signalled) {
		return killed // it ended by the signal, as it should
	}
	return errors.Join(killed, ended)
}

// LogTail returns the last bytes of the process's log.
func (s *Service) LogTail(bytes int) string {
	data, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-bytes):])
}
