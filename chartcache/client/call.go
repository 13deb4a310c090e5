package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// affinityHeader carries what serviceConfig chooses the replica by. Equal values go to the same replica, from every
// client, while the addresses stay the same and that replica can be reached; else to the next one on the ring.
const affinityHeader = "chartcache-affinity"

// serviceConfig keeps calls about one repository on one replica, so that a chart is fetched from upstream and kept warm
// once, and what a call has seen the next one sees too. A gRPC without ring_hash takes the next policy of the list.
//
// It repeats calls that the transport lost, by the back-off given here, which gRPC spreads at random. All of them can be
// repeated: a second SyncRepository joins or follows the first. The server forbids the repetition of what it answered
// itself (an upstream that is down does not get up within a second) by a push-back trailer. Streams resume by themselves.
// Nothing but the number of attempts throttles it: gRPC would count answers with that trailer too, and then give lost calls up
// while the server is well.
const serviceConfig = `{
  "loadBalancingConfig": [{"ring_hash_experimental": {"requestHashHeader": "` + affinityHeader + `"}}, {"round_robin": {}}],
  "methodConfig": [{
    "name": [
      {"service": "chartcache.v1.ChartCacheService", "method": "ListRepositories"},
      {"service": "chartcache.v1.ChartCacheService", "method": "GetRepository"},
      {"service": "chartcache.v1.ChartCacheService", "method": "SyncRepository"},
      {"service": "chartcache.v1.ChartCacheService", "method": "ListCharts"},
      {"service": "chartcache.v1.ChartCacheService", "method": "ListVersions"},
      {"service": "chartcache.v1.ChartCacheService", "method": "ResolveVersion"},
      {"service": "chartcache.v1.ChartCacheService", "method": "GetChartDetail"}
    ],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.2s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

const (
	// shortRetryAfter is the longest wait that the server may ask for and that a call makes itself; a caller that is
	// asked to wait longer should know, and do something else meanwhile.
	shortRetryAfter = 5 * time.Second
	// askedRetries is how often one call waits when it is asked to.
	askedRetries = 3
)

// call makes one call about a repository, or with the zero Source about none, with a deadline, and again when the server asks
// for patience.
func call[Q, A any](
	ctx context.Context, c *Client, source Source, timeout time.Duration,
	rpc func(context.Context, Q, ...grpc.CallOption) (A, error), request Q,
) (A, error) {
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	ctx = withAffinity(ctx, c.affinity(source))
	for retries := 0; ; retries++ {
		answer, err := rpc(ctx, request)
		if err == nil {
			return answer, nil
		}
		err = about(errorOf(err), source)
		wait, asked := askedWait(err)
		if !asked || retries == askedRetries || !c.backoff.pause(ctx, wait) {
			var none A
			return none, err
		}
	}
}

// askedWait returns the wait that an error asks for, if it is short.
func askedWait(err error) (time.Duration, bool) {
	var e *Error
	if !errors.As(err, &e) || (e.Code != codes.Unavailable && e.Code != codes.ResourceExhausted) {
		return 0, false
	}
	return e.RetryAfter, e.RetryAfter > 0 && e.RetryAfter <= shortRetryAfter
}

// pause waits for d and up to a quarter more, so that those who were told the same do not come back at the same moment.
// It reports false, at once, where the context would end first.
func (b Backoff) pause(ctx context.Context, d time.Duration) bool {
	d += time.Duration(b.Rand() * float64(d) / 4)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	select {
	case <-b.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// affinity is that of calls about a repository, or about none. It is a hash because a URL can hold what no header should.
func (c *Client) affinity(s Source) string {
	if s == (Source{}) {
		return c.home
	}
	sum := sha256.Sum256([]byte(s.String()))
	return hex.EncodeToString(sum[:8])
}

// withAffinity sets the affinity of calls, in place of one that the context may have already.
func withAffinity(ctx context.Context, affinity string) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		return metadata.AppendToOutgoingContext(ctx, affinityHeader, affinity)
	}
	md.Set(affinityHeader, affinity)
	return metadata.NewOutgoingContext(ctx, md)
}

// withTimeout gives a context a deadline unless it has one.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
