package server

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func versionsRequest(token string) *chartcachev1.ListVersionsRequest {
	return &chartcachev1.ListVersionsRequest{
		Source: &chartcachev1.ListVersionsRequest_Repository{Repository: named("apps", "charts")},
		Chart:  "web", Constraint: "^1", PageToken: token,
	}
}

func TestAPageTokenLeadsToTheNextPage(t *testing.T) {
	first, err := decodePage(versionsRequest(""))
	require.NoError(t, err)
	token, err := first.next(versionsRequest(""), "r1", 100, true)
	require.NoError(t, err)
	require.NotEmpty(t, token)

	again := versionsRequest(token)
	again.PageSize = 7
	again.MinRevision = &chartcachev1.RepositoryRevision{Revision: "r1"}
	second, err := decodePage(again)
	require.NoError(t, err, "page_size and min_revision may change between pages")
	assert.Equal(t, 100, second.Offset)
	assert.Equal(t, "r1", second.Revision)

	last, err := second.next(again, "r1", 7, false)
	require.NoError(t, err)
	assert.Empty(t, last)

	_, err = second.next(again, "r2", 7, true)
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED, cacheerr.ReasonOf(err))
}

func TestATokenOfAnotherRequestIsRefused(t *testing.T) {
	token, err := pageToken{}.next(versionsRequest(""), "r1", 100, true)
	require.NoError(t, err)
	other := versionsRequest(token)
	other.Constraint = "^2"
	for name, request := range map[string]paged{
		"another constraint": other,
		"another method":     &chartcachev1.ListRepositoriesRequest{PageToken: token},
		"garbage":            versionsRequest("%%%"),
		"not JSON":           versionsRequest(base64.RawURLEncoding.EncodeToString([]byte("{"))),
		"a negative offset":  versionsRequest(encodePage(versionsRequest(""), pageToken{Offset: -1})),
		"a huge offset":      versionsRequest(encodePage(versionsRequest(""), pageToken{Offset: 1 << 40})),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodePage(request)
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, cacheerr.ReasonOf(err))
		})
	}
}

func TestPageSizes(t *testing.T) {
	for size, want := range map[int32]int{0: 100, 1: 1, 1000: 1000, 1001: 1000} {
		assert.Equal(t, want, sizeOf(&chartcachev1.ListRepositoriesRequest{PageSize: size}))
	}
}

func FuzzDecodePage(f *testing.F) {
	token, err := pageToken{}.next(versionsRequest(""), "r1", 100, true)
	require.NoError(f, err)
	f.Add(token)
	f.Add("e30")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		page, err := decodePage(versionsRequest(token))
		if err == nil {
			assert.GreaterOrEqual(t, page.Offset, 0)
		} else {
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, cacheerr.ReasonOf(err))
		}
	})
}
