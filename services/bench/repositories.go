package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ketches/helm-operator/chartcache/client"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
	"github.com/ketches/helm-operator/services/bench/measured"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

// patience bounds every wait; it is far above what is measured.
const patience = 5 * time.Minute

// look is how often something is looked at that cannot be waited for.
const look = 5 * time.Millisecond

// measureRepositories measures one chartcache with many repositories: in sync, idle, and after a crash with upstream down.
func (b *bench) measureRepositories(ctx context.Context) (err error) {
	upstream, err := b.startUpstream(ctx, b.repositories)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upstream.stop()) }()
	programs, err := localstack.Build(ctx, b.stackConfig(), "chartcache")
	if err != nil {
		return err
	}
	file := b.path("repositories.yaml")
	if err := os.WriteFile(file, []byte(repositoriesFile(upstream.url, b.repositories)), 0o600); err != nil {
		return err
	}
	cache, err := programs.Chartcache("chartcache-repositories", b.path("repositories-data"),
		"--repositories", file, "--repositories-interval", b.interval.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cache.Kill()) }()

	asking, err := client.New(client.Config{Target: cache.GRPC, Dialer: dialUntilThere})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asking.Close()) }()

	if err := b.syncAll(ctx, cache, asking, upstream); err != nil {
		return withLog(err, cache)
	}
	if err := b.watchIdle(ctx, cache, upstream); err != nil {
		return withLog(err, cache)
	}
	if err := upstream.stop(); err != nil {
		return err
	}
	return withLog(b.restart(ctx, cache, asking), cache)
}

// repositoriesFile is a repositories.yaml as the helm command writes it.
func repositoriesFile(url string, repositories int) string {
	var file strings.Builder
	file.WriteString("apiVersion: \"\"\ngenerated: \"0001-01-01T00:00:00Z\"\nrepositories:\n")
	for number := range repositories {
		fmt.Fprintf(&file, "- name: %s\n  url: %s\n", repositoryName(number), url+repositoryPath(number))
	}
	return file.String()
}

func repositoryName(number int) string { return fmt.Sprintf("charts-%03d", number) }

// syncAll starts the process and waits until all repositories are there.
func (b *bench) syncAll(ctx context.Context, cache *localstack.Service, asking *client.Client, upstream *upstream) error {
	b.say("syncing %d repositories", b.repositories)
	start := time.Now()
	if err := cache.Launch(); err != nil {
		return err
	}
	if err := awaitSynced(ctx, asking, b.repositories); err != nil {
		return err
	}
	took := time.Since(start)
	p, err := measured.ReadProcess(cache.PID())
	if err != nil {
		return err
	}
	asked := upstream.asked()
	b.table.inform(row{
		what: fmt.Sprintf("%d repositories of that size: from start to all synced", b.repositories),
		ours: fmt.Sprintf("%s (CPU %s, %d requests), peak %s", seconds(took), seconds(p.CPU), asked.full+asked.unchanged+asked.other, megabytes(p.Peak)),
	})
	return nil
}

// awaitSynced waits until a number of repositories are synced.
func awaitSynced(ctx context.Context, asking *client.Client, repositories int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("it took too long"))
	defer cancel()
	watching, enough := context.WithCancel(ctx)
	defer enough()
	synced := map[client.Source]bool{}
	err := asking.Watch(watching, func(event client.Event) {
		if change, ok := event.(*client.Changed); ok && change.Repository.State == chartcachev1.RepositoryState_REPOSITORY_STATE_SYNCED {
			synced[change.Repository.Source] = true
		}
		if len(synced) == repositories {
			enough()
		}
	})
	if len(synced) < repositories {
		return fmt.Errorf("%d of %d repositories are synced: %w", len(synced), repositories, err)
	}
	return nil
}

// watchIdle watches what the process does while nothing changes.
func (b *bench) watchIdle(ctx context.Context, cache *localstack.Service, upstream *upstream) error {
	b.say("watching %s of nothing", b.idle)
	before, err := measured.ReadProcess(cache.PID())
	if err != nil {
		return err
	}
	upstream.asked()
	select {
	case <-time.After(b.idle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := measured.ReadProcess(cache.PID())
	if err != nil {
		return err
	}
	asked := upstream.asked()
	each := float64(asked.full+asked.unchanged+asked.other) / float64(b.repositories) / (b.idle.Seconds() / b.interval.Seconds())
	cpu := after.CPU - before.CPU
	// An interval is jittered by a tenth.
	b.table.add(row{
		what: "unchanged: requests per repository and interval",
		ours: fmt.Sprintf("%.2f (%d answered 304, %d others; %s CPU for each)", each, asked.unchanged, asked.full+asked.other,
			milliseconds(cpu/time.Duration(max(asked.unchanged, 1)))),
		wanted: "1, each answered 304",
	}, each > 0.85 && each < 1.15 && asked.full+asked.other == 0)
	b.table.below(fmt.Sprintf("%d repositories of that size, all synced, idle: resident memory", b.repositories), "",
		after.Resident, 150*megabyte, "")
	return nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// restart kills the process, starts it again, and asks for a chart of each repository until it has all answers.
func (b *bench) restart(ctx context.Context, cache *localstack.Service, asking *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var times []time.Duration
	for range b.runs {
		if err := cache.Kill(); err != nil {
			return err
		}
		start := time.Now()
		if err := cache.Launch(); err != nil {
			return err
		}
		for number := range b.repositories {
			if err := resolve(ctx, asking, number); err != nil {
				return err
			}
		}
		times = append(times, time.Since(start))
		b.say("  restart: %s", seconds(times[len(times)-1]))
	}
	p, err := measured.ReadProcess(cache.PID())
	if err != nil {
		return err
	}
	b.table.within(fmt.Sprintf("%d repositories of that size: kill -9, start, upstream down, all of them answer", b.repositories), "",
		slices.Min(times), time.Second, fmt.Sprintf(" (slowest %s, CPU %s, resident %s)", seconds(slices.Max(times)), seconds(p.CPU), megabytes(p.Resident)))
	return nil
}

// resolve asks for the chart that only one repository has, until it is there.
func resolve(ctx context.Context, asking *client.Client, number int) error {
	request := client.ChartRequest{Source: client.Named("default", repositoryName(number)), Chart: ownChart(number)}
	for {
		_, err := asking.Resolve(ctx, request)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ask for chart %s: %w", request.Chart, err)
		case <-time.After(look):
		}
	}
}

// dialUntilThere connects to a process that may not listen yet, without the long waits of gRPC.
func dialUntilThere(ctx context.Context, address string) (net.Conn, error) {
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil || ctx.Err() != nil {
			return connection, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
	}
}

func (b *bench) stackConfig() localstack.Config {
	return localstack.Config{Source: b.source, Dir: b.dir, Output: b.log}
}

// withLog adds the last lines of the log of a process to an error.
func withLog(err error, s *localstack.Service) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nlast lines of %s:\n%s", err, s.Name, s.LogTail(4000))
}
