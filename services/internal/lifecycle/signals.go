package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// WithSignals returns a context that ends at the first SIGTERM or SIGINT, with a cause that names the signal. A second
// signal ends the process at once, as if nobody listened. Call the function to stop listening.
func WithSignals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case received := <-signals:
			cancel(fmt.Errorf("received signal: %s", received))
		case <-ctx.Done():
		}
		signal.Stop(signals)
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-done
	}
}
