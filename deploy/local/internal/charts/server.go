// Package charts is the HTTP chart repository of a local stack, and publishes charts into it and into the OCI registry.
//
// It depends on the helm command for packaging and pushing. It must never listen on anything but the loopback interface.
package charts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Server serves a folder of chart archives over HTTP. Every folder in it is a repository of its own: its index.yaml is made
// from the archives that are there at the moment of the request, so that publishing means no more than putting an archive there.
// A file named index.yaml that somebody put there is served as it is instead, which is how to serve a broken one.
type Server struct {
	// URL is the address without a slash at the end.
	URL string

	dir            string
	user, password string
	http           *http.Server
	served         chan struct{} // closed when the serving goroutine has ended

	mu      sync.Mutex // guards what follows
	entries map[archive]entry
	indexes map[string]builtIndex
}

// builtIndex is an index and the state of the folder that it was made from.
type builtIndex struct {
	state   string
	data    []byte
	changed time.Time
}

// Listen starts to serve dir, which must exist, on a free loopback port. With a user, every request needs user and password.
func Listen(ctx context.Context, dir, user, password string) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for chart repository: %w", err)
	}
	s := &Server{
		URL: "http://" + listener.Addr().String(), dir: dir, user: user, password: password,
		served:  make(chan struct{}),
		entries: map[archive]entry{}, indexes: map[string]builtIndex{},
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // ends by Close only
	}()
	return s, nil
}

// Close stops serving.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="charts"`)
		http.Error(w, "user and password needed", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "read only", http.StatusMethodNotAllowed)
		return
	}
	// Cleaning a rooted path takes all dots out of it, so that it cannot leave dir.
	name := filepath.Join(s.dir, filepath.FromSlash(path.Clean("/"+r.URL.Path)))
	if filepath.Base(name) == "index.yaml" {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			s.serveIndex(w, r, filepath.Dir(name))
			return
		}
	}
	if info, err := os.Stat(name); err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, name)
}

func (s *Server) allowed(r *http.Request) bool {
	if s.user == "" {
		return true
	}
	user, password, _ := r.BasicAuth()
	return subtle.ConstantTimeCompare([]byte(user), []byte(s.user))&subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) == 1
}

func (s *Server) serveIndex(w http.ResponseWriter, r *http.Request, dir string) {
	built, err := s.index(dir)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("ETag", `"`+built.state[:16]+`"`)
	http.ServeContent(w, r, "index.yaml", built.changed, bytes.NewReader(built.data))
}

// index returns the index of a folder, made anew only when the folder changed.
func (s *Server) index(dir string) (builtIndex, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	archives, err := listArchives(dir)
	if err != nil {
		return builtIndex{}, err
	}
	state := stateOf(archives)
	if built, ok := s.indexes[dir]; ok && built.state == state {
		return built, nil
	}
	built := builtIndex{state: state}
	var entries []entry
	for _, a := range archives {
		if a.changed.After(built.changed) {
			built.changed = a.changed
		}
		e, ok := s.entries[a]
		if !ok {
			if e, err = readEntry(a); err != nil {
				return builtIndex{}, err
			}
			s.entries[a] = e
		}
		entries = append(entries, e)
	}
	if built.data, err = encodeIndex(entries, built.changed); err != nil {
		return builtIndex{}, err
	}
	s.indexes[dir] = built
	return built, nil
}

func stateOf(archives []archive) string {
	var list strings.Builder
	for _, a := range archives {
		fmt.Fprintf(&list, "%s %d %d\n", a.path, a.size, a.changed.UnixNano())
	}
	sum := sha256.Sum256([]byte(list.String()))
	return hex.EncodeToString(sum[:])
}
