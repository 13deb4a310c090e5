package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	// Registers the policy that serviceConfig names; it brings xxhash and no xDS.
	_ "google.golang.org/grpc/balancer/ringhash"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Config says which server a Client talks to, and how. Only Target is required.
type Config struct {
	// Target is the address of the server: "host:port" (resolved by DNS, balanced over all addresses that it names) or
	// a gRPC target with a scheme, such as "unix:///run/chartcache.sock".
	Target string
	// TransportCredentials secures the connection; nil means plaintext.
	TransportCredentials credentials.TransportCredentials
	// UserAgent is sent with every call, in front of gRPC's own; empty means "helm-operator-client".
	UserAgent string
	// Dialer opens connections; nil means the network. It gets the address that the target resolved to.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
	// Timeouts are the deadlines of calls whose context has none.
	Timeouts Timeouts
	// Backoff says how long Watch and Download wait before they connect again.
	Backoff Backoff
}

// Timeouts are the deadlines of calls whose context has none. A zero field means its default.
type Timeouts struct {
	// State bounds ListRepositories (each page) and GetRepository. Default 10 s: both read memory.
	State time.Duration
	// List bounds each page of ListCharts and ListVersions. Default 6 min: a minimum revision can make the server sync
	// first, which may take the repository's timeout (5 min by default).
	List time.Duration
	// Resolve bounds Resolve. Default 6 min: a chart whose index entry has no digest is fetched.
	Resolve time.Duration
	// Sync bounds Sync. Default 11 min: a sync that runs already may be waited for.
	Sync time.Duration
	// Download bounds Download, all its resumptions included. Default 15 min.
	Download time.Duration
}

// Backoff is a wait that doubles from Min to Max with jitter. A zero field means its default.
type Backoff struct {
	// Min is the first wait. Default 500 ms.
	Min time.Duration
	// Max is the longest wait. Default 15 s.
	Max time.Duration
	// Rand returns numbers in [0, 1) that spread the waits of many clients; nil means the runtime's generator. Each wait
	// is between half and all of its nominal length.
	Rand func() float64
	// After returns a channel that fires when a wait is over; nil means time.After.
	After func(time.Duration) <-chan time.Time
}

// Client talks to one chartcache service. It is safe for concurrent use, and one is enough for a process.
type Client struct {
	conn     *grpc.ClientConn
	rpc      chartcachev1.ChartCacheServiceClient
	timeouts Timeouts
	backoff  Backoff
	// home is the affinity of calls about no repository in particular. It differs from client to client, so that these
	// spread over the replicas, while the watch and the pages of one client stay with one replica that knows their tokens.
	home string
}

// maxMessageBytes bounds one received message. A page has at most 1000 charts; an icon may be a data URL of many KiB.
const maxMessageBytes = 64 << 20

// New prepares a client. It does not wait for the server and does not fail when the server is away: the first call
// connects. It fails when the configuration cannot work. Close it when it is not needed any more.
func New(cfg Config) (*Client, error) { return newClient(cfg) }

// newClient is New with more options of gRPC.
func newClient(cfg Config, more ...grpc.DialOption) (*Client, error) {
	if cfg.Target == "" {
		return nil, fmt.Errorf("create chartcache client: the target is empty")
	}
	creds := cfg.TransportCredentials
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	userAgent := cfg.UserAgent
	if userAgent == "" {
		userAgent = "helm-operator-client"
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(userAgent),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		// gRPC's default grows to two minutes, far too long for a cache that restarts in seconds.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A server that vanished without closing the connection is noticed within Time+Timeout, in an idle watch too.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}),
	}
	if cfg.Dialer != nil {
		options = append(options, grpc.WithContextDialer(cfg.Dialer))
	}
	conn, err := grpc.NewClient(targetOf(cfg.Target), append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("create chartcache client for %s: %w", cfg.Target, err)
	}
	wait := cfg.Backoff.withDefaults()
	return &Client{
		conn:     conn,
		rpc:      chartcachev1.NewChartCacheServiceClient(conn),
		timeouts: cfg.Timeouts.withDefaults(),
		backoff:  wait,
		home:     strconv.FormatFloat(wait.Rand(), 'x', -1, 64),
	}, nil
}

// Close closes the connection. Calls that run fail.
func (c *Client) Close() error { return c.conn.Close() }

// targetOf makes a bare address a DNS target, which resolves to every address instead of the first.
func targetOf(target string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "unix:") {
		return target
	}
	return "dns:///" + target
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&t.State, 10*time.Second)
	set(&t.List, 6*time.Minute)
	set(&t.Resolve, 6*time.Minute)
	set(&t.Sync, 11*time.Minute)
	set(&t.Download, 15*time.Minute)
	return t
}

func (b Backoff) withDefaults() Backoff {
	if b.Min <= 0 {
		b.Min = 500 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 15 * time.Second
	}
	b.Max = max(b.Max, b.Min)
	if b.Rand == nil {
		b.Rand = rand.Float64
	}
	if b.After == nil {
		b.After = time.After
	}
	return b
}

// delay returns the wait before the next try after a number of failures in a row, at least one.
func (b Backoff) delay(failures int) time.Duration {
	d := b.Min
	for i := 1; i < failures && d < b.Max; i++ {
		d *= 2
	}
	d = min(d, b.Max)
	return d/2 + time.Duration(b.Rand()*float64(d/2))
}
