package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/ketches/helm-operator/chartcache/client"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
	"github.com/ketches/helm-operator/services/bench/fixture"
	"github.com/ketches/helm-operator/services/bench/measured"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

const (
	// messageBytes is what one message of a download holds, by the contract.
	messageBytes = 256 << 10
	// pageItems is the page of a listing when nobody says how long it should be, by the contract.
	pageItems = 100
	// pacedWorkers are enough that no call has to wait for another one of its worker, unless the server is in trouble.
	pacedWorkers = 64
)

// measureGRPC measures calls of the real chartcache by its own client beside a server that does nothing.
func (b *bench) measureGRPC(ctx context.Context) (err error) {
	upstream, err := b.startCharts(ctx, b.grpcShape, b.chartBytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upstream.stop()) }()
	programs, err := localstack.Build(ctx, b.stackConfig(), "chartcache", "bench/echo")
	if err != nil {
		return err
	}
	file := b.path("grpc-repositories.yaml")
	repositories := fmt.Sprintf("apiVersion: \"\"\nrepositories:\n- name: %[2]s\n  url: %[1]s/%[2]s\n- name: %[3]s\n  url: %[1]s/%[3]s\n",
		upstream.url, manyVersions, largeChart)
	if err := os.WriteFile(file, []byte(repositories), 0o600); err != nil {
		return err
	}
	cache, err := programs.Chartcache("chartcache-grpc", b.path("grpc-data"), "--repositories", file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cache.Kill()) }()
	if err := cache.Start(ctx); err != nil {
		return err
	}
	echo, err := startEcho(b.path("echo"), b.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, echo.stop()) }()
	return withLog(b.besideEcho(ctx, cache, echo), cache)
}

func (b *bench) besideEcho(ctx context.Context, cache *localstack.Service, echo *echoServer) (err error) {
	asking, err := client.New(client.Config{Target: cache.GRPC, Dialer: dialUntilThere})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asking.Close()) }()
	if err := awaitSynced(ctx, asking, 2); err != nil {
		return err
	}
	sizes, err := b.wireSizes(ctx, cache.GRPC)
	if err != nil {
		return err
	}
	many := fmt.Sprintf("%d charts x %d versions", b.grpcShape.Charts, b.grpcShape.Versions)
	resolve := pair{
		what: "ResolveVersion, warm, " + many, ours: b.resolveCall(asking), echo: echo.call(sizes.resolveRequest, sizes.resolve),
		sizes: fmt.Sprintf("%d B -> %d B", sizes.resolveRequest, sizes.resolve),
	}
	list := pair{
		what: "ListVersions, first page, " + many, ours: b.listCall(asking), echo: echo.call(sizes.listRequest, sizes.list),
		sizes: fmt.Sprintf("%d B -> %d B", sizes.listRequest, sizes.list),
	}
	download := pair{
		what: fmt.Sprintf("DownloadChart of %s", megabytes(sizes.chart)), ours: downloadCall(asking, sizes.chart),
		echo: echo.stream(int(sizes.chart), messageBytes), sizes: "256 KiB a message",
	}
	for _, p := range []*pair{&resolve, &list, &download} {
		p.cachePID, p.echoPID = cache.PID(), echo.process.Process.Pid
	}
	rate, err := b.calls(ctx, resolve, 0.5)
	if err != nil {
		return err
	}
	if err := b.halfLoad(ctx, resolve, rate/2, 3); err != nil {
		return err
	}
	if _, err := b.calls(ctx, list, 0.3); err != nil {
		return err
	}
	return b.throughput(ctx, download, 0.6)
}

// pair is one thing that both servers do.
type pair struct {
	what, sizes string
	ours, echo  call
	// cachePID and echoPID are the processes of the servers.
	cachePID, echoPID int
}

// inTurns measures both several times, in turns, so that what disturbs the machine for a while disturbs both. The first time
// does not count.
func (b *bench) inTurns(p pair, measure func(call) (load, error)) (ours, echo []load, err error) {
	b.say("%s", p.what)
	for number := range b.runs + 1 {
		one, err := withCPU(p.echoPID, func() (load, error) { return measure(p.echo) })
		if err != nil {
			return nil, nil, fmt.Errorf("echo: %w", err)
		}
		two, err := withCPU(p.cachePID, func() (load, error) { return measure(p.ours) })
		if err != nil {
			return nil, nil, fmt.Errorf("chartcache: %w", err)
		}
		if number > 0 {
			echo, ours = append(echo, one), append(ours, two)
			b.say("  echo %.0f/s, CPU %s each, p99 %s; chartcache %.0f/s, CPU %s each, p99 %s",
				one.perSecond(), microseconds(time.Duration(one.cpuEach())), one.percentile(0.99),
				two.perSecond(), microseconds(time.Duration(two.cpuEach())), two.percentile(0.99))
		}
	}
	return ours, echo, nil
}

// withCPU adds the processor time of this process and of a server.
func withCPU(server int, measure func() (load, error)) (load, error) {
	spent := func() (time.Duration, error) {
		theirs, err := measured.ReadProcess(server)
		if err != nil {
			return 0, err
		}
		own, err := measured.ReadProcess(os.Getpid())
		return theirs.CPU + own.CPU, err
	}
	before, err := spent()
	if err != nil {
		return load{}, err
	}
	l, err := measure()
	if err != nil {
		return load{}, err
	}
	after, err := spent()
	l.cpu = after - before
	return l, err
}

// withCPUEach is a figure with the processor time of one call.
func withCPUEach(figure string, loads []load) string {
	return fmt.Sprintf("%s (CPU %s each)", figure, microseconds(time.Duration(medianOf(loads, load.cpuEach))))
}

func microseconds(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}

// calls compares calls per second in a closed loop, and returns ours.
func (b *bench) calls(ctx context.Context, p pair, wanted float64) (rate float64, err error) {
	ours, echo, err := b.inTurns(p, func(c call) (load, error) { return closedLoop(ctx, b.workers, b.lasts, c) })
	if err != nil {
		return 0, err
	}
	rate, base := medianOf(ours, load.perSecond), medianOf(echo, load.perSecond)
	b.table.atLeast(fmt.Sprintf("%s (%s), closed loop of %d: calls per second", p.what, p.sizes, b.workers),
		withCPUEach(fmt.Sprintf("%.0f", base), echo), withCPUEach(fmt.Sprintf("%.0f", rate), ours), rate/base, wanted)
	return rate, nil
}

// halfLoad compares the slowest calls at one rate, which both have to keep.
func (b *bench) halfLoad(ctx context.Context, p pair, rate, wanted float64) error {
	ours, echo, err := b.inTurns(p, func(c call) (load, error) { return paced(ctx, pacedWorkers, rate, b.lasts, c) })
	if err != nil {
		return err
	}
	p99 := func(l load) float64 { return float64(l.percentile(0.99)) }
	high, base := medianOf(ours, p99), medianOf(echo, p99)
	b.table.atMost(fmt.Sprintf("%s, at half of that rate, %.0f/s: p99", p.what, rate),
		milliseconds(time.Duration(base)), milliseconds(time.Duration(high)), high/base, wanted)
	return nil
}

// throughput compares what streams bring, with one stream for each core.
func (b *bench) throughput(ctx context.Context, p pair, wanted float64) error {
	const streams = 2
	ours, echo, err := b.inTurns(p, func(c call) (load, error) { return closedLoop(ctx, streams, b.lasts, c) })
	if err != nil {
		return err
	}
	rate, base := medianOf(ours, load.bytesPerSecond), medianOf(echo, load.bytesPerSecond)
	b.table.atLeast(fmt.Sprintf("%s (%s), closed loop of %d, sha256 verified by both sides", p.what, p.sizes, streams),
		withCPUEach(fmt.Sprintf("%.0f MB/s", base/megabyte), echo), withCPUEach(fmt.Sprintf("%.0f MB/s", rate/megabyte), ours), rate/base, wanted)
	return nil
}

func medianOf(loads []load, figure func(load) float64) float64 {
	figures := make([]float64, 0, len(loads))
	for _, l := range loads {
		figures = append(figures, figure(l))
	}
	return median(figures)
}

// question is a chart and a constraint; each turn has another one, and none is the newest version.
func (b *bench) question(worker, turn int) (chart, constraint string) {
	names := b.grpcShape.ChartNames()
	major := 1 + (worker+turn)%max(1, b.grpcShape.Versions/40)
	return names[(worker+turn)%len(names)], fmt.Sprintf("^%d.1.0", major)
}

// resolveCall asks for another chart and constraint at each turn.
func (b *bench) resolveCall(asking *client.Client) call {
	source := client.Named("default", manyVersions)
	return func(ctx context.Context, worker, turn int) (int64, error) {
		chart, constraint := b.question(worker, turn)
		_, err := asking.Resolve(ctx, client.ChartRequest{Source: source, Chart: chart, Version: constraint})
		return 0, err
	}
}

func (b *bench) listCall(asking *client.Client) call {
	source := client.Named("default", manyVersions)
	return func(ctx context.Context, worker, turn int) (int64, error) {
		chart, _ := b.question(worker, turn)
		_, err := asking.ListVersions(ctx, source, chart, client.ListVersionsOptions{Limit: pageItems})
		return 0, err
	}
}

func downloadCall(asking *client.Client, size int64) call {
	request := client.ChartRequest{Source: client.Named("default", largeChart), Chart: largeChart}
	return func(ctx context.Context, _, _ int) (int64, error) {
		got, err := asking.Download(ctx, request, io.Discard)
		if err == nil && got.SizeBytes != size {
			err = fmt.Errorf("the chart has %d bytes and not %d", got.SizeBytes, size)
		}
		return got.SizeBytes, err
	}
}

// wireSizes are bytes of messages, and of the large chart.
type wireSizes struct {
	resolveRequest, resolve, listRequest, list int
	chart                                      int64
}

// wireSizes asks once, without the client, which hides the messages.
func (b *bench) wireSizes(ctx context.Context, address string) (sizes wireSizes, err error) {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return sizes, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	rpc := chartcachev1.NewChartCacheServiceClient(conn)
	chart, constraint := b.question(0, 0)
	ref := &chartcachev1.RepositoryRef{Namespace: "default", Name: manyVersions}
	resolve := &chartcachev1.ResolveVersionRequest{
		Source: &chartcachev1.ResolveVersionRequest_Repository{Repository: ref}, Chart: chart, Version: constraint,
	}
	resolved, err := rpc.ResolveVersion(ctx, resolve)
	if err != nil {
		return sizes, err
	}
	list := &chartcachev1.ListVersionsRequest{
		Source: &chartcachev1.ListVersionsRequest_Repository{Repository: ref}, Chart: chart, PageSize: pageItems,
	}
	listed, err := rpc.ListVersions(ctx, list)
	if err != nil {
		return sizes, err
	}
	info, err := os.Stat(filepath.Join(b.path("charts"), largeChart, largeChart+"-1.0.0.tgz"))
	if err != nil {
		return sizes, err
	}
	return wireSizes{
		resolveRequest: proto.Size(resolve), resolve: proto.Size(resolved),
		listRequest: proto.Size(list), list: proto.Size(listed), chart: info.Size(),
	}, nil
}

// grpcFixture is the repository that calls ask for: charts of a thousand versions, and more than one of them, so that a
// cache of one would not do.
func grpcFixture() fixture.Config { return fixture.Config{Charts: 20, Versions: 1000} }
