package metrics

import (
	"io"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// maxHosts bounds the label host. Hosts come from repositories and from the indexes of others, which could name any
// number; those over the bound are counted together.
const maxHosts = 200

// Upstream counts requests to upstream by host and answer, and what comes back.
type Upstream struct {
	requests *prometheus.CounterVec
	received *prometheus.CounterVec
	hosts    hostSet
}

// NewUpstream makes the metrics and registers them.
func NewUpstream(registry prometheus.Registerer) (*Upstream, error) {
	u := &Upstream{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_upstream_requests_total",
			Help: "Requests to upstream by host and HTTP status; the code \"error\" means that no answer came.",
		}, []string{"host", "code"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "chartcache_upstream_received_bytes_total",
			Help: "Bytes of answers of upstream by host, as they came: compressed, without headers.",
		}, []string{"host"}),
		hosts: hostSet{known: map[string]bool{}},
	}
	return u, register(registry, u.requests, u.received)
}

// Wrap counts the requests of a transport, which must hand out bodies as they come from the network.
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
	host, code := t.upstream.hosts.label(request.URL.Host), "error"
	if err == nil {
		code = strconv.Itoa(response.StatusCode)
		response.Body = &countingBody{ReadCloser: response.Body, received: t.upstream.received.WithLabelValues(host)}
	}
	t.upstream.requests.WithLabelValues(host, code).Inc()
	return response, err
}

// countingBody counts while it is read, so that a long download shows before its end.
type countingBody struct {
	io.ReadCloser
	received prometheus.Counter
}

// Read implements io.Reader.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.received.Add(float64(n))
	return n, err
}

// CloseIdleConnections closes what the transport keeps open.
func (t *countingTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
