package main

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/services/internal/tlsfiles"
	"github.com/ketches/helm-operator/services/internal/tlsfiles/tlstest"
)

// secured is a chartcache that serves by TLS, and the files of both sides.
type secured struct {
	*running
	dir string
}

func (s secured) path(name string) string { return filepath.Join(s.dir, name) }

// issue writes new certificates of an authority for both sides.
func (s secured) issue(authority *tlstest.Authority) {
	authority.Issue("localhost", "127.0.0.1").Write(s.path("server.pem"), s.path("server.key"))
	authority.Issue("tool").Write(s.path("tool.pem"), s.path("tool.key"))
	authority.Write(s.path("ca.pem"))
}

func newSecured(t *testing.T, authority *tlstest.Authority) secured {
	t.Helper()
	s := secured{dir: t.TempDir()}
	s.issue(authority)
	s.running = startProcess(t, "--data-dir", t.TempDir(), "--repositories", writeRepositories(t, newRepository(t).URL, "hunter2"),
		"--tls-cert-file", s.path("server.pem"), "--tls-key-file", s.path("server.key"), "--client-ca-file", s.path("ca.pem"))
	return s
}

// tool returns a client whose connections follow the files.
func (s secured) tool(t *testing.T) *client.Client {
	t.Helper()
	creds, err := tlsfiles.Client(tlsfiles.Files{CA: s.path("ca.pem"), Cert: s.path("tool.pem"), Key: s.path("tool.key")}, "", zerolog.Nop())
	require.NoError(t, err)
	c, err := client.New(client.Config{Target: s.addresses["grpc"], TransportCredentials: creds})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestCertificatesAreReplacedWhileAWatchRuns(t *testing.T) {
	s := newSecured(t, tlstest.NewAuthority(t, "before"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watchCtx, end := context.WithCancel(ctx)
	events := make(chan client.Event, 100)
	var watching sync.WaitGroup
	watcher := s.tool(t)
	watching.Go(func() {
		defer close(events)
		_ = watcher.Watch(watchCtx, func(e client.Event) { events <- e })
	})
	for e := range events {
		if _, ok := e.(*client.Synced); ok {
			break
		}
	}

	s.issue(tlstest.NewAuthority(t, "after"))
	// A new connection: it has a certificate that only the new files know, and so has the server.
	synced, err := s.tool(t).Sync(ctx, client.Named("default", "charts"))
	require.NoError(t, err)
	for e := range events {
		if changed, ok := e.(*client.Changed); ok && !changed.Repository.LastCheckTime.Before(synced.Repository.LastCheckTime) {
			break
		}
		_, down := e.(*client.Down)
		assert.False(t, down, "the old connection goes on")
	}
	end()
	watching.Wait()
	require.NoError(t, s.stop())
	assert.Contains(t, s.logs.String(), "new connections use them")
}

func TestTheCommandsUseTLSAndSayWhyTheyCannot(t *testing.T) {
	s := newSecured(t, tlstest.NewAuthority(t, "ours"))
	tlstest.NewAuthority(t, "theirs").Write(s.path("other.pem"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, test := range map[string]struct {
		args []string
		want string // in the error; empty for none
	}{
		"all is right":        {args: []string{"--ca-file=" + s.path("ca.pem"), "--cert-file=" + s.path("tool.pem"), "--key-file=" + s.path("tool.key")}},
		"another authority":   {args: []string{"--ca-file=" + s.path("other.pem")}, want: "the CA file must hold the authority of the server's certificate"},
		"no certificate":      {args: []string{"--ca-file=" + s.path("ca.pem")}, want: "wants a client certificate: give one"},
		"another name":        {args: []string{"--ca-file=" + s.path("ca.pem"), "--server-name=other"}, want: "set the server name"},
		"no TLS":              {want: "--ca-file when it uses TLS"},
		"a key by itself":     {args: []string{"--key-file=" + s.path("tool.key")}, want: "--cert-file and --key-file need each other"},
		"a file that is gone": {args: []string{"--ca-file=" + s.path("gone.pem")}, want: "gone.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := command(ctx, t, append([]string{"repositories", "--server=" + s.addresses["grpc"]}, test.args...)...)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestAServerWithoutItsCertificateDoesNotStart(t *testing.T) {
	o, err := parse(t, "--data-dir", t.TempDir(), "--repositories", "repositories.yaml", "--tls-cert-file=gone.pem", "--tls-key-file=gone.key")
	require.NoError(t, err)
	_, err = newProcess(o, zerolog.Nop())
	require.ErrorContains(t, err, "use --tls-cert-file, --tls-key-file and --client-ca-file: read a TLS file: open gone.pem")
}
