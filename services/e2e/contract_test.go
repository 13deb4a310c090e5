package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/ketches/helm-operator/chartcache/client"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, connection.Close()) })
	return connection
}

// startChartcache starts a chartcache of the test's own, with flags.
func startChartcache(t *testing.T, name string, flags ...string) *localstack.Service {
	t.Helper()
	chartcache, err := suite.Chartcache(name, t.TempDir(), flags...)
	require.NoError(t, err)
	require.NoError(t, chartcache.Start(t.Context()))
	t.Cleanup(func() { assert.NoError(t, chartcache.Kill()) })
	return chartcache
}

// clientOf returns a client of a chartcache.
func clientOf(t *testing.T, chartcache *localstack.Service) *client.Client {
	t.Helper()
	api, err := client.New(client.Config{Target: chartcache.GRPC})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, api.Close()) })
	return api
}

func TestTheContractAnswersByReflectionAndHealth(t *testing.T) {
	t.Parallel()
	connection := dial(t, suite.chartcache.GRPC)

	health, err := healthv1.NewHealthClient(connection).Check(t.Context(), &healthv1.HealthCheckRequest{
		Service: chartcachev1.ChartCacheService_ServiceDesc.ServiceName,
	})
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, health.Status)

	stream, err := reflectionv1.NewServerReflectionClient(connection).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}))
	response, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, service := range response.GetListServicesResponse().GetService() {
		names = append(names, service.Name)
	}
	assert.Contains(t, names, chartcachev1.ChartCacheService_ServiceDesc.ServiceName)
}

func TestChartcacheServesARepositoriesFileWithoutKubernetes(t *testing.T) {
	t.Parallel()
	web := webChart("1.0.0")
	repo := newChartRepository(t, web, webChart("1.1.0"))
	file := filepath.Join(t.TempDir(), "repositories.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "apiVersion: \"\"\nrepositories:\n- name: shop\n  url: %s\n", repo.URL), 0o600))
	chartcache := startChartcache(t, "chartcache-file", "--repositories", file)
	api := chartcachev1.NewChartCacheServiceClient(dial(t, chartcache.GRPC))
	shop := &chartcachev1.RepositoryRef{Namespace: "default", Name: "shop"}

	synced, err := api.SyncRepository(t.Context(), &chartcachev1.SyncRepositoryRequest{
		Source: &chartcachev1.SyncRepositoryRequest_Repository{Repository: shop},
	})
	require.NoError(t, err)
	assert.EqualValues(t, 1, synced.Repository.ChartCount)
	assert.EqualValues(t, 2, synced.Repository.VersionCount)

	resolved, err := api.ResolveVersion(t.Context(), &chartcachev1.ResolveVersionRequest{
		Source: &chartcachev1.ResolveVersionRequest_Repository{Repository: shop}, Chart: "web", Version: "~1.0",
	})
	require.NoError(t, err)
	assert.Equal(t, "1.0.0", resolved.Version.Version)

	download, err := api.DownloadChart(t.Context(), &chartcachev1.DownloadChartRequest{
		Source: &chartcachev1.DownloadChartRequest_Repository{Repository: shop}, Chart: "web", Digest: resolved.Version.Digest,
	})
	require.NoError(t, err)
	header, err := download.Recv()
	require.NoError(t, err)
	require.NotNil(t, header.GetHeader())
	var received bytes.Buffer
	for {
		message, err := download.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		received.Write(message.GetChunk())
	}
	assert.EqualValues(t, header.GetHeader().SizeBytes, received.Len())
	published, err := http.Get(repo.URL + "/web-1.0.0.tgz")
	require.NoError(t, err)
	defer published.Body.Close()
	want, err := io.ReadAll(published.Body)
	require.NoError(t, err)
	assert.Equal(t, want, received.Bytes())
}

func TestBothServicesExportTheirMetrics(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	s.apply(s.release("app"))
	s.until("app", ready)

	assert.Contains(t, scrape(t, suite.chartcache),
		fmt.Sprintf(`helm_repository_charts_discovered{namespace=%q,repository="charts"} 1`, s.namespace))
	assert.Contains(t, scrape(t, suite.operator),
		fmt.Sprintf(`helm_release_operation_total{namespace=%q,operation="install",release="app",status="success"} 1`, s.namespace))
}

func scrape(t *testing.T, svc *localstack.Service) string {
	t.Helper()
	response, err := http.Get("http://" + svc.Metrics + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}
