package client

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

type downloadStream = grpc.ServerStreamingServer[chartcachev1.DownloadChartResponse]

func header(data []byte) *chartcachev1.DownloadChartResponse {
	return &chartcachev1.DownloadChartResponse{Content: &chartcachev1.DownloadChartResponse_Header{Header: &chartcachev1.DownloadChartHeader{
		Version:   &chartcachev1.ChartVersion{Chart: "web", Version: "1.2.3", Digest: digestOf(data)},
		SizeBytes: int64(len(data)), MediaType: "application/gzip", Provenance: []byte("prov"),
	}}}
}

func chunk(data []byte) *chartcachev1.DownloadChartResponse {
	return &chartcachev1.DownloadChartResponse{Content: &chartcachev1.DownloadChartResponse_Chunk{Chunk: data}}
}

func send(stream downloadStream, messages ...*chartcachev1.DownloadChartResponse) error {
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func TestDownloadResumesWhereItsStreamBroke(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1000)
	var requests []*chartcachev1.DownloadChartRequest
	client := start(t, &fakeServer{download: func(r *chartcachev1.DownloadChartRequest, stream downloadStream) error {
		requests = append(requests, r)
		offset := r.GetOffsetBytes()
		end := min(offset+4000, int64(len(data)))
		if err := send(stream, header(data), chunk(data[offset:end])); err != nil {
			return err
		}
		if end < int64(len(data)) {
			return status.Error(codes.Unavailable, "the connection broke")
		}
		return nil
	}})
	var got bytes.Buffer
	d, err := client.Download(testContext(t), ChartRequest{Source: Named("apps", "charts"), Chart: "web", Version: "^1"}, &got)
	require.NoError(t, err)
	assert.Equal(t, data, got.Bytes())
	assert.Equal(t, "1.2.3", d.Version.Version)
	assert.Equal(t, int64(len(data)), d.SizeBytes)
	assert.Equal(t, "application/gzip", d.MediaType)
	assert.Equal(t, []byte("prov"), d.Provenance)
	require.Len(t, requests, 3)
	assert.Equal(t, "^1", requests[0].GetVersion())
	assert.Equal(t, "1.2.3", requests[1].GetVersion(), "the rest must be of the version that the first stream had")
	assert.Equal(t, digestOf(data), requests[1].GetDigest())
	assert.Equal(t, []int64{0, 4000, 8000}, []int64{requests[0].GetOffsetBytes(), requests[1].GetOffsetBytes(), requests[2].GetOffsetBytes()})
}

func TestDownloadRefusesWhatWasNotPromised(t *testing.T) {
	data := []byte("a chart")
	tests := map[string]struct {
		serve  func(r *chartcachev1.DownloadChartRequest, stream downloadStream) error
		reason Reason
	}{
		"other bytes": {
			serve: func(_ *chartcachev1.DownloadChartRequest, s downloadStream) error {
				return send(s, header(data), chunk([]byte("A CHART")))
			},
			reason: chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
		},
		"too few bytes": {
			serve: func(_ *chartcachev1.DownloadChartRequest, s downloadStream) error {
				return send(s, header(data), chunk(data[:3]))
			},
			reason: chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
		},
		"too many bytes": {
			serve: func(_ *chartcachev1.DownloadChartRequest, s downloadStream) error {
				return send(s, header(data), chunk(data), chunk(data))
			},
			reason: chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
		},
		"no header": {
			serve:  func(_ *chartcachev1.DownloadChartRequest, s downloadStream) error { return send(s, chunk(data)) },
			reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL,
		},
		"nothing": {
			serve:  func(*chartcachev1.DownloadChartRequest, downloadStream) error { return nil },
			reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL,
		},
		"two headers": {
			serve: func(_ *chartcachev1.DownloadChartRequest, s downloadStream) error {
				return send(s, header(data), header(data))
			},
			reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL,
		},
		"another tarball after the resumption": {
			serve: func(r *chartcachev1.DownloadChartRequest, s downloadStream) error {
				if r.GetDigest() != "" {
					return send(s, header([]byte("another")))
				}
				if err := send(s, header(data), chunk(data[:3])); err != nil {
					return err
				}
				return status.Error(codes.Unavailable, "the connection broke")
			},
			reason: chartcachev1.ErrorReason_ERROR_REASON_INTERNAL,
		},
		"what the server says itself": {
			serve: func(*chartcachev1.DownloadChartRequest, downloadStream) error {
				return answered(t, codes.Unavailable, "UPSTREAM_UNREACHABLE", "upstream is down", 0)
			},
			reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := start(t, &fakeServer{download: test.serve})
			_, err := client.Download(testContext(t), ChartRequest{Source: ByURL("https://charts.example.com"), Chart: "web"}, &bytes.Buffer{})
			require.Error(t, err)
			assert.Equal(t, test.reason, ReasonOf(err), "%v", err)
		})
	}
}

func TestDownloadGivesUpAfterItsResumptions(t *testing.T) {
	streams := 0
	client := start(t, &fakeServer{download: func(*chartcachev1.DownloadChartRequest, downloadStream) error {
		streams++
		return status.Error(codes.Unavailable, "the connection broke")
	}})
	_, err := client.Download(testContext(t), ChartRequest{Source: Named("apps", "charts"), Chart: "web"}, &bytes.Buffer{})
	require.True(t, IsUnreachable(err), "%v", err)
	assert.Equal(t, 1+downloadResumptions, streams)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestDownloadReturnsTheErrorOfTheWriter(t *testing.T) {
	data := []byte("a chart")
	full := errors.New("the disk is full")
	client := start(t, &fakeServer{download: func(_ *chartcachev1.DownloadChartRequest, s downloadStream) error {
		return send(s, header(data), chunk(data))
	}})
	_, err := client.Download(testContext(t), ChartRequest{Source: Named("apps", "charts"), Chart: "web"}, failingWriter{full})
	require.ErrorIs(t, err, full)
	assert.False(t, IsUnreachable(err))
}
