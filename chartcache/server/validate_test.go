package server

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestEveryRequestOfTheContractHasARow(t *testing.T) {
	services := chartcachev1.File_chartcache_v1_chartcache_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			input := services.Get(i).Methods().Get(j).Input()
			kind, err := protoregistry.GlobalTypes.FindMessageByName(input.FullName())
			require.NoError(t, err)
			if err := validate(kind.New().Interface()); err != nil {
				assert.NotContains(t, err.Error(), "are not known", "%s", input.FullName())
			}
		}
	}
	assert.ErrorContains(t, validate(&chartcachev1.ListChartsResponse{}), "are not known")
}

func TestValidRequestsAreAccepted(t *testing.T) {
	ref := &chartcachev1.ResolveVersionRequest_Repository{Repository: named("apps", "charts")}
	for _, request := range []proto.Message{
		&chartcachev1.ListRepositoriesRequest{},
		&chartcachev1.ListRepositoriesRequest{Namespace: "apps", PageSize: 100000, PageToken: "abc"},
		&chartcachev1.WatchRepositoriesRequest{},
		&chartcachev1.GetRepositoryRequest{Source: &chartcachev1.GetRepositoryRequest_Repository{Repository: named("default", "My_Charts.v2")}},
		&chartcachev1.GetRepositoryRequest{Source: &chartcachev1.GetRepositoryRequest_Url{Url: "oci://registry.example.com:5000/team/charts"}},
		&chartcachev1.ResolveVersionRequest{Source: ref, Chart: "web"},
		&chartcachev1.ResolveVersionRequest{Source: ref, Chart: "team/web", Version: ">=1.0.0, <2.0.0 || ~3", Digest: someDigest,
			MinRevision: &chartcachev1.RepositoryRevision{Revision: "r", ObservedAt: timestamppb.Now()}},
		&chartcachev1.GetChartDetailRequest{Source: &chartcachev1.GetChartDetailRequest_Url{Url: "https://charts.example.com"}, Chart: "web",
			ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"values_yaml", "readme"}}},
		&chartcachev1.DownloadChartRequest{Source: &chartcachev1.DownloadChartRequest_Url{Url: "http://localhost:8080/charts"}, Chart: "web", Digest: someDigest, OffsetBytes: 5},
	} {
		assert.NoError(t, validate(request), "%v", request)
	}
}

func TestInvalidRequestsNameTheField(t *testing.T) {
	get := func(url string) proto.Message {
		return &chartcachev1.GetRepositoryRequest{Source: &chartcachev1.GetRepositoryRequest_Url{Url: url}}
	}
	ref := func(namespace, name string) proto.Message {
		return &chartcachev1.SyncRepositoryRequest{Source: &chartcachev1.SyncRepositoryRequest_Repository{Repository: named(namespace, name)}}
	}
	resolve := func(change func(*chartcachev1.ResolveVersionRequest)) proto.Message {
		r := &chartcachev1.ResolveVersionRequest{Source: &chartcachev1.ResolveVersionRequest_Repository{Repository: named("apps", "charts")}, Chart: "web"}
		change(r)
		return r
	}
	chart := func(name string) proto.Message {
		return resolve(func(r *chartcachev1.ResolveVersionRequest) { r.Chart = name })
	}
	tests := map[string]struct {
		request proto.Message
		says    string
	}{
		"no source":                       {&chartcachev1.GetRepositoryRequest{}, "repository or url"},
		"an empty namespace":              {ref("", "charts"), "repository.namespace"},
		"an empty name":                   {ref("apps", ""), "repository.name"},
		"a name with a slash":             {ref("apps", "a/b"), "repository.name"},
		"a name with a control character": {ref("apps", "a\nb"), "repository.name"},
		"a name that is too long":         {ref("apps", strings.Repeat("a", 254)), "repository.name"},
		"a URL that is not one":           {get("https://%zz"), "url"},
		"a scheme that is not supported":  {get("file:///etc/passwd"), "url"},
		"a URL without a host":            {get("https://:443/charts"), "url"},
		"a URL with a password":           {get("https://user:hunter2@charts.example.com"), "url"},
		"a URL with a query":              {get("https://charts.example.com?token=hunter2"), "url"},
		"a URL with a fragment":           {get("https://charts.example.com#hunter2"), "url"},
		"a URL that is too long":          {get("https://charts.example.com/" + strings.Repeat("a", 2048)), "url"},
		"no chart":                        {chart(""), "chart"},
		"a chart that climbs":             {chart("../secrets"), "chart"},
		"a chart with an empty segment":   {chart("team//web"), "chart"},
		"a chart that is absolute":        {chart("/web"), "chart"},
		"a chart with a query":            {chart("web?x=1"), "chart"},
		"a chart with an escape":          {chart("web%2f"), "chart"},
		"a chart with a space":            {chart("my web"), "chart"},
		"a chart that is too long":        {chart(strings.Repeat("a", 256)), "chart"},
		"a version that is too long":      {resolve(func(r *chartcachev1.ResolveVersionRequest) { r.Version = strings.Repeat("1", 513) }), "version"},
		"a digest of another algorithm":   {resolve(func(r *chartcachev1.ResolveVersionRequest) { r.Digest = "md5:0123" }), "digest"},
		"a digest that is too short":      {resolve(func(r *chartcachev1.ResolveVersionRequest) { r.Digest = "sha256:0123" }), "digest"},
		"a digest in capitals":            {resolve(func(r *chartcachev1.ResolveVersionRequest) { r.Digest = strings.ToUpper(someDigest) }), "digest"},
		"a minimum revision without a time": {resolve(func(r *chartcachev1.ResolveVersionRequest) {
			r.MinRevision = &chartcachev1.RepositoryRevision{ObservedAt: &timestamppb.Timestamp{Nanos: -1}}
		}), "min_revision.observed_at"},
		"a minimum revision that is too long": {resolve(func(r *chartcachev1.ResolveVersionRequest) {
			r.MinRevision = &chartcachev1.RepositoryRevision{Revision: strings.Repeat("r", 257)}
		}), "min_revision.revision"},
		"a negative page size":           {&chartcachev1.ListRepositoriesRequest{PageSize: -1}, "page_size"},
		"a page token that is too long":  {&chartcachev1.ListRepositoriesRequest{PageToken: strings.Repeat("a", 4097)}, "page_token"},
		"a resume token that is no text": {&chartcachev1.WatchRepositoriesRequest{ResumeToken: "a\x00"}, "resume_token"},
		"a negative offset": {&chartcachev1.DownloadChartRequest{
			Source: &chartcachev1.DownloadChartRequest_Url{Url: "https://charts.example.com"}, Chart: "web", OffsetBytes: -1}, "offset_bytes"},
		"an offset without a digest": {&chartcachev1.DownloadChartRequest{
			Source: &chartcachev1.DownloadChartRequest_Url{Url: "https://charts.example.com"}, Chart: "web", OffsetBytes: 1}, "offset_bytes"},
		"a mask of another message": {&chartcachev1.GetChartDetailRequest{
			Source: &chartcachev1.GetChartDetailRequest_Url{Url: "https://charts.example.com"}, Chart: "web",
			ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"readme", "secrets"}}}, `read_mask names "secrets"`},
		"a query that is too long": {&chartcachev1.ListChartsRequest{
			Source: &chartcachev1.ListChartsRequest_Url{Url: "https://charts.example.com"}, Query: strings.Repeat("q", 257)}, "query"},
		"a constraint that is too long": {&chartcachev1.ListVersionsRequest{
			Source: &chartcachev1.ListVersionsRequest_Url{Url: "https://charts.example.com"}, Chart: "web", Constraint: strings.Repeat("1", 513)}, "constraint"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := validate(test.request)
			require.Error(t, err)
			assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, cacheerr.ReasonOf(err))
			assert.True(t, strings.HasPrefix(err.Error(), test.says), "%q does not begin with %q", err, test.says)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func FuzzRepositoryURL(f *testing.F) {
	for _, seed := range []string{"https://charts.example.com", "oci://r:5000/a", "http://u:p@h", "https://h?x#y", "://", "https://[::1]:x", "oci://h/a#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if err := repositoryURL(raw); err == nil {
			assert.NotContains(t, raw, "?")
			assert.NotContains(t, raw, "#")
		}
	})
}
