package server

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Config is what a Server needs.
type Config struct {
	// Catalog answers; required. See FromCatalog.
	Catalog Catalog
	// Credentials secure the connections; nil means plaintext.
	Credentials credentials.TransportCredentials
	// Logger gets one line for each call that failed: a fault of chartcache with its cause at level error, what upstream
	// did at info, what a caller did at debug. Calls that succeeded are at debug.
	Logger zerolog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Metrics is told what happens to calls; nil means nobody is.
	Metrics Metrics
	// Calls bounds the calls in progress, Details those of them that ask for details of charts, which do not count as Calls,
	// and Watches the watches; 0 means DefaultCalls, DefaultDetails and DefaultWatches. Whoever comes over it gets
	// RESOURCE_EXHAUSTED and is told to try again.
	Calls, Details, Watches int
	// ConnectionAge is how old a connection gets before its client has to connect anew, and ConnectionGrace how long its
	// calls may go on then; 0 means DefaultConnectionAge and DefaultConnectionGrace.
	ConnectionAge, ConnectionGrace time.Duration
}

// Server answers gRPC calls: the chartcache service, grpc.health.v1 and reflection.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
	calls  *calls
	// endWatches is called when Stop begins.
	endWatches context.CancelFunc
}

// New makes a server that reports NOT_SERVING by grpc.health.v1 until SetServing.
func New(cfg Config) *Server { return newServer(cfg, methods()) }

// newServer is New with another table of methods.
func newServer(cfg Config, table map[string]method) *Server {
	cfg = cfg.withDefaults()
	stopping, endWatches := context.WithCancel(context.Background())
	c := &calls{methods: observe(table, cfg.Metrics), log: cfg.Logger, now: cfg.Now, stopping: stopping}
	c.others.max, c.details.max, c.watches.max = int64(cfg.Calls), int64(cfg.Details), int64(cfg.Watches)
	s := &Server{
		grpc: grpc.NewServer(append(cfg.bounds(),
			grpc.Creds(cfg.Credentials),
			grpc.ForceServerCodecV2(newChunkCodec()),
			grpc.ChainUnaryInterceptor(c.unary),
			grpc.ChainStreamInterceptor(c.stream),
		)...),
		health:     health.NewServer(),
		calls:      c,
		endWatches: endWatches,
	}
	chartcachev1.RegisterChartCacheServiceServer(s.grpc, &service{catalog: cfg.Catalog, chunks: newChunkPool()})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.SetServing(false)
	return s
}

func (cfg Config) withDefaults() Config {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = noMetrics{}
	}
	cfg.Calls, cfg.Details, cfg.Watches = cmp.Or(cfg.Calls, DefaultCalls), cmp.Or(cfg.Details, DefaultDetails), cmp.Or(cfg.Watches, DefaultWatches)
	cfg.ConnectionAge = cmp.Or(cfg.ConnectionAge, DefaultConnectionAge)
	cfg.ConnectionGrace = cmp.Or(cfg.ConnectionGrace, DefaultConnectionGrace)
	return cfg
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
		s.calls.running.Wait()
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
