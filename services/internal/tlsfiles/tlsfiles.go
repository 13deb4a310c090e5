// Package tlsfiles makes gRPC transport credentials of PEM files that may change while the process runs, such as those of a
// mounted Secret.
//
// The files are read for every connection: that costs microseconds beside a handshake, needs no watcher, and cannot miss a
// change. What cannot be used, such as a certificate whose key is not written yet, is logged once, and what was read before
// stays in use. Connections that are open stay open. The package depends on gRPC's credentials. It must never log what is
// in a file.
package tlsfiles

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/credentials"
)

// Files are paths of PEM files.
type Files struct {
	// Cert and Key are the certificate, with those between it and its authority, and the private key of this side. Both
	// or neither; a server needs them.
	Cert, Key string
	// CA are certificates of the authorities that the other side's certificate must come from. Without it, a client trusts
	// those of the system, and a server asks its clients for no certificate.
	CA string
}

// Server returns the credentials of a server. With a CA, clients without a certificate of it are refused. It fails when the
// files cannot be used now.
func Server(files Files, log zerolog.Logger) (credentials.TransportCredentials, error) {
	if files.Cert == "" || files.Key == "" {
		return nil, errors.New("a server needs a certificate and its key")
	}
	return newReloading(&source{files: files, log: log, configure: func(m material) *tls.Config {
		config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: m.certificates}
		if m.authorities != nil {
			config.ClientCAs, config.ClientAuth = m.authorities, tls.RequireAndVerifyClientCert
		}
		return config
	}})
}

// Client returns the credentials of a client. serverName is the name that the server's certificate must have; empty means
// the host of the target. It fails when the files cannot be used now.
func Client(files Files, serverName string, log zerolog.Logger) (credentials.TransportCredentials, error) {
	if (files.Cert == "") != (files.Key == "") {
		return nil, errors.New("a certificate needs its key, and a key its certificate")
	}
	return newReloading(&source{files: files, log: log, configure: func(m material) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: m.certificates, RootCAs: m.authorities, ServerName: serverName}
	}})
}

// material is what the files hold.
type material struct {
	certificates []tls.Certificate
	authorities  *x509.CertPool // nil without a CA
}

// source is a configuration that follows its files.
type source struct {
	files     Files
	log       zerolog.Logger
	configure func(material) *tls.Config

	mu     sync.Mutex // guards the rest
	read   contents   // what config was made of
	config *tls.Config
	failed string // the last failure that was logged
}

// current returns the configuration of what the files hold now, or of what they held when they could be used last.
func (s *source) current() *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch changed, err := s.refresh(); {
	case err == nil && changed:
		s.log.Info().Msg("the TLS files changed; new connections use them")
	case err != nil && err.Error() != s.failed:
		s.failed = err.Error()
		s.log.Error().Err(err).Msg("the TLS files changed and cannot be used; those from before stay in use")
	}
	return s.config
}

// refresh reads the files and reports whether they changed. The caller holds the lock.
func (s *source) refresh() (changed bool, err error) {
	read, err := s.files.read()
	if err != nil {
		return false, err
	}
	if s.config != nil && read.equal(s.read) {
		s.failed = ""
		return false, nil
	}
	m, err := s.files.parse(read)
	if err != nil {
		return false, err
	}
	s.read, s.config, s.failed = read, s.configure(m), ""
	return true, nil
}

// contents are the bytes of certificate, key and authorities.
type contents [3][]byte

func (c contents) equal(other contents) bool {
	for i := range c {
		if !bytes.Equal(c[i], other[i]) {
			return false
		}
	}
	return true
}

func (f Files) read() (contents, error) {
	var c contents
	for i, path := range []string{f.Cert, f.Key, f.CA} {
		if path == "" {
			continue
		}
		var err error
		if c[i], err = os.ReadFile(path); err != nil {
			return contents{}, fmt.Errorf("read a TLS file: %w", err)
		}
	}
	return c, nil
}

func (f Files) parse(c contents) (material, error) {
	var m material
	if f.Cert != "" {
		certificate, err := tls.X509KeyPair(c[0], c[1])
		if err != nil {
			return material{}, fmt.Errorf("certificate %s with key %s: %w", f.Cert, f.Key, err)
		}
		m.certificates = []tls.Certificate{certificate}
	}
	if f.CA != "" {
		m.authorities = x509.NewCertPool()
		if !m.authorities.AppendCertsFromPEM(c[2]) {
			return material{}, fmt.Errorf("%s holds no certificate in PEM", f.CA)
		}
	}
	return m, nil
}

// reloading are credentials whose every handshake uses the current files.
type reloading struct {
	credentials.TransportCredentials // of what was read first; it knows the server name
	source                           *source
}

func newReloading(s *source) (credentials.TransportCredentials, error) {
	if _, err := s.refresh(); err != nil {
		return nil, err
	}
	return &reloading{TransportCredentials: credentials.NewTLS(s.config), source: s}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *reloading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, advice := r.source.current().Clone(), ""
	config.GetClientCertificate = choose(config.Certificates, &advice)
	secure, info, err := credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
	if err != nil {
		return nil, nil, explain(err)
	}
	if advice != "" {
		secure = &advised{Conn: secure, advice: advice}
	}
	return secure, info, nil
}

// choose returns what answers a server that asks for a client certificate, and sets what helps if it then hangs up.
func choose(certificates []tls.Certificate, advice *string) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		for i := range certificates {
			if asked.SupportsCertificate(&certificates[i]) == nil {
				*advice = "the server may have refused the client certificate"
				return &certificates[i], nil
			}
			*advice = "the server wants a client certificate of another authority"
		}
		if len(certificates) == 0 {
			*advice = "the server wants a client certificate: give one and its key"
		}
		return &tls.Certificate{}, nil // none; whether that is enough is the server's business
	}
}

// advised is a connection to a server that asked for a client certificate. With TLS 1.3 the server refuses one after the
// client's handshake is over, and by the time that is noticed all that is left can be a broken pipe.
type advised struct {
	net.Conn
	advice   string
	accepted atomic.Bool
}

// Read implements net.Conn.
func (c *advised) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.accepted.Store(true)
	}
	return n, c.advise(err)
}

// Write implements net.Conn.
func (c *advised) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.advise(err)
}

func (c *advised) advise(err error) error {
	if err == nil || c.accepted.Load() {
		return err
	}
	return fmt.Errorf("%w (%s)", err, c.advice)
}

// ServerHandshake implements credentials.TransportCredentials.
func (r *reloading) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(r.source.current()).ServerHandshake(conn)
}

// Clone implements credentials.TransportCredentials.
func (r *reloading) Clone() credentials.TransportCredentials {
	return &reloading{TransportCredentials: r.TransportCredentials.Clone(), source: r.source}
}

// explain says how to mend the mistakes that people make. gRPC puts the text of what it returns into the error of the call.
func explain(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w (the CA file must hold the authority of the server's certificate)", err)
	case errors.As(err, &name):
		return fmt.Errorf("%w (set the server name to one that the certificate has)", err)
	case errors.As(err, &record):
		return fmt.Errorf("%w (the server may not use TLS)", err)
	default:
		return err
	}
}
