package upstream

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"io"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// body is a response body with a bound, whose errors are classified.
type body struct {
	// ctx is that of the request whose body this is.
	ctx    context.Context
	source io.ReadCloser
	// left is how many bytes may still come.
	left  int64
	limit int64
	flag  string
	what  string
}

// newBody bounds source by limit bytes; flag names the limit and what says what failed when a read fails.
func newBody(ctx context.Context, source io.ReadCloser, limit int64, flag, what string) *body {
	return &body{ctx: ctx, source: source, left: limit, limit: limit, flag: flag, what: what}
}

// Read fails with TOO_LARGE instead of giving the first byte over the limit.
func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, tooLarge(b.what, b.limit, "bytes", b.flag)
	}
	// One byte more than allowed tells a body of exactly limit bytes from a larger one.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.source.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, tooLarge(b.what, b.limit, "bytes", b.flag)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = readError(b.ctx, err, b.what)
	}
	return n, err
}

// Close closes the connection's side of the body.
func (b *body) Close() error { return b.source.Close() }

// gunzip unzips a bounded body. What comes out is bounded too: a small body may unzip to anything.
type gunzip struct {
	zipped *body
	reader *gzip.Reader
}

// newGunzip returns the unzipped content of zipped, bounded by the same limit. The header is read by the first Read, so
// that nothing blocks here.
func newGunzip(ctx context.Context, zipped *body) *body {
	return newBody(ctx, &gunzip{zipped: zipped}, zipped.limit, zipped.flag, zipped.what)
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.reader == nil {
		reader, err := gzip.NewReader(g.zipped)
		if err != nil {
			return 0, g.classify(err)
		}
		g.reader = reader
	}
	n, err := g.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = g.classify(err)
	}
	return n, err
}

func (g *gunzip) classify(err error) error {
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	if corrupt || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, err,
			"%s: upstream says that it is gzip, and it is not", g.zipped.what)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (g *gunzip) Close() error { return g.zipped.Close() }
