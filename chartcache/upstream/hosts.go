package upstream

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxHosts bounds the hosts that are remembered; those that were asked longest ago are forgotten first. An index may name any
// number of them.
const maxHosts = 1000

// hosts paces the requests to each host, for all repositories of a pool together.
type hosts struct {
	// mu guards the fields below. It is never held while waiting.
	mu     sync.Mutex
	byName map[string]*host
}

type host struct {
	pace *rate.Limiter
	// quiet is until when the host asked not to be asked.
	quiet time.Time
	used  time.Time
}

func newHosts() *hosts { return &hosts{byName: map[string]*host{}} }

// get returns a host, whose pace becomes perSecond requests; twice as many may come at once. The caller holds mu.
func (h *hosts) get(name string, perSecond int, now time.Time) *host {
	found, ok := h.byName[name]
	if !ok {
		h.forget()
		found = &host{pace: rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)}
		h.byName[name] = found
	}
	if found.pace.Limit() != rate.Limit(perSecond) {
		found.pace.SetLimit(rate.Limit(perSecond))
		found.pace.SetBurst(2 * perSecond)
	}
	found.used = now
	return found
}

// forget makes room for one host more.
func (h *hosts) forget() {
	for len(h.byName) >= maxHosts {
		oldest := ""
		for name, known := range h.byName {
			if oldest == "" || known.used.Before(h.byName[oldest].used) {
				oldest = name
			}
		}
		delete(h.byName, oldest)
	}
}

// paced is a transport that keeps to the pace of hosts, and leaves them alone for as long as they ask.
type paced struct {
	next  http.RoundTripper
	hosts *hosts
	// perSecond is the pace.
	perSecond int
	now       func() time.Time
}

// RoundTrip implements http.RoundTripper. Its own errors are UPSTREAM_RATE_LIMITED, or those of the request's context.
func (p *paced) RoundTrip(req *http.Request) (*http.Response, error) {
	name := HostOf(req.URL)
	if err := p.await(req.Context(), name); err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper must
		}
		return nil, err
	}
	resp, err := p.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if limited(resp) {
		if wait, told := retryAfter(resp.Header.Get("Retry-After"), p.now()); told {
			p.hosts.hush(name, p.now().Add(wait))
		}
	}
	return resp, nil
}

// limited says whether an answer asks for fewer requests.
func limited(resp *http.Response) bool {
	return resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
}

// hush notes until when a host asked not to be asked.
func (h *hosts) hush(name string, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known, ok := h.byName[name]; ok && until.After(known.quiet) {
		known.quiet = until
	}
}

// await waits until a host may be asked. It fails at once where that would take longer than ctx allows.
func (p *paced) await(ctx context.Context, name string) error {
	now := p.now()
	p.hosts.mu.Lock()
	h := p.hosts.get(name, p.perSecond, now)
	if wait := h.quiet.Sub(now); wait > 0 {
		p.hosts.mu.Unlock()
		e := cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED, "%s asked for fewer requests a moment ago", hostName(name))
		e.RetryAfter = wait
		return e
	}
	turn := h.pace.ReserveN(now, 1)
	wait := turn.DelayFrom(now)
	p.hosts.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		turn.CancelAt(now)
		return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE,
			"the time that is left is too short to ask %s at most %d times a second (limit --%s)", hostName(name), p.perSecond, FlagHostRate)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		turn.CancelAt(p.now())
		return ctx.Err()
	}
}

// HostOf returns the host and port of a URL in the one spelling that stands for all: in lower case, without the port that its
// scheme implies and without the dot at the end of an absolute name.
func HostOf(u *url.URL) string {
	name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	implied := "443"
	if u.Scheme == "http" {
		implied = "80"
	}
	if u.Port() == "" || u.Port() == implied {
		return name
	}
	return net.JoinHostPort(name, u.Port())
}

// hostName is a host as it may be shown; an index can name what is none.
func hostName(name string) string {
	if !plainHost.MatchString(name) {
		return "the host"
	}
	return name
}
