package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// maxHosts bounds the label host. Hosts come from repositories and from the indexes of others, which could name any
// number; those over the bound are counted together.
const maxHosts = 200

// Upstream counts requests to upstream by host and answer.
type Upstream struct {
	requests *prometheus.CounterVec
	hosts    hostSet
}

// NewUpstream makes the metric and registers it.
func NewUpstream(registry prometheus.Registerer) (*Upstream, error) {
	u := &Upstream{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_upstream_requests_total",
			Help: "Requests to upstream by host and HTTP status; the code \"error\" means that no answer came.",
		}, []string{"host", "code"}),
		hosts: hostSet{known: map[string]bool{}},
	}
	return u, register(registry, u.requests)
}

// Wrap counts the requests of a transport.
func (u *Upstream) Wrap(transport http.RoundTripper) http.RoundTripper {
	return &countingTransport{next: transport, upstream: u}
}

type countingTransport struct {
	next     http.RoundTripper
	upstream *Upstream
}

// RoundTrip implements http.RoundTripper.
func (t *countingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	code := "error"
	if err == nil {
		code = strconv.Itoa(response.StatusCode)
	}
	t.upstream.requests.WithLabelValues(t.upstream.hosts.label(request.URL.Host), code).Inc()
	return response, err
}

// CloseIdleConnections closes what the transport keeps open.
func (t *countingTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
