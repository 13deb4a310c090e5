package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ketches/helm-operator/services/bench/fixture"
)

// Repositories of the gRPC figures, and the chart of the second one.
const (
	manyVersions = "many"
	largeChart   = "large"
)

// startCharts serves two repositories: one whose charts have many versions, and one with a large chart.
func (b *bench) startCharts(ctx context.Context, shape fixture.Config, chartBytes int) (u *upstream, err error) {
	root := b.path("charts")
	for _, name := range []string{manyVersions, largeChart} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o750); err != nil {
			return nil, err
		}
	}
	if _, err := fixture.WriteFile(filepath.Join(root, manyVersions, "index.yaml"), fixture.Canonical, shape); err != nil {
		return nil, err
	}
	if err := writeLargeChart(filepath.Join(root, largeChart), chartBytes); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u = &upstream{url: "http://" + listener.Addr().String(), ended: make(chan error, 1)}
	u.server = &http.Server{Handler: http.FileServer(http.Dir(root)), ReadHeaderTimeout: time.Minute}
	go func() { u.ended <- u.server.Serve(listener) }()
	return u, nil
}

// writeLargeChart writes a repository with one chart whose tarball has about a number of bytes, which do not compress.
func writeLargeChart(folder string, bytes int) (err error) {
	out, err := os.Create(filepath.Join(folder, largeChart+"-1.0.0.tgz"))
	if err != nil {
		return err
	}
	hash := sha256.New()
	zipped, err := gzip.NewWriterLevel(io.MultiWriter(out, hash), gzip.NoCompression)
	if err != nil {
		return errors.Join(err, out.Close())
	}
	archive := tar.NewWriter(zipped)
	err = addFile(archive, "Chart.yaml", []byte("apiVersion: v2\nname: "+largeChart+"\nversion: 1.0.0\n"))
	const most = 4 << 20 // below the bound of one file in a chart
	random := rand.NewChaCha8([32]byte{})
	for number := 0; bytes > 0 && err == nil; number++ {
		content := make([]byte, min(bytes, most))
		_, _ = random.Read(content)
		err = addFile(archive, fmt.Sprintf("files/%d.bin", number), content)
		bytes -= len(content)
	}
	if err := errors.Join(err, archive.Close(), zipped.Close(), out.Close()); err != nil {
		return err
	}
	index := "apiVersion: v1\nentries:\n  " + largeChart + ":\n  - apiVersion: v2\n    name: " + largeChart +
		"\n    version: 1.0.0\n    digest: " + hex.EncodeToString(hash.Sum(nil)) + "\n    urls:\n    - " + largeChart + "-1.0.0.tgz\n"
	return os.WriteFile(filepath.Join(folder, "index.yaml"), []byte(index), 0o600)
}

func addFile(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: largeChart + "/" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}
