package tlsfiles

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ketches/helm-operator/services/internal/tlsfiles/tlstest"
)

// serve starts a gRPC server and returns its address.
func serve(t *testing.T, creds credentials.TransportCredentials) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(creds))
	healthv1.RegisterHealthServer(server, health.NewServer())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return listener.Addr().String()
}

// ask makes one call over a connection of its own.
func ask(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	defer connection.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

func client(t *testing.T, files Files, name string) credentials.TransportCredentials {
	t.Helper()
	creds, err := Client(files, name, zerolog.Nop())
	require.NoError(t, err)
	return creds
}

func TestBothSidesProveWhoTheyAre(t *testing.T) {
	ours, theirs := tlstest.NewAuthority(t, "ours"), tlstest.NewAuthority(t, "theirs")
	dir := t.TempDir()
	ours.Write(filepath.Join(dir, "ca.pem"))
	theirs.Write(filepath.Join(dir, "other-ca.pem"))
	ours.Issue("server", "127.0.0.1").Write(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	ours.Issue("client").Write(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	theirs.Issue("client").Write(filepath.Join(dir, "other.pem"), filepath.Join(dir, "other.key"))
	path := func(name string) string { return filepath.Join(dir, name) }
	pair := Files{Cert: path("server.pem"), Key: path("server.key")}
	open, err := Server(pair, zerolog.Nop())
	require.NoError(t, err)
	pair.CA = path("ca.pem")
	closed, err := Server(pair, zerolog.Nop())
	require.NoError(t, err)
	anonymous, strict := serve(t, open), serve(t, closed)
	plain := serve(t, insecure.NewCredentials())

	for name, test := range map[string]struct {
		address string
		files   Files
		server  string
		want    string // in the error; empty for none
	}{
		"a trusted server":                        {address: anonymous, files: Files{CA: path("ca.pem")}},
		"a certificate that nobody asked for":     {address: anonymous, files: Files{CA: path("ca.pem"), Cert: path("client.pem"), Key: path("client.key")}},
		"a server of another authority":           {address: anonymous, files: Files{CA: path("other-ca.pem")}, want: "the CA file must hold the authority"},
		"a server of none that the system knows":  {address: anonymous, want: "the CA file must hold the authority"},
		"a server of another name":                {address: anonymous, files: Files{CA: path("ca.pem")}, server: "chartcache", want: "set the server name"},
		"a server without TLS":                    {address: plain, files: Files{CA: path("ca.pem")}, want: "the server may not use TLS"},
		"a client that the server knows":          {address: strict, files: Files{CA: path("ca.pem"), Cert: path("client.pem"), Key: path("client.key")}},
		"a client without a certificate":          {address: strict, files: Files{CA: path("ca.pem")}, want: "wants a client certificate: give one"},
		"a client with another authority's":       {address: strict, files: Files{CA: path("ca.pem"), Cert: path("other.pem"), Key: path("other.key")}, want: "wants a client certificate of another authority"},
		"a server by the name in the certificate": {address: anonymous, files: Files{CA: path("ca.pem")}, server: "server"},
	} {
		t.Run(name, func(t *testing.T) {
			err := ask(t, test.address, client(t, test.files, test.server))
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

// buffer is a log that is written and read at the same time.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestNewConnectionsUseChangedFilesAndOldOnesUntilTheyFit(t *testing.T) {
	dir := t.TempDir()
	files := Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt")}
	before, after := tlstest.NewAuthority(t, "before"), tlstest.NewAuthority(t, "after")
	before.Write(files.CA)
	before.Issue("localhost", "127.0.0.1").Write(files.Cert, files.Key)
	var log buffer
	server, err := Server(files, zerolog.New(&log))
	require.NoError(t, err)
	address := serve(t, server)
	clientCreds := client(t, files, "") // the same files: it trusts what it is signed by
	require.NoError(t, ask(t, address, clientCreds))

	// The key is there and its certificate not yet.
	next := after.Issue("localhost", "127.0.0.1")
	next.Write(filepath.Join(dir, "next.crt"), files.Key)
	require.NoError(t, ask(t, address, clientCreds))
	require.NoError(t, ask(t, address, clientCreds))
	assert.Equal(t, 1, strings.Count(log.String(), "cannot be used"), "once for one fault")
	require.NoError(t, os.Rename(filepath.Join(dir, "next.crt"), files.Cert))
	after.Write(files.CA)
	require.NoError(t, ask(t, address, clientCreds), "both sides have the new files")
	assert.Contains(t, log.String(), "new connections use them")

	require.NoError(t, os.Remove(files.CA))
	require.NoError(t, ask(t, address, clientCreds), "what was read stays in use")
	assert.NotContains(t, log.String(), "PRIVATE")
}

func TestFilesThatCannotBeUsedAreNamed(t *testing.T) {
	dir := t.TempDir()
	authority := tlstest.NewAuthority(t, "ours")
	path := func(name string) string { return filepath.Join(dir, name) }
	authority.Write(path("ca.pem"))
	authority.Issue("one").Write(path("one.pem"), path("one.key"))
	authority.Issue("two").Write(path("two.pem"), path("two.key"))
	require.NoError(t, os.WriteFile(path("text"), []byte("hello"), 0o600))
	for name, test := range map[string]struct {
		files  Files
		server bool
		want   string
	}{
		"a server without files":          {server: true, want: "needs a certificate"},
		"a server without a key":          {files: Files{Cert: path("one.pem")}, server: true, want: "needs a certificate and its key"},
		"a client with half of a pair":    {files: Files{Key: path("one.key")}, want: "needs its key"},
		"a file that is not there":        {files: Files{CA: path("gone.pem")}, want: "gone.pem"},
		"a CA file without a certificate": {files: Files{CA: path("text")}, want: "holds no certificate"},
		"a key of another certificate":    {files: Files{Cert: path("one.pem"), Key: path("two.key")}, server: true, want: "two.key"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if test.server {
				_, err = Server(test.files, zerolog.Nop())
			} else {
				_, err = Client(test.files, "", zerolog.Nop())
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestClonesFollowTheFilesToo(t *testing.T) {
	dir := t.TempDir()
	authority := tlstest.NewAuthority(t, "ours")
	files := Files{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.pem")}
	tlstest.NewAuthority(t, "theirs").Write(files.CA)
	clone := client(t, Files{CA: files.CA}, "").Clone()
	authority.Issue("localhost", "127.0.0.1").Write(files.Cert, files.Key)
	authority.Write(files.CA)
	server, err := Server(Files{Cert: files.Cert, Key: files.Key}, zerolog.Nop())
	require.NoError(t, err)
	require.NoError(t, ask(t, serve(t, server), clone))
}
