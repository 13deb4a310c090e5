package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// noRetry is the trailer that keeps gRPC clients from repeating a call by their retry policy. Only calls that chartcache
// did not answer are worth an immediate repetition: an upstream that is down stays down for longer than a second. Statuses
// that no policy repeats go without: gRPC counts each of these trailers against the repetitions of a whole connection.
func noRetry(s *status.Status, err error) (trailer metadata.MD, ok bool) {
	if s.Code() != codes.Unavailable || !hasReason(err) {
		return nil, false
	}
	return metadata.Pairs("grpc-retry-pushback-ms", "-1"), true
}

// calls wraps every call: it refuses methods that the table lacks and calls that are too many, bounds the time, validates the
// request, turns errors and panics into statuses, and tells what came of it.
type calls struct {
	methods map[string]observed
	log     zerolog.Logger
	now     func() time.Time
	// others, details and watches bound what is in progress.
	others, details, watches turnstile
	// running are the handlers of streams. They may outlive their calls for a moment.
	running sync.WaitGroup
	// stopping ends when the server stops; it ends the watches, which would keep it open for ever.
	stopping context.Context
}

// observed is a method of the table, and what is told about it.
type observed struct {
	method
	metrics MethodMetrics
}

// observe adds to the table who is told about each method.
func observe(table map[string]method, metrics Metrics) map[string]observed {
	all := make(map[string]observed, len(table))
	for name, m := range table {
		all[name] = observed{m, metrics.Method(name)}
	}
	return all
}

func (c *calls) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	m, ok := c.methods[info.FullMethod]
	if !ok {
		return nil, refused(info.FullMethod)
	}
	one := c.begin(info.FullMethod, m)
	m.metrics.Received()
	leave, ok := c.enter(m)
	if !ok {
		return nil, c.end(&one, busy()).Err()
	}
	ctx, cancel := m.bound(ctx)
	defer cancel()
	err = guard(func() error {
		if m.class != probe {
			if err := validate(request); err != nil {
				return err
			}
		}
		one.request = request
		var err error
		response, err = handler(ctx, request)
		return err
	})
	s := c.end(&one, err)
	if s.Code() == codes.OK {
		m.metrics.Sent()
		return &answer{message: response, leave: leave}, nil
	}
	leave()
	if trailer, ok := noRetry(s, err); ok {
		// The trailer is advice; a caller that is gone does not need it.
		_ = grpc.SetTrailer(ctx, trailer)
	}
	return nil, s.Err()
}

func (c *calls) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m, ok := c.methods[info.FullMethod]
	if !ok {
		return refused(info.FullMethod)
	}
	one := c.begin(info.FullMethod, m)
	leave, ok := c.enter(m)
	if !ok {
		return c.end(&one, busy()).Err()
	}
	ctx, cancel := m.bound(stream.Context())
	defer cancel()
	if m.class == watch {
		defer context.AfterFunc(c.stopping, cancel)()
	}
	bound := &boundStream{ServerStream: stream, ctx: ctx, metrics: m.metrics, validate: validated(info.FullMethod)}
	err := c.run(ctx, leave, func() error { return handler(server, bound) })
	if err != nil && m.class == watch && c.stopping.Err() != nil {
		err = errStopping
	}
	if request := bound.request.Load(); request != nil {
		one.request = *request
	}
	s := c.end(&one, err)
	if trailer, ok := noRetry(s, err); ok {
		stream.SetTrailer(trailer)
	}
	return s.Err()
}

// run waits for the handler of a stream, but no longer than its context. A handler that waits in SendMsg for a caller who does
// not read knows of no context: it fails once its call has ended, which is when gRPC learns what run returned. Its turn
// lasts until then.
func (c *calls) run(ctx context.Context, leave func(), handler func() error) error {
	done := make(chan error, 1)
	c.running.Go(func() {
		err := guard(handler)
		leave()
		done <- err
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errStopping is what ends the watches of a server that stops. Their clients connect again, elsewhere if they can.
var errStopping = status.Error(codes.Unavailable, "the server is stopping")

// validated reports whether the requests of a streaming method are of the contract; those of health and reflection are
// checked where they are read.
func validated(fullMethod string) bool {
	return fullMethod == chartcachev1.ChartCacheService_WatchRepositories_FullMethodName ||
		fullMethod == chartcachev1.ChartCacheService_DownloadChart_FullMethodName
}

func refused(fullMethod string) error {
	return status.Errorf(codes.Unimplemented, "method %s is not served", fullMethod)
}

func (m method) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if m.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, m.timeout)
}

// enter lets a call go on unless there are too many; it must leave then. Probes always pass: a busy server is a healthy one.
func (c *calls) enter(m observed) (leave func(), ok bool) {
	switch {
	case m.class == probe:
		return func() {}, true
	case m.class == watch:
		return c.watches.enter()
	case m.detail:
		return c.details.enter()
	default:
		return c.others.enter()
	}
}

// guard turns a panic of a handler into an error: one bad request must not end the process for all others.
func guard(call func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{value: r, stack: debug.Stack()}
		}
	}()
	return call()
}

// panicError is what a panicking handler returns.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// oneCall is a call in progress.
type oneCall struct {
	fullMethod string
	method     observed
	start      time.Time
	// request is set once it was validated.
	request any
}

func (c *calls) begin(fullMethod string, m observed) oneCall {
	m.metrics.Began()
	return oneCall{fullMethod: fullMethod, method: m, start: c.now()}
}

// end counts a call, logs it in one line when it failed, and returns its status.
func (c *calls) end(one *oneCall, err error) *status.Status {
	took := c.now().Sub(one.start)
	s := statusOf(err)
	one.method.metrics.Ended(s.Code(), took)
	level := zerolog.DebugLevel
	if err != nil && err != errStopping { //nolint:errorlint // the very one, which is no news
		level = levelOf(s.Code())
	}
	event := c.log.WithLevel(level)
	if !event.Enabled() {
		return s
	}
	event = event.Str("method", one.fullMethod).Str("class", string(one.method.class)).Str("code", s.Code().String()).Dur("took", took)
	if r, ok := one.request.(sourced); ok {
		event = event.Stringer("repository", sourceOf(r))
	}
	if hasReason(err) {
		event = event.Str("reason", reasonName(cacheerr.ReasonOf(err)))
	}
	if err != nil {
		event = event.Str("answer", s.Message()).AnErr("error", causeOf(err))
	}
	event.Msg("call ended")
	return s
}

// levelOf is the level of the line about a failed call. A fault of chartcache is an error; what an upstream, or a lack of
// time, did is worth knowing; what a caller did wrong, or gave up, is its own business.
func levelOf(code codes.Code) zerolog.Level {
	switch code {
	case codes.Internal, codes.Unknown:
		return zerolog.ErrorLevel
	case codes.DataLoss, codes.ResourceExhausted:
		return zerolog.WarnLevel
	case codes.Unavailable, codes.FailedPrecondition, codes.DeadlineExceeded:
		return zerolog.InfoLevel
	default:
		return zerolog.DebugLevel
	}
}

// boundStream is a stream with a bounded context, validated requests and counted messages.
type boundStream struct {
	grpc.ServerStream
	ctx      context.Context
	metrics  MethodMetrics
	validate bool
	// request is set once it was validated.
	request atomic.Pointer[any]
}

// Context returns the bounded context.
func (s *boundStream) Context() context.Context { return s.ctx }

// RecvMsg validates what it received.
func (s *boundStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	s.metrics.Received()
	if !s.validate {
		return nil
	}
	if err := validate(message); err != nil {
		return err
	}
	s.request.Store(&message)
	return nil
}

// SendMsg counts what was sent.
func (s *boundStream) SendMsg(message any) error {
	if err := s.ServerStream.SendMsg(message); err != nil {
		return err
	}
	s.metrics.Sent()
	return nil
}
