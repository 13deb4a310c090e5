package main

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ketches/helm-operator/services/bench/fixture"
)

// upstream is an HTTP server with any number of chart repositories, whose indexes it serves compressed and with an entity
// tag, as the large public ones do. The indexes differ by one chart.
type upstream struct {
	url    string
	server *http.Server
	ended  chan error

	// mu guards the figures below; files does not change once the server runs.
	mu     sync.Mutex
	files  map[string]packed // by path
	counts answers
}

// packed is a compressed index on disk.
type packed struct{ file, etag string }

// answers counts what was asked for.
type answers struct {
	// full is the number of whole indexes, unchanged of answers that they are as they were, other of everything else.
	full, unchanged, other int
}

// repositoryPath is the path of a repository by its number; ownChart the name of the chart that no other one has.
func repositoryPath(number int) string { return fmt.Sprintf("/charts-%03d", number) }

func ownChart(number int) string { return fmt.Sprintf("zz-own-%03d", number) }

// startUpstream compresses the index once for each repository, and serves them on a free port of loopback.
func (b *bench) startUpstream(ctx context.Context, repositories int) (*upstream, error) {
	plain := b.path("canonical-0.yaml")
	if _, err := os.Stat(plain); errors.Is(err, os.ErrNotExist) {
		if plain, err = b.write(fixture.Canonical, b.shape); err != nil {
			return nil, err
		}
	}
	b.say("compressing %d indexes", repositories)
	u := &upstream{files: map[string]packed{}, ended: make(chan error, 1)}
	var jobs sync.WaitGroup
	failed := make([]error, repositories)
	turns := make(chan struct{}, 2)
	for number := range repositories {
		jobs.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			file := b.path(fmt.Sprintf("upstream-%03d.gz", number))
			etag, err := pack(plain, file, ownChart(number))
			u.mu.Lock()
			defer u.mu.Unlock()
			u.files[repositoryPath(number)+"/index.yaml"], failed[number] = packed{file: file, etag: etag}, err
		})
	}
	jobs.Wait()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u.url = "http://" + listener.Addr().String()
	u.server = &http.Server{Handler: u, ReadHeaderTimeout: time.Minute}
	go func() { u.ended <- u.server.Serve(listener) }()
	return u, nil
}

// stop ends the server and everything that it serves. A second call does nothing.
func (u *upstream) stop() error {
	if u.server == nil {
		return nil
	}
	err := u.server.Close()
	if ended := <-u.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	u.server = nil
	return err
}

// asked returns the figures since the last call.
func (u *upstream) asked() answers {
	u.mu.Lock()
	defer u.mu.Unlock()
	counts := u.counts
	u.counts = answers{}
	return counts
}

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	index, ok := u.files[r.URL.Path]
	var count *int
	switch {
	case !ok || r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"):
		ok, count = false, &u.counts.other
	case r.Header.Get("If-None-Match") == index.etag:
		count = &u.counts.unchanged
	default:
		count = &u.counts.full
	}
	*count++
	full := count == &u.counts.full
	u.mu.Unlock()

	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", index.etag)
	if !full {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	file, err := os.Open(index.file)
	if err != nil {
		http.Error(w, "the index is gone", http.StatusInternalServerError)
		return
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Content-Encoding", "gzip")
	_, _ = io.Copy(w, file) // the client may go
}

// pack writes the index with a chart of its own to a compressed file, and returns its entity tag.
func pack(plain, file, extra string) (etag string, err error) {
	in, err := os.Open(plain)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.Create(file)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	zipped, err := gzip.NewWriterLevel(io.MultiWriter(out, hash), gzip.BestSpeed)
	if err != nil {
		return "", errors.Join(err, out.Close())
	}
	err = errors.Join(fixture.CopyWith(zipped, in, extra), zipped.Close(), out.Close())
	return `"` + hex.EncodeToString(hash.Sum(nil)[:16]) + `"`, err
}
