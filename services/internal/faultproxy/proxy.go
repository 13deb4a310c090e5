// Package faultproxy stands between a client and a Kubernetes API server and misbehaves as it is told, for end-to-end tests.
//
// It speaks HTTP/2 over TLS as an API server does, passes watches on as they come, and knows nothing of what it carries. It
// does not pass protocol upgrades (exec, port-forward) on. It must never be linked with what is shipped.
package faultproxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault is what becomes of a request. The zero value passes it on.
type Fault struct {
	// Status, unless 0, is the code of the answer; the request is not passed on.
	Status int
	// RetryAfter, in seconds, goes with Status, unless 0.
	RetryAfter int
	// Silent leaves the request without an answer until the rule changes or the client gives up. Then it is passed on after
	// all, and the answer is 504 Gateway Timeout: as with a server that was too slow, the client cannot know.
	Silent bool
	// Lost passes the request on and breaks the stream instead of answering.
	Lost bool
}

// Rule says what becomes of a request. It is called before the request is passed on, from many goroutines at once, and must
// not read its body.
type Rule func(*http.Request) Fault

// Proxy is a running proxy. It is safe for concurrent use.
type Proxy struct {
	server  *httptest.Server
	forward *httputil.ReverseProxy

	mu      sync.Mutex // guards both below
	rule    Rule
	changed chan struct{} // closed when the rule changes
}

// Start starts a proxy on a free loopback port for the API server at an address (https://host:port), whose certificate
// authority is given in PEM. It passes everything on. Close it when done.
func Start(target string, authority []byte) (*Proxy, error) {
	address, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("start a fault proxy: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("start a fault proxy: the certificate authority of the target is not PEM")
	}
	p := &Proxy{changed: make(chan struct{})}
	p.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		},
		FlushInterval: -1, // watches
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // a server that is away gives no answer, not one of a gateway
		},
	}
	p.server = httptest.NewUnstartedServer(p)
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	return p, nil
}

// URL is the address of the proxy.
func (p *Proxy) URL() string { return p.server.URL }

// Authority is the certificate authority of the proxy, in PEM.
func (p *Proxy) Authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
}

// Obey replaces the rule; nil passes everything on.
func (p *Proxy) Obey(rule Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
	close(p.changed)
	p.changed = make(chan struct{})
}

// Close ends the proxy and all requests.
func (p *Proxy) Close() {
	p.Obey(nil)
	p.server.CloseClientConnections()
	p.server.Close()
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	rule, changed := p.rule, p.changed
	p.mu.Unlock()
	var fault Fault
	if rule != nil {
		fault = rule(r)
	}
	switch {
	case fault.Status != 0:
		refuse(w, fault.Status, fault.RetryAfter)
	case fault.Lost:
		p.forward.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case fault.Silent:
		select {
		case <-changed:
			p.forward.ServeHTTP(httptest.NewRecorder(), r)
		case <-r.Context().Done():
		}
		refuse(w, http.StatusGatewayTimeout, 0)
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// refuse answers as an API server does.
func refuse(w http.ResponseWriter, code, retryAfter int) {
	reasons := map[int]metav1.StatusReason{
		http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
		http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
		http.StatusGatewayTimeout:      metav1.StatusReasonTimeout,
	}
	w.Header().Set("Content-Type", "application/json")
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{ // the client may be gone
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Reason: reasons[code], Code: int32(code), Message: "a fault that a test asked for",
	})
}

// Mutates reports whether a request may change something.
func Mutates(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}
