package e2e

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

// service is one of our processes.
type service struct {
	name, binary, logFile string
	args                  []string
	grpc, metrics, health string

	cmd  *exec.Cmd
	done chan error // receives the outcome of the process once
}

// start starts the process and waits until it says that it is ready.
func (s *service) start(ctx context.Context) error {
	log, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	s.cmd = exec.Command(s.binary, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan<- error) { done <- cmd.Wait() }(s.cmd, s.done)
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 60*time.Second, true, func(context.Context) (bool, error) {
		select {
		case err := <-s.done:
			s.cmd = nil
			return false, fmt.Errorf("%s ended: %w", s.name, err)
		default:
			return s.ready(), nil
		}
	})
	if err != nil {
		return fmt.Errorf("wait until %s is ready: %w\n%s", s.name, err, s.logTail(4000))
	}
	return nil
}

func (s *service) ready() bool {
	response, err := http.Get("http://" + s.health + "/readyz")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// terminate asks the process to stop, as the kubelet does, and fails when it does not within the time.
func (s *service) terminate(within time.Duration) error {
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
			return fmt.Errorf("%s did not end well: %w", s.name, err)
		}
		return nil
	case <-time.After(within):
		return errors.Join(fmt.Errorf("%s did not stop within %s", s.name, within), s.kill())
	}
}

// kill ends the process as a crash does.
func (s *service) kill() error {
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

// logTail returns the last bytes of the process's log.
func (s *service) logTail(bytes int) string {
	data, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-bytes):])
}
