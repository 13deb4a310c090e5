package server

import (
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// class says what a method does, for logs, metrics and who may call it.
type class string

const (
	// probe methods tell about the server itself.
	probe class = "probe"
	// read methods answer from the cache, and go upstream only for what it lacks.
	read class = "read"
	// act methods make the cache go upstream.
	act class = "act"
	// transfer methods send the bytes of a chart.
	transfer class = "transfer"
	// watch methods stay open until a side ends them.
	watch class = "watch"
)

// method is what one method is and may cost.
type method struct {
	class class
	// timeout ends a call whatever its caller's deadline, so that no abandoned call lives on; 0 means never.
	timeout time.Duration
	// detail says that a call may hold many MiB, so that few of them may be in progress.
	detail bool
}

// upstreamTime is the longest that a call which may go upstream is given: above the default timeout of a repository
// (5 min), plus one sync that is waited for first.
const upstreamTime = 12 * time.Minute

// methods is the one table of what this server answers. A method that is not here is refused, whoever registered it; a
// test holds that every registered method is.
func methods() map[string]method {
	return map[string]method{
		chartcachev1.ChartCacheService_ListRepositories_FullMethodName:  {class: read, timeout: 30 * time.Second},
		chartcachev1.ChartCacheService_GetRepository_FullMethodName:     {class: read, timeout: 30 * time.Second},
		chartcachev1.ChartCacheService_SyncRepository_FullMethodName:    {class: act, timeout: upstreamTime},
		chartcachev1.ChartCacheService_WatchRepositories_FullMethodName: {class: watch},
		chartcachev1.ChartCacheService_ListCharts_FullMethodName:        {class: read, timeout: upstreamTime},
		chartcachev1.ChartCacheService_ListVersions_FullMethodName:      {class: read, timeout: upstreamTime},
		chartcachev1.ChartCacheService_ResolveVersion_FullMethodName:    {class: read, timeout: upstreamTime},
		chartcachev1.ChartCacheService_GetChartDetail_FullMethodName:    {class: read, timeout: upstreamTime, detail: true},
		// A slow line gets 100 MiB in 30 minutes at 58 KiB/s; a client that is slower resumes.
		chartcachev1.ChartCacheService_DownloadChart_FullMethodName: {class: transfer, timeout: 30 * time.Minute},

		healthv1.Health_Check_FullMethodName: {class: probe, timeout: 10 * time.Second},
		healthv1.Health_List_FullMethodName:  {class: probe, timeout: 10 * time.Second},
		healthv1.Health_Watch_FullMethodName: {class: watch},

		reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName:      {class: probe, timeout: 10 * time.Minute},
		reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: {class: probe, timeout: 10 * time.Minute},
	}
}
