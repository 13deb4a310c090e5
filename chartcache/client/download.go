package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/grpc/codes"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// downloadResumptions is how often one download goes on after it lost its stream. Each goes on where the one before
// stopped, so that a big chart arrives over a bad line too.
const downloadResumptions = 5

// Download writes the tarball of a chart version to w and verifies its sha256. A stream that breaks is resumed where it
// stopped. When it fails, w holds unverified bytes that must be thrown away.
// Errors: *Error, such as those of Resolve, and DIGEST_MISMATCH when what arrived is not what was promised; an error of
// w is in the chain.
func (c *Client) Download(ctx context.Context, request ChartRequest, w io.Writer) (Downloaded, error) {
	ctx, cancel := withTimeout(ctx, c.timeouts.Download)
	defer cancel()
	d := download{client: c, request: request, w: w, sum: sha256.New()}
	for failures := 1; ; failures++ {
		err := d.stream(ctx)
		if err == nil {
			return d.finish()
		}
		if failures > downloadResumptions || !resumable(err) {
			return Downloaded{}, err
		}
		select {
		case <-c.backoff.After(c.backoff.delay(failures)):
		case <-ctx.Done():
			return Downloaded{}, err
		}
	}
}

// resumable reports whether a stream may be opened again: only when it was lost on the way. What the server said itself
// stays true.
func resumable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED && e.Code == codes.Unavailable
}

// download is the state of one download over all its streams.
type download struct {
	client  *Client
	request ChartRequest
	w       io.Writer
	sum     hash.Hash
	written int64
	header  *chartcachev1.DownloadChartHeader // of the first stream; nil before
}

// stream receives one stream to its end or failure.
func (d *download) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // frees the stream when it is left early
	stream, err := d.client.rpc.DownloadChart(ctx, d.next())
	if err != nil {
		return errorOf(err)
	}
	for first := true; ; first = false {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) && !first {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return broken("the stream ended before its header")
		}
		if err != nil {
			return errorOf(err)
		}
		if first {
			err = d.begin(message.GetHeader())
		} else {
			err = d.append(message)
		}
		if err != nil {
			return err
		}
	}
}

// next returns the request of the next stream: what the caller asked for, or the rest of the tarball that the first
// stream's header named.
func (d *download) next() *chartcachev1.DownloadChartRequest {
	p := &chartcachev1.DownloadChartRequest{
		Source:      &chartcachev1.DownloadChartRequest_Url{Url: d.request.Source.URL},
		Chart:       d.request.Chart,
		Version:     d.request.Version,
		Digest:      d.request.Digest,
		MinRevision: revisionProto(d.request.MinRevision),
	}
	if d.request.Source.URL == "" {
		p.Source = &chartcachev1.DownloadChartRequest_Repository{Repository: refOf(d.request.Source)}
	}
	if d.header != nil {
		p.Version = d.header.GetVersion().GetVersion()
		p.Digest = d.header.GetVersion().GetDigest()
		p.OffsetBytes = d.written
	}
	return p
}

// begin takes the header of a stream.
func (d *download) begin(header *chartcachev1.DownloadChartHeader) error {
	if header == nil {
		return broken("the stream does not begin with a header")
	}
	if d.header == nil {
		d.header = header
		return nil
	}
	if header.GetVersion().GetDigest() != d.header.GetVersion().GetDigest() || header.GetSizeBytes() != d.header.GetSizeBytes() {
		return broken("the resumed stream is of another tarball")
	}
	return nil
}

func (d *download) append(message *chartcachev1.DownloadChartResponse) error {
	if message.GetHeader() != nil {
		return broken("the stream has a second header")
	}
	chunk := message.GetChunk()
	if d.written+int64(len(chunk)) > d.header.GetSizeBytes() {
		return mismatch(fmt.Sprintf("chart %s has more than the %d bytes that were announced", d.name(), d.header.GetSizeBytes()))
	}
	n, err := d.w.Write(chunk)
	d.written += int64(n)
	d.sum.Write(chunk[:n])
	if err != nil {
		return &Error{Code: codes.Aborted, Message: "write chart " + d.name() + ": " + err.Error(), cause: err}
	}
	return nil
}

// finish verifies what arrived.
func (d *download) finish() (Downloaded, error) {
	if d.written != d.header.GetSizeBytes() {
		return Downloaded{}, mismatch(fmt.Sprintf("chart %s ended after %d of %d bytes", d.name(), d.written, d.header.GetSizeBytes()))
	}
	want := d.header.GetVersion().GetDigest()
	if got := "sha256:" + hex.EncodeToString(d.sum.Sum(nil)); got != want {
		return Downloaded{}, mismatch(fmt.Sprintf("chart %s has digest %s and not %s", d.name(), got, want))
	}
	return Downloaded{
		Version:    versionOf(d.header.GetVersion()),
		SizeBytes:  d.header.GetSizeBytes(),
		MediaType:  d.header.GetMediaType(),
		Provenance: d.header.GetProvenance(),
		CachedAt:   timeOf(d.header.GetCachedAt()),
	}, nil
}

func (d *download) name() string {
	return d.header.GetVersion().GetChart() + " " + d.header.GetVersion().GetVersion()
}

// mismatch is the error for bytes that are not what was promised.
func mismatch(message string) *Error {
	return &Error{Reason: chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH, Code: codes.DataLoss, Message: message}
}

// broken is the error for a server that does not keep to the contract.
func broken(message string) *Error {
	return &Error{Reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, Code: codes.Internal, Message: "chartcache broke the contract of DownloadChart: " + message}
}
