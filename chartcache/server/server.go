package server

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxRequestBytes bounds a request. The largest valid one holds two tokens of 4 KiB.
const maxRequestBytes = 64 << 10

// writeBufferBytes is how much a connection gathers before it writes to the network: a few system calls for each chunk of a
// download instead of sixteen. Connections share the buffers, so that idle ones have none.
const writeBufferBytes = 128 << 10

// maxStreams bounds the calls that one connection has open at once.
const maxStreams = 1000

// Config is what a Server needs.
type Config struct {
	// Catalog answers; required. See FromCatalog.
	Catalog Catalog
	// Credentials secure the connections; nil means plaintext.
	Credentials credentials.TransportCredentials
	// Logger gets faults with their causes at level error, and every call at level debug.
	Logger zerolog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Observe is told of every call that ended; nil means nobody is.
	Observe func(CallReport)
}

// CallReport is one call that ended.
type CallReport struct {
	// Method is the full name, "/package.Service/Method".
	Method string
	// Code is the status that the caller got.
	Code codes.Code
	// Took is the time from the request to the end.
	Took time.Duration
}

// Server answers gRPC calls: the chartcache service, grpc.health.v1 and reflection.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	// endWatches is called when Stop begins.
	endWatches context.CancelFunc
}

// New makes a server that reports NOT_SERVING by grpc.health.v1 until SetServing.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observe == nil {
		cfg.Observe = func(CallReport) {}
	}
	stopping, endWatches := context.WithCancel(context.Background())
	c := &calls{methods: methods(), log: cfg.Logger, now: cfg.Now, observe: cfg.Observe, stopping: stopping}
	s := &Server{
		grpc: grpc.NewServer(
			grpc.Creds(cfg.Credentials),
			grpc.ChainUnaryInterceptor(c.unary),
			grpc.ChainStreamInterceptor(c.stream),
			grpc.ForceServerCodecV2(newChunkCodec()),
			grpc.MaxRecvMsgSize(maxRequestBytes),
			grpc.WriteBufferSize(writeBufferBytes),
			grpc.SharedWriteBuffer(true),
			grpc.MaxConcurrentStreams(maxStreams),
			// Clients ping idle watches every 30 s; fewer than 10 s apart would be abuse.
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
			// A client that vanished gives its watch back within 80 s.
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		),
		health:     health.NewServer(),
		endWatches: endWatches,
	}
	chartcachev1.RegisterChartCacheServiceServer(s.grpc, &service{catalog: cfg.Catalog, chunks: newChunkPool()})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.SetServing(false)
	return s
}

// SetServing says by grpc.health.v1 whether calls are welcome, for the whole server and for the chartcache service.
func (s *Server) SetServing(serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
	s.health.SetServingStatus(chartcachev1.ChartCacheService_ServiceDesc.ServiceName, state)
}

// Serve answers calls of a listener until Stop. It returns nil after Stop, else why it cannot go on.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Stop takes no new calls, ends the watches (their clients reconnect, elsewhere if they can) and waits for other calls,
// until ctx ends: what still runs then is cut off.
func (s *Server) Stop(ctx context.Context) {
	s.health.Shutdown()
	s.endWatches()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.grpc.GracefulStop()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
		s.grpc.Stop() // makes GracefulStop return
		<-drained
	}
}

// hasReason reports whether a status is an answer of chartcache, and not one of gRPC.
func hasReason(err error) bool {
	var known *cacheerr.Error
	return errors.As(err, &known)
}

// causeOf returns what is worth a log line: the cause of an error where it has one.
func causeOf(err error) error {
	var known *cacheerr.Error
	if errors.As(err, &known) && known.Err != nil {
		return known.Err
	}
	return err
}
