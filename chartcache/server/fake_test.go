package server

import (
	"bytes"
	"context"
	"io"
	"net"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/catalog"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// fakeCatalog answers by functions.
type fakeCatalog struct {
	// every comes before each answer when it is set; its error is the answer.
	every func(context.Context) error

	repositories func(namespace string) []catalog.State
	repository   func(context.Context, catalog.Source) (catalog.State, error)
	sync         func(context.Context, catalog.Source) (catalog.State, bool, error)
	charts       func(catalog.Source, catalog.ChartQuery) (catalog.ChartList, error)
	versions     func(catalog.Source, catalog.VersionQuery) (catalog.VersionList, error)
	resolve      func(catalog.Source, catalog.ResolveQuery) (catalog.Resolved, error)
	fetch        func(catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error)
	watch        func(token string) Subscription
}

func (f *fakeCatalog) first(ctx context.Context) error {
	if f.every == nil {
		return nil
	}
	return f.every(ctx)
}

func (f *fakeCatalog) Repositories(namespace string) []catalog.State {
	_ = f.first(context.Background()) // this one cannot fail
	return f.repositories(namespace)
}

func (f *fakeCatalog) Repository(ctx context.Context, s catalog.Source) (catalog.State, error) {
	if err := f.first(ctx); err != nil {
		return catalog.State{}, err
	}
	return f.repository(ctx, s)
}

func (f *fakeCatalog) Sync(ctx context.Context, s catalog.Source) (catalog.State, bool, error) {
	if err := f.first(ctx); err != nil {
		return catalog.State{}, false, err
	}
	return f.sync(ctx, s)
}

func (f *fakeCatalog) Charts(ctx context.Context, s catalog.Source, q catalog.ChartQuery) (catalog.ChartList, error) {
	if err := f.first(ctx); err != nil {
		return catalog.ChartList{}, err
	}
	return f.charts(s, q)
}

func (f *fakeCatalog) Versions(ctx context.Context, s catalog.Source, q catalog.VersionQuery) (catalog.VersionList, error) {
	if err := f.first(ctx); err != nil {
		return catalog.VersionList{}, err
	}
	return f.versions(s, q)
}

func (f *fakeCatalog) Resolve(ctx context.Context, s catalog.Source, q catalog.ResolveQuery) (catalog.Resolved, error) {
	if err := f.first(ctx); err != nil {
		return catalog.Resolved{}, err
	}
	return f.resolve(s, q)
}

func (f *fakeCatalog) Fetch(_ context.Context, s catalog.Source, r catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
	return f.fetch(s, r)
}

func (f *fakeCatalog) Watch(_ context.Context, token string) Subscription {
	if f.every != nil {
		return next(f.every)
	}
	return f.watch(token)
}

// next is a subscription that only fails.
type next func(context.Context) error

func (n next) Next(ctx context.Context) (catalog.Event, error) { return catalog.Event{}, n(ctx) }

// events is a subscription that gives events and then an error, or waits for its context when there is none.
type events struct {
	all []catalog.Event
	end error
}

func (e *events) Next(ctx context.Context) (catalog.Event, error) {
	if len(e.all) > 0 {
		next := e.all[0]
		e.all = e.all[1:]
		return next, nil
	}
	if e.end != nil {
		return catalog.Event{}, e.end
	}
	<-ctx.Done()
	return catalog.Event{}, context.Cause(ctx)
}

// tarball is bytes in memory that tell when they were closed.
type tarball struct {
	io.ReaderAt
	closed chan struct{}
}

func newTarball(data []byte) *tarball {
	return &tarball{ReaderAt: bytes.NewReader(data), closed: make(chan struct{})}
}

func (t *tarball) Close() error {
	close(t.closed)
	return nil
}

// fixture is a server over an in-memory connection.
type fixture struct {
	server   *Server
	listener *bufconn.Listener
	conn     *grpc.ClientConn
	client   chartcachev1.ChartCacheServiceClient
	logs     *syncBuffer
	// metrics are what was told of calls.
	metrics *told
}

// told is Metrics that remembers, in words.
type told struct {
	mu    sync.Mutex // guards words
	words []string
}

func (m *told) Method(fullMethod string) MethodMetrics { return toldMethod{m, path.Base(fullMethod)} }

func (m *told) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.words)
}

type toldMethod struct {
	*told
	name string
}

func (m toldMethod) say(word string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.words = append(m.words, m.name+" "+word)
}

func (m toldMethod) Began()                                 { m.say("began") }
func (m toldMethod) Received()                              { m.say("received") }
func (m toldMethod) Sent()                                  { m.say("sent") }
func (m toldMethod) Ended(code codes.Code, _ time.Duration) { m.say(code.String()) }

// syncBuffer is a buffer for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T, c Catalog) *fixture {
	t.Helper()
	return startWith(t, Config{Catalog: c})
}

// startWith starts a server with a configuration that lacks a logger and metrics.
func startWith(t *testing.T, cfg Config) *fixture {
	t.Helper()
	return startTable(t, cfg, methods())
}

// startTable is startWith with another table of methods.
func startTable(t *testing.T, cfg Config, table map[string]method) *fixture {
	t.Helper()
	f := &fixture{logs: &syncBuffer{}, metrics: &told{}}
	cfg.Logger, cfg.Metrics = zerolog.New(f.logs).Level(zerolog.DebugLevel), f.metrics
	f.server = newServer(cfg, table)
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(listener) }()
	f.listener = listener
	f.connect(t)
	t.Cleanup(func() {
		require.NoError(t, f.conn.Close())
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		f.server.Stop(ctx)
		require.NoError(t, <-served)
	})
	return f
}

// connect connects, anew where that was done before.
func (f *fixture) connect(t *testing.T) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.listener.DialContext(ctx) }))
	require.NoError(t, err)
	f.conn, f.client = conn, chartcachev1.NewChartCacheServiceClient(conn)
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func named(namespace, name string) *chartcachev1.RepositoryRef {
	return &chartcachev1.RepositoryRef{Namespace: namespace, Name: name}
}

func failure(reason chartcachev1.ErrorReason, message string) error {
	return cacheerr.New(reason, "%s", message)
}
