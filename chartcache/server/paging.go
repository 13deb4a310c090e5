package server

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Sizes of pages, as the contract has them.
const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// pageToken is where the next page of a listing begins. It is opaque to callers, and the same on every instance, so that
// a listing can go on at another replica that has the same revision.
type pageToken struct {
	// Request is a hash of the request that the token belongs to.
	Request string `json:"q"`
	// Revision is what the listing pages through; empty for repositories, whose pages go on behind a name.
	Revision string `json:"r,omitempty"`
	// Offset is the number of items on the pages before.
	Offset int `json:"o,omitempty"`
	// Namespace and Name are of the last repository on the page before.
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"n,omitempty"`
}

// paged is a request for a page.
type paged interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// sizeOf returns the number of items that a page may hold.
func sizeOf(request paged) int {
	switch size := int(request.GetPageSize()); {
	case size <= 0:
		return defaultPageSize
	default:
		return min(size, maxPageSize)
	}
}

// decodePage reads the token of a request; the zero token is the first page. A token of another request is refused: its
// offset would mean nothing.
func decodePage(request paged) (pageToken, error) {
	raw := request.GetPageToken()
	if raw == "" {
		return pageToken{}, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(raw)
	if err != nil {
		return pageToken{}, invalid("page_token is not one that this service gave out")
	}
	var t pageToken
	if err := json.Unmarshal(data, &t); err != nil || t.Offset < 0 || t.Offset > math.MaxInt32 {
		return pageToken{}, invalid("page_token is not one that this service gave out")
	}
	if t.Request != requestHash(request) {
		return pageToken{}, invalid("page_token belongs to another request; only page_size may change between pages")
	}
	return t, nil
}

// encodePage makes the token of the page that follows.
func encodePage(request paged, t pageToken) string {
	t.Request = requestHash(request)
	data, err := json.Marshal(t)
	if err != nil { // a struct of strings and an int cannot fail
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// requestHash names a request without what may change from page to page. min_revision is among that: a caller may take
// it from the first page.
func requestHash(request paged) string {
	bare := proto.Clone(request)
	m := bare.ProtoReflect()
	for _, field := range []string{"page_size", "page_token", "min_revision"} {
		if d := m.Descriptor().Fields().ByTextName(field); d != nil {
			m.Clear(d)
		}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil { // the request was just unmarshalled
		return ""
	}
	sum := sha256.Sum256(append([]byte(m.Descriptor().FullName()+"\x00"), data...))
	return hex.EncodeToString(sum[:8])
}

// next returns the token of the page that follows one with a number of items, empty when there is no more. It fails with
// PAGE_EXPIRED when the revision that answered is not the one that the listing began with: offsets mean something else
// there.
func (t pageToken) next(request paged, revision string, items int, more bool) (string, error) {
	if t != (pageToken{}) && t.Revision != revision {
		return "", cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED,
			"the repository changed since the first page; list again from the start")
	}
	if !more {
		return "", nil
	}
	return encodePage(request, pageToken{Revision: revision, Offset: t.Offset + items}), nil
}
