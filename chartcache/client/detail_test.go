package client

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestDetailPassesEverythingOn(t *testing.T) {
	var asked *chartcachev1.GetChartDetailRequest
	client := start(t, &fakeServer{detail: func(r *chartcachev1.GetChartDetailRequest) (*chartcachev1.GetChartDetailResponse, error) {
		asked = r
		return &chartcachev1.GetChartDetailResponse{
			Version: &chartcachev1.ChartVersion{Chart: "web", Version: "1.2.3"},
			Detail: &chartcachev1.ChartDetail{
				ChartYaml: "c", ValuesYaml: "v", Readme: "r", ValuesSchema: "s",
				Crds: []*chartcachev1.ChartFile{{Path: "crds/a.yaml", Content: []byte("a")}},
			},
		}, nil
	}})
	got, err := client.Detail(testContext(t), ChartRequest{Source: Named("apps", "charts"), Chart: "web", Version: "^1", Digest: "sha256:x"}, PartValues, PartCRDs)
	require.NoError(t, err)
	assert.Equal(t, Detail{
		Version: ChartVersion{Chart: "web", Version: "1.2.3"}, ChartYAML: "c", Values: "v", Readme: "r", Schema: "s",
		CRDs: []File{{Path: "crds/a.yaml", Content: []byte("a")}},
	}, got)
	assert.Equal(t, []string{"values_yaml", "crds"}, asked.GetReadMask().GetPaths())
	assert.Equal(t, "charts", asked.GetRepository().GetName())
	assert.Equal(t, "^1", asked.GetVersion())
	assert.Equal(t, "sha256:x", asked.GetDigest())

	_, err = client.Detail(testContext(t), ChartRequest{Source: ByURL("https://charts.example.com"), Chart: "web"})
	require.NoError(t, err)
	assert.Equal(t, "https://charts.example.com", asked.GetUrl())
	assert.Nil(t, asked.GetReadMask(), "no parts are all of them")
}

func TestDetailTellsWhyItFails(t *testing.T) {
	client := start(t, &fakeServer{detail: func(*chartcachev1.GetChartDetailRequest) (*chartcachev1.GetChartDetailResponse, error) {
		return nil, answered(t, codes.FailedPrecondition, "TOO_LARGE", "too large", time.Second)
	}})
	_, err := client.Detail(testContext(t), ChartRequest{Source: Named("apps", "charts"), Chart: "web"})
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE, ReasonOf(err))
}
