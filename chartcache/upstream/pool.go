package upstream

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"net/http"
	"slices"
	"sync"
	"time"
)

// poolTransports bounds how many TLS identities keep connections; repositories rarely have more than a few.
const poolTransports = 32

// Pool makes repositories that share one transport, and so its idle connections, per TLS identity: the CA, the client
// certificate and whether certificates are verified. They also share the pace at which hosts are asked (Limits.HostRate), what
// hosts asked for by Retry-After, and the tokens of registries for equal credentials. Its methods may be called concurrently.
type Pool struct {
	make   func(*tls.Config) http.RoundTripper
	hosts  *hosts
	tokens *tokens

	// mu guards recent. It is never held while talking to upstream.
	mu sync.Mutex
	// recent are the transports, most recently used first.
	recent []pooledTransport
}

type pooledTransport struct {
	identity  [sha256.Size]byte
	transport http.RoundTripper
}

// NewPool returns an empty pool. transport makes its transports; nil means NewTransport. Idle connections are closed
// through a method CloseIdleConnections, where the transport has one.
func NewPool(transport func(*tls.Config) http.RoundTripper) *Pool {
	if transport == nil {
		transport = NewTransport
	}
	return &Pool{make: transport, hosts: newHosts(), tokens: newTokens()}
}

// New is the function New with a transport and the tokens of the pool; a cfg.Transport that is set wins, and is not paced.
func (p *Pool) New(cfg Config) (Upstream, error) {
	cfg.tokens = p.tokens
	if cfg.Transport == nil {
		identity := tlsIdentity(cfg.Credentials)
		perSecond, now := cmp.Or(cfg.Limits.HostRate, DefaultHostRate), cfg.Now
		if now == nil {
			now = time.Now
		}
		cfg.Transport = func(t *tls.Config) http.RoundTripper {
			return &paced{next: p.transport(identity, t), hosts: p.hosts, perSecond: perSecond, now: now}
		}
	}
	return New(cfg)
}

// CloseIdleConnections closes the connections that no request uses.
func (p *Pool) CloseIdleConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pooled := range p.recent {
		closeIdle(pooled.transport)
	}
}

func (p *Pool) transport(identity [sha256.Size]byte, t *tls.Config) http.RoundTripper {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found pooledTransport
	if i := slices.IndexFunc(p.recent, func(e pooledTransport) bool { return e.identity == identity }); i >= 0 {
		found = p.recent[i]
		p.recent = slices.Delete(p.recent, i, i+1)
	} else {
		found = pooledTransport{identity: identity, transport: p.make(t)}
	}
	p.recent = slices.Insert(p.recent, 0, found)
	if len(p.recent) > poolTransports {
		// A repository that still holds the oldest one goes on working with it.
		closeIdle(p.recent[poolTransports].transport)
		p.recent = slices.Delete(p.recent, poolTransports, poolTransports+1)
	}
	return found.transport
}

func closeIdle(t http.RoundTripper) {
	if c, ok := t.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// tlsIdentity is a hash, so that the pool holds no key.
func tlsIdentity(c Credentials) (id [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range [][]byte{c.CA, c.Cert, c.Key} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	if c.InsecureSkipVerify {
		h.Write([]byte{1})
	}
	h.Sum(id[:0])
	return id
}
