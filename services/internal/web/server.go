// Package web serves what a process tells about itself over plain HTTP: health probes and metrics.
//
// It depends on the Prometheus client and on package lifecycle. It must never serve anything secret: there is no
// authentication on these addresses.
package web

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/ketches/helm-operator/services/internal/lifecycle"
)

// Disabled is the address that turns a server off, as in controller-runtime.
const Disabled = "0"

// Config says what a Server serves.
type Config struct {
	// Name of the server in logs and errors.
	Name string
	// Address to listen on, such as ":8080"; a port of 0 takes a free one. Disabled or empty: no server.
	Address string
	// Handler answers.
	Handler http.Handler
	// Log gets the address that is listened on.
	Log zerolog.Logger
}

// Server is one HTTP server.
type Server struct {
	config   Config
	listener net.Listener
	server   *http.Server
}

// NewServer prepares a server. It listens from Start of its Part on.
func NewServer(config Config) *Server {
	return &Server{config: config, server: &http.Server{
		Handler: config.Handler,
		// Nothing here takes a body or a long request; a client that dawdles must not hold a connection for ever.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          stdlog.New(config.Log.With().Str("server", config.Name).Logger(), "", 0),
	}}
}

// Address returns what the server listens on, with the real port; empty before Start and when it is disabled.
func (s *Server) Address() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Part returns the server's place in the process.
func (s *Server) Part() lifecycle.Part {
	if s.config.Address == Disabled || s.config.Address == "" {
		return lifecycle.Part{Name: s.config.Name}
	}
	return lifecycle.Part{Name: s.config.Name, Start: s.listen, Run: s.serve, Stop: s.server.Shutdown}
}

func (s *Server) listen(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.listener = listener
	s.config.Log.Info().Str("server", s.config.Name).Str("address", s.Address()).Msg("listening")
	return nil
}

func (s *Server) serve(context.Context) error {
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
