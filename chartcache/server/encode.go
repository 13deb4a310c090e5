package server

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Numbers of the fields of ChartVersion and of Timestamp, and that of ListVersionsResponse.versions. A test compares what is
// written by them with what the generated code writes.
const (
	versionChart protowire.Number = iota + 1
	versionVersion
	versionAppVersion
	versionDigest
	versionManifestDigest
	versionCreated
	versionDescription
	versionDeprecated
	versionIcon
	versionType
)

const (
	timestampSeconds protowire.Number = 1
	timestampNanos   protowire.Number = 2
	responseVersions protowire.Number = 1
)

// versionsOf makes a response with these versions. They are written as they go over the wire, into the fields that the
// message does not know: a page has up to a thousand of them, and messages for them would cost more than all else. Whoever
// reads the response over the wire finds them in their field.
func versionsOf(entries []index.Entry) *chartcachev1.ListVersionsResponse {
	response := &chartcachev1.ListVersionsResponse{}
	if len(entries) == 0 {
		return response
	}
	const usualBytes = 256
	var (
		all  = make([]byte, 0, usualBytes*len(entries))
		one  []byte
		icon cleanIcon
	)
	for i := range entries {
		one = appendVersion(one[:0], &entries[i], &icon)
		all = protowire.AppendTag(all, responseVersions, protowire.BytesType)
		all = protowire.AppendBytes(all, one)
	}
	response.ProtoReflect().SetUnknown(all)
	return response
}

// appendVersion writes a ChartVersion.
func appendVersion(to []byte, e *index.Entry, icon *cleanIcon) []byte {
	to = appendText(to, versionChart, e.Chart)
	to = appendText(to, versionVersion, e.Version)
	to = appendText(to, versionAppVersion, e.AppVersion)
	to = appendText(to, versionDigest, e.Digest)
	to = appendText(to, versionManifestDigest, e.ManifestDigest)
	if !e.Created.IsZero() {
		to = appendTime(to, versionCreated, e.Created.Unix(), e.Created.Nanosecond())
	}
	to = appendText(to, versionDescription, e.Description)
	if e.Deprecated {
		to = protowire.AppendTag(to, versionDeprecated, protowire.VarintType)
		to = protowire.AppendVarint(to, 1)
	}
	to = appendText(to, versionIcon, icon.of(e.Icon))
	return appendText(to, versionType, e.Type)
}

// appendText writes a text, which must be UTF-8 whatever upstream wrote.
func appendText(to []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return to
	}
	to = protowire.AppendTag(to, field, protowire.BytesType)
	return protowire.AppendString(to, strings.ToValidUTF8(text, "\uFFFD"))
}

func appendTime(to []byte, field protowire.Number, seconds int64, nanos int) []byte {
	var buffer [24]byte
	one := buffer[:0]
	if seconds != 0 {
		one = protowire.AppendTag(one, timestampSeconds, protowire.VarintType)
		one = protowire.AppendVarint(one, uint64(seconds))
	}
	if nanos != 0 {
		one = protowire.AppendTag(one, timestampNanos, protowire.VarintType)
		one = protowire.AppendVarint(one, uint64(nanos))
	}
	to = protowire.AppendTag(to, field, protowire.BytesType)
	return protowire.AppendBytes(to, one)
}

// cleanIcon is withoutUserInfo for icons of which most are the same as the one before.
type cleanIcon struct{ raw, clean string }

func (c *cleanIcon) of(raw string) string {
	if raw != c.raw {
		c.raw, c.clean = raw, withoutUserInfo(raw)
	}
	return c.clean
}
