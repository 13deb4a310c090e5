package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// attempts bounds how often a service is started when it ends before it was ready: usually somebody took its port.
const attempts = 3

// Service is a program that stays up.
type Service struct {
	// Ports is the number of free ports that it needs.
	Ports int
	// Spec makes the description of the program from as many addresses (host:port). Called again for another attempt.
	Spec func(addresses []string) Spec
	// Retry, if set, cleans up before another attempt.
	Retry func() error
	// Ready reports whether the program does its work. None: it counts as ready once started.
	Ready func(context.Context) error
	// ReadyWithin bounds the wait for Ready. Required with Ready.
	ReadyWithin time.Duration
}

// Launcher starts services.
type Launcher struct {
	Spawner *Spawner
	Ports   *Ports
	// Started is told of every service that became ready, to watch over it. Required.
	Started func(*Child)
}

// Start starts a service and waits until it is ready. When it ends before that, it is tried again on other ports.
func (l *Launcher) Start(ctx context.Context, service Service) (*Child, error) {
	for attempt := 1; ; attempt++ {
		child, err := l.try(ctx, service)
		if err == nil {
			l.Started(child)
			return child, nil
		}
		if attempt == attempts || !errors.Is(err, ErrExited) || ctx.Err() != nil {
			return nil, err
		}
		if service.Retry != nil {
			if err := service.Retry(); err != nil {
				return nil, fmt.Errorf("clean up for another attempt: %w", err)
			}
		}
	}
}

func (l *Launcher) try(ctx context.Context, service Service) (*Child, error) {
	addresses, err := l.Ports.FreeAddresses(service.Ports)
	if err != nil {
		return nil, err
	}
	child, err := l.Spawner.Start(service.Spec(addresses))
	if err != nil {
		return nil, err
	}
	if service.Ready == nil {
		return child, nil
	}
	within := fmt.Errorf("not within %s", service.ReadyWithin)
	ctx, cancel := context.WithTimeoutCause(ctx, service.ReadyWithin, within)
	defer cancel()
	if err := child.Await(ctx, service.Ready); err != nil {
		child.Kill()
		return nil, err
	}
	return child, nil
}

// Answers asks url and returns nil when the answer has one of the given status codes.
func Answers(ctx context.Context, client *http.Client, url string, codes ...int) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	_ = response.Body.Close()
	for _, code := range codes {
		if response.StatusCode == code {
			return nil
		}
	}
	return fmt.Errorf("ask %s: answer is %s", url, response.Status)
}
