package client

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// versionPage is a ListVersionsResponse, read straight from the wire: a page holds a hundred versions, and a message for each of
// them, of which only this package would see anything, is two thirds of what such a call costs the client.
type versionPage struct {
	versions  []ChartVersion
	nextToken string
	revision  Revision
	stale     bool
}

// listVersions asks for a page of versions.
func (c *Client) listVersions(
	ctx context.Context, request *chartcachev1.ListVersionsRequest, options ...grpc.CallOption,
) (*versionPage, error) {
	page := &versionPage{}
	options = append(options, grpc.StaticMethod(), grpc.ForceCodecV2(pageCodec{encoding.GetCodecV2(grpcproto.Name)}))
	return page, c.conn.Invoke(ctx, chartcachev1.ChartCacheService_ListVersions_FullMethodName, request, page, options...)
}

// pageCodec is the usual codec, but for pages of versions.
type pageCodec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c pageCodec) Unmarshal(data mem.BufferSlice, v any) error {
	page, ok := v.(*versionPage)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return page.decode(buffer.ReadOnlyData())
}

var errNotUTF8 = errors.New("read the answer: a text is not UTF-8")

// field is one field of a message on the wire. Fields of types that the contract does not use are only skipped.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bytes  []byte
	varint uint64
}

// nextField returns the first field of a message, and what follows it.
func nextField(data []byte) (f field, rest []byte, err error) {
	var n, size int
	if f.number, f.kind, n = protowire.ConsumeTag(data); n < 0 {
		return f, nil, fmt.Errorf("read the answer: %w", protowire.ParseError(n))
	}
	data = data[n:]
	switch f.kind {
	case protowire.BytesType:
		f.bytes, size = protowire.ConsumeBytes(data)
	case protowire.VarintType:
		f.varint, size = protowire.ConsumeVarint(data)
	default:
		size = protowire.ConsumeFieldValue(f.number, f.kind, data)
	}
	if size < 0 {
		return f, nil, fmt.Errorf("read the answer: %w", protowire.ParseError(size))
	}
	return f, data[size:], nil
}

// is reports whether a field is of a number and a type. One of another type is unknown, as protobuf has it.
func (f *field) is(number protowire.Number, kind protowire.Type) bool {
	return f.number == number && f.kind == kind
}

// Numbers of the fields of the messages that are read here.
const (
	pageVersions, pageToken, pageRevision, pageStale                                                      = 1, 2, 3, 4
	versionChart, versionVersion, versionAppVersion, versionDigest, versionManifestDigest, versionCreated = 1, 2, 3, 4, 5, 6
	versionDescription, versionDeprecated, versionIcon, versionType                                       = 7, 8, 9, 10
	timestampSeconds, timestampNanos                                                                      = 1, 2
)

func (p *versionPage) decode(data []byte) error {
	*p = versionPage{versions: make([]ChartVersion, 0, countFields(data, pageVersions))}
	var revision chartcachev1.RepositoryRevision
	for len(data) > 0 {
		f, rest, err := nextField(data)
		if err != nil {
			return err
		}
		data = rest
		switch {
		case f.is(pageVersions, protowire.BytesType):
			p.versions = append(p.versions, ChartVersion{})
			err = decodeVersion(f.bytes, &p.versions[len(p.versions)-1])
		case f.is(pageToken, protowire.BytesType):
			if p.nextToken = string(f.bytes); !utf8.ValidString(p.nextToken) {
				err = errNotUTF8
			}
		case f.is(pageRevision, protowire.BytesType):
			err = proto.UnmarshalOptions{Merge: true}.Unmarshal(f.bytes, &revision)
		case f.is(pageStale, protowire.VarintType):
			p.stale = protowire.DecodeBool(f.varint)
		}
		if err != nil {
			return err
		}
	}
	p.revision = revisionOf(&revision)
	return nil
}

// countFields says how often a field occurs, as far as the message can be read.
func countFields(data []byte, number protowire.Number) (count int) {
	for len(data) > 0 {
		f, rest, err := nextField(data)
		if err != nil {
			return count
		}
		if f.number == number {
			count++
		}
		data = rest
	}
	return count
}

// decodeVersion reads a ChartVersion. Its texts are parts of one string.
func decodeVersion(data []byte, v *ChartVersion) error {
	texts := string(data)
	for len(data) > 0 {
		f, rest, err := nextField(data)
		if err != nil {
			return err
		}
		data = rest
		if f.is(versionDeprecated, protowire.VarintType) {
			v.Deprecated = protowire.DecodeBool(f.varint)
		}
		if f.kind != protowire.BytesType {
			continue
		}
		end := len(texts) - len(rest)
		to, err := v.field(f)
		if err != nil {
			return err
		}
		if to == nil {
			continue
		}
		if *to = texts[end-len(f.bytes) : end]; !utf8.ValidString(*to) {
			return errNotUTF8
		}
	}
	return nil
}

// field returns where a text of a version belongs; nil for a field that is none. It reads those that are none itself.
func (v *ChartVersion) field(f field) (to *string, err error) {
	switch f.number {
	case versionChart:
		return &v.Chart, nil
	case versionVersion:
		return &v.Version, nil
	case versionAppVersion:
		return &v.AppVersion, nil
	case versionDigest:
		return &v.Digest, nil
	case versionManifestDigest:
		return &v.ManifestDigest, nil
	case versionCreated:
		v.Created, err = decodeTime(f.bytes, v.Created)
	case versionDescription:
		return &v.Description, nil
	case versionIcon:
		return &v.Icon, nil
	case versionType:
		return &v.Type, nil
	}
	return nil, err
}

// decodeTime reads a Timestamp over one that was read before, since protobuf merges a message that occurs twice.
func decodeTime(data []byte, before time.Time) (time.Time, error) {
	var seconds, nanos int64
	if !before.IsZero() {
		seconds, nanos = before.Unix(), int64(before.Nanosecond())
	}
	for len(data) > 0 {
		f, rest, err := nextField(data)
		if err != nil {
			return time.Time{}, err
		}
		data = rest
		switch {
		case f.is(timestampSeconds, protowire.VarintType):
			seconds = int64(f.varint)
		case f.is(timestampNanos, protowire.VarintType):
			nanos = int64(int32(f.varint))
		}
	}
	return time.Unix(seconds, nanos).UTC(), nil
}
