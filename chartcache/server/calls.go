package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// noRetry is the trailer that keeps gRPC clients from repeating a call by their retry policy. Only calls that chartcache
// did not answer are worth an immediate repetition: an upstream that is down stays down for longer than a second.
func noRetry() metadata.MD { return metadata.Pairs("grpc-retry-pushback-ms", "-1") }

// calls wraps every call: it refuses methods that the table lacks, bounds the time, validates the request, turns errors
// and panics into statuses, and reports what came of it.
type calls struct {
	methods map[string]method
	log     zerolog.Logger
	now     func() time.Time
	observe func(CallReport)
	// stopping ends when the server stops; it ends the watches, which would keep it open for ever.
	stopping context.Context
}

func (c *calls) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	m, ok := c.methods[info.FullMethod]
	if !ok {
		return nil, refused(info.FullMethod)
	}
	ctx, cancel := m.bound(ctx)
	defer cancel()
	start := c.now()
	err = guard(func() error {
		if m.class != probe {
			if err := validate(request); err != nil {
				return err
			}
		}
		var err error
		response, err = handler(ctx, request)
		return err
	})
	s := c.done(info.FullMethod, m, start, err)
	if s.Code() == codes.OK {
		return response, nil
	}
	if hasReason(err) {
		// The trailer is advice; a caller that is gone does not need it.
		_ = grpc.SetTrailer(ctx, noRetry())
	}
	return nil, s.Err()
}

func (c *calls) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m, ok := c.methods[info.FullMethod]
	if !ok {
		return refused(info.FullMethod)
	}
	ctx, cancel := m.bound(stream.Context())
	defer cancel()
	if m.class == watch {
		defer context.AfterFunc(c.stopping, cancel)()
	}
	start := c.now()
	err := guard(func() error {
		return handler(server, &boundStream{ServerStream: stream, ctx: ctx, validate: validated(info.FullMethod)})
	})
	if err != nil && m.class == watch && c.stopping.Err() != nil {
		err = status.Error(codes.Unavailable, "the server is stopping")
	}
	s := c.done(info.FullMethod, m, start, err)
	if hasReason(err) {
		stream.SetTrailer(noRetry())
	}
	return s.Err()
}

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

// done logs and counts a call and returns its status. A fault of chartcache is logged as an error with its cause; what a
// caller or an upstream did wrong is no news at info level.
func (c *calls) done(fullMethod string, m method, start time.Time, err error) *status.Status {
	s := statusOf(err)
	took := c.now().Sub(start)
	level := zerolog.DebugLevel
	if s.Code() == codes.Internal || s.Code() == codes.Unknown || s.Code() == codes.DataLoss {
		level = zerolog.ErrorLevel
	}
	event := c.log.WithLevel(level).Str("method", fullMethod).Str("class", string(m.class)).Str("code", s.Code().String()).Dur("took", took)
	if err != nil {
		event = event.Str("answer", s.Message()).AnErr("error", causeOf(err))
	}
	event.Msg("call ended")
	c.observe(CallReport{Method: fullMethod, Code: s.Code(), Took: took})
	return s
}

// boundStream is a stream with a bounded context and validated requests.
type boundStream struct {
	grpc.ServerStream
	ctx      context.Context
	validate bool
}

// Context returns the bounded context.
func (s *boundStream) Context() context.Context { return s.ctx }

// RecvMsg validates what it received.
func (s *boundStream) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil || !s.validate {
		return err
	}
	return validate(message)
}
