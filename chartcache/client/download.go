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

// Announcer is a writer for Download that wants to know what comes.
type Announcer interface {
	// Announce is called once, before the first byte, with all that is known of the tarball, its size included. Nothing is
	// verified yet.
	Announce(Downloaded)
}

// Download writes the tarball of a chart version to w, which may be an Announcer, and verifies its sha256. A stream that
// breaks is resumed where it stopped, by another replica if need be. When it fails, w holds unverified bytes that must be
// thrown away.
// Errors: *Error, such as those of Resolve, and DIGEST_MISMATCH when what arrived is not what was promised; an error of
// w is in the chain.
func (c *Client) Download(ctx context.Context, request ChartRequest, w io.Writer) (Downloaded, error) {
	ctx, cancel := withTimeout(ctx, c.timeouts.Download)
	defer cancel()
	ctx = withAffinity(ctx, c.affinity(request.Source))
	d := download{client: c, request: request, w: w, sum: sha256.New()}
	for failures := 1; ; failures++ {
		err := d.stream(ctx)
		if err == nil {
			downloaded, err := d.finish()
			return downloaded, about(err, request.Source)
		}
		if failures > downloadResumptions || !d.again(ctx, err, failures) {
			return Downloaded{}, about(err, request.Source)
		}
	}
}

// again prepares for another stream after one that failed, and reports whether there should be one: when it was lost on
// the way, when the server asks for a little patience, and when a replica that took over lacks what the one before had.
func (d *download) again(ctx context.Context, err error, failures int) bool {
	backoff := d.client.backoff
	if wait, asked := askedWait(err); asked {
		return backoff.pause(ctx, wait)
	}
	if d.behind(err) {
		d.caughtUp = true
		_, err := d.client.Sync(ctx, d.request.Source)
		return err == nil
	}
	if !IsUnreachable(err) || ctx.Err() != nil {
		return false // what the server said itself stays true
	}
	select {
	case <-backoff.After(backoff.delay(failures)):
		return true
	case <-ctx.Done():
		return false
	}
}

// behind reports whether the answer to a resumption means that a replica may not have synced yet what the first one gave
// out. It does so once: a chart that is missing after a sync is gone.
func (d *download) behind(err error) bool {
	if d.header == nil || d.caughtUp {
		return false
	}
	switch ReasonOf(err) {
	case chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND,
		chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED:
		return true
	}
	return false
}

// download is the state of one download over all its streams.
type download struct {
	client  *Client
	request ChartRequest
	w       io.Writer
	sum     hash.Hash
	written int64
	header  *chartcachev1.DownloadChartHeader // of the first stream; nil before
	// caughtUp is set when a replica was made to sync for this download.
	caughtUp bool
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
		if a, ok := d.w.(Announcer); ok {
			a.Announce(d.announced())
		}
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
	return d.announced(), nil
}

// announced is what the header says.
func (d *download) announced() Downloaded {
	return Downloaded{
		Version:    versionOf(d.header.GetVersion()),
		SizeBytes:  d.header.GetSizeBytes(),
		MediaType:  d.header.GetMediaType(),
		Provenance: d.header.GetProvenance(),
		CachedAt:   timeOf(d.header.GetCachedAt()),
	}
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
