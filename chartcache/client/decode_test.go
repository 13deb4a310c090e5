package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// pageOf is a page as the generated code reads it.
func pageOf(data []byte) (*versionPage, error) {
	var message chartcachev1.ListVersionsResponse
	if err := proto.Unmarshal(data, &message); err != nil {
		return nil, err
	}
	page := &versionPage{
		versions: []ChartVersion{}, nextToken: message.GetNextPageToken(), revision: revisionOf(message.GetRevision()), stale: message.GetStale(),
	}
	for _, v := range message.GetVersions() {
		page.versions = append(page.versions, versionOf(v))
	}
	return page, nil
}

// fullPage has every field of the contract.
func fullPage(t testing.TB) []byte {
	t.Helper()
	data, err := proto.Marshal(&chartcachev1.ListVersionsResponse{
		Versions: []*chartcachev1.ChartVersion{{
			Chart: "web", Version: "1.0.0", AppVersion: "2", Digest: "sha256:a", ManifestDigest: "sha256:b",
			Created: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)), Description: "für Menschen", Deprecated: true,
			Icon: "https://example.com/icon.png", Type: "application",
		}, {}, {Version: "0.1.0", Created: &timestamppb.Timestamp{Seconds: -5}}},
		NextPageToken: "token",
		Revision:      &chartcachev1.RepositoryRevision{Revision: "r", ObservedAt: timestamppb.New(time.Unix(1, 0))},
		Stale:         true,
	})
	require.NoError(t, err)
	return data
}

// Every field of the messages is read: a new one in the contract fails here until decode.go knows it.
func TestAPageIsReadAsTheGeneratedCodeReadsIt(t *testing.T) {
	for name, data := range map[string][]byte{
		"all fields": fullPage(t),
		"empty":      nil,
		"unknown fields": protowire.AppendFixed64(protowire.AppendTag(protowire.AppendString(protowire.AppendTag(fullPage(t),
			100, protowire.BytesType), "later"), 101, protowire.Fixed64Type), 7),
		"another type": protowire.AppendVarint(protowire.AppendTag(nil, pageToken, protowire.VarintType), 1),
		"a repeated revision": append(fullPage(t), protowire.AppendBytes(protowire.AppendTag(nil, pageRevision, protowire.BytesType),
			protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))...),
		"a repeated time": protowire.AppendBytes(protowire.AppendTag(nil, pageVersions, protowire.BytesType), repeatedTime()),
	} {
		t.Run(name, func(t *testing.T) {
			want, err := pageOf(data)
			require.NoError(t, err)
			got := &versionPage{}
			require.NoError(t, got.decode(data))
			assert.Equal(t, want, got)
		})
	}
	fields := (&chartcachev1.ChartVersion{}).ProtoReflect().Descriptor().Fields()
	assert.Equal(t, 10, fields.Len(), "teach decodeVersion the new field")
	assert.Equal(t, 4, (&chartcachev1.ListVersionsResponse{}).ProtoReflect().Descriptor().Fields().Len(), "teach decode the new field")
}

// repeatedTime is a version with two times, which protobuf merges.
func repeatedTime() (data []byte) {
	for _, inner := range [][]byte{
		protowire.AppendVarint(protowire.AppendTag(nil, timestampSeconds, protowire.VarintType), 100),
		protowire.AppendVarint(protowire.AppendTag(nil, timestampNanos, protowire.VarintType), 5),
	} {
		data = protowire.AppendBytes(protowire.AppendTag(data, versionCreated, protowire.BytesType), inner)
	}
	return data
}

func FuzzAPageIsReadAsTheGeneratedCodeReadsIt(f *testing.F) {
	f.Add(fullPage(f))
	f.Add(fullPage(f)[:20])
	f.Add(protowire.AppendString(protowire.AppendTag(nil, pageToken, protowire.BytesType), "\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := pageOf(data)
		got := &versionPage{}
		gotErr := got.decode(data)
		if err != nil {
			return // it may be read with less doubt
		}
		require.NoError(t, gotErr)
		assert.Equal(t, want, got)
	})
}
