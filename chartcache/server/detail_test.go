package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/index"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// packed is a chart as a tarball: path and content by turns.
func packed(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	archive := tar.NewWriter(zipped)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}))
		_, err := archive.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zipped.Close())
	return b.Bytes()
}

// detailOf asks for the detail of a chart with these bytes as its tarball.
func detailOf(t *testing.T, data []byte, fields ...string) (*chartcachev1.GetChartDetailResponse, error) {
	t.Helper()
	opened := newTarball(data)
	f := start(t, &fakeCatalog{
		resolve: func(_ catalog.Source, q catalog.ResolveQuery) (catalog.Resolved, error) {
			assert.Equal(t, "^1", q.Version)
			return catalog.Resolved{Entry: index.Entry{Chart: q.Chart, Version: "1.2.3", Digest: someDigest}}, nil
		},
		fetch: func(catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
			return opened, catalog.ChartInfo{SizeBytes: int64(len(data))}, nil
		},
	})
	request := &chartcachev1.GetChartDetailRequest{
		Source: &chartcachev1.GetChartDetailRequest_Repository{Repository: named("apps", "charts")}, Chart: "web", Version: "^1",
	}
	if len(fields) > 0 {
		request.ReadMask = &fieldmaskpb.FieldMask{Paths: fields}
	}
	response, err := f.client.GetChartDetail(testContext(t), request)
	<-opened.closed
	return response, err
}

func TestDetailHoldsThePartsThatAreAskedFor(t *testing.T) {
	data := packed(t, "web/Chart.yaml", "name: web", "web/values.yaml", "# \xff\na: 1", "web/values.schema.json", "{}", "web/Readme.md", "# Web",
		"web/crds/a.yaml", "kind: A", "web/crds/more/b.yaml", "kind: B", "web/templates/x.yaml", "x",
		"web/charts/db/Chart.yaml", "name: db", "web/charts/db/crds/c.yaml", "kind: C")
	version := &chartcachev1.ChartVersion{Chart: "web", Version: "1.2.3", Digest: someDigest}
	all := &chartcachev1.ChartDetail{
		ChartYaml: "name: web", ValuesYaml: "# \uFFFD\na: 1", ValuesSchema: "{}", Readme: "# Web",
		Crds: []*chartcachev1.ChartFile{{Path: "crds/a.yaml", Content: []byte("kind: A")}, {Path: "crds/more/b.yaml", Content: []byte("kind: B")}},
	}
	for name, test := range map[string]struct {
		fields []string
		want   *chartcachev1.ChartDetail
	}{
		"all":         {nil, all},
		"one":         {[]string{"readme"}, &chartcachev1.ChartDetail{Readme: all.GetReadme()}},
		"two of them": {[]string{"crds", "chart_yaml"}, &chartcachev1.ChartDetail{ChartYaml: all.GetChartYaml(), Crds: all.GetCrds()}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := detailOf(t, data, test.fields...)
			require.NoError(t, err)
			equal(t, &chartcachev1.GetChartDetailResponse{Version: version, Detail: test.want}, got)
		})
	}
}

func TestDetailIsBounded(t *testing.T) {
	large := string(bytes.Repeat([]byte("a"), detailBytes/2))
	data := packed(t, "web/Chart.yaml", "name: web", "web/crds/a.yaml", large, "web/crds/b.yaml", large)
	_, err := detailOf(t, data)
	assert.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
	got, err := detailOf(t, data, "chart_yaml")
	require.NoError(t, err)
	assert.Equal(t, "name: web", got.GetDetail().GetChartYaml())
}

func TestDetailOfWhatIsNoTarballIsAnError(t *testing.T) {
	for _, data := range [][]byte{nil, []byte("no gzip"), packed(t, "web/Chart.yaml", "a")[:40], packed(t, "../Chart.yaml", "a")} {
		_, err := detailOf(t, data)
		assert.NotEqual(t, codes.OK, status.Code(err))
		assert.NotEqual(t, codes.Internal, status.Code(err), "%v", err)
	}
}

func TestContentsThatAreSentAsTheyAreAreNotCopied(t *testing.T) {
	const size = 8 << 20
	files := []blob.File{{Path: "crds/a.yaml", Content: make([]byte, size)}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	detail := detailProto(files)
	runtime.ReadMemStats(&after)
	require.Len(t, detail.GetCrds(), 1)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size/2))
}

// detailError asks for parts of a chart that nobody is asked for.
func detailError(t *testing.T, fields ...string) (*chartcachev1.GetChartDetailResponse, error) {
	t.Helper()
	return start(t, &fakeCatalog{}).client.GetChartDetail(testContext(t), &chartcachev1.GetChartDetailRequest{
		Source: &chartcachev1.GetChartDetailRequest_Repository{Repository: named("apps", "charts")}, Chart: "web",
		ReadMask: &fieldmaskpb.FieldMask{Paths: fields},
	})
}
