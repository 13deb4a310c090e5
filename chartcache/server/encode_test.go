package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// onTheWire is a response as a client gets it.
func onTheWire(t *testing.T, response proto.Message, into proto.Message) {
	t.Helper()
	data, err := proto.Marshal(response)
	require.NoError(t, err)
	require.NoError(t, proto.Unmarshal(data, into))
}

func TestVersionsAreWrittenAsTheGeneratedCodeWritesThem(t *testing.T) {
	full := index.Entry{
		Chart: "web", Version: "1.2.3", AppVersion: "7", Digest: someDigest, ManifestDigest: "sha256:m", Description: "A web server",
		Icon: "https://user:hunter2@charts.example.com/icon.png", Type: "application", Deprecated: true, Created: at().Add(5),
	}
	before1970 := index.Entry{Chart: "web", Version: "1.0.0", Created: time.Date(1960, 1, 2, 3, 4, 5, 6, time.UTC), Icon: full.Icon}
	epoch := index.Entry{Chart: "web", Version: "0.9.0", Created: time.Unix(0, 0).UTC(), Icon: "https://charts.example.com/other.png"}
	entries := []index.Entry{full, before1970, epoch, {}}

	var got chartcachev1.ListVersionsResponse
	onTheWire(t, versionsOf(entries), &got)
	want := &chartcachev1.ListVersionsResponse{}
	for _, e := range entries {
		want.Versions = append(want.Versions, versionProto(e))
	}
	equal(t, want, &got)

	message := got.GetVersions()[0].ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		assert.True(t, message.Has(fields.Get(i)), "field %s is not written", fields.Get(i).Name())
	}
	assert.True(t, proto.Equal(timestamppb.New(epoch.Created), got.GetVersions()[2].GetCreated()))
}

func TestTextThatIsNotUTF8IsMended(t *testing.T) {
	var got chartcachev1.ListVersionsResponse
	onTheWire(t, versionsOf([]index.Entry{{Description: "a\xffb"}}), &got)
	assert.Equal(t, "a\uFFFDb", got.GetVersions()[0].GetDescription())
}

func TestNoVersionsAreAnEmptyResponse(t *testing.T) {
	equal(t, &chartcachev1.ListVersionsResponse{}, versionsOf(nil))
}

func FuzzVersionsAreMessages(f *testing.F) {
	f.Add("web", "1.0.0", "https://h/i.png", int64(1), int64(5))
	f.Add("", "\xff", "://", int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, chart, version, icon string, seconds, nanos int64) {
		e := index.Entry{Chart: chart, Version: version, Icon: icon, Created: time.Unix(seconds%1e11, nanos%1e9)}
		var got chartcachev1.ListVersionsResponse
		onTheWire(t, versionsOf([]index.Entry{e, e}), &got)
		require.Len(t, got.GetVersions(), 2)
		assert.True(t, got.GetVersions()[1].GetCreated() == nil || got.GetVersions()[1].GetCreated().AsTime().Equal(e.Created))
		assert.Empty(t, got.ProtoReflect().GetUnknown())
	})
}
