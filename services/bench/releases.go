package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	chartcache "github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/bench/measured"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

// stuckReleases is how many releases wait for Pods that never come while one more is applied.
const stuckReleases = 200

// releaseLimits are the figures that are wanted of a number of releases; zero where nothing is wanted.
type releaseLimits struct {
	install, upgrade time.Duration
	peak             int64
	// quoted of Flux 2 on such a machine, with the controller-manager not throttled.
	fluxInstall, fluxUpgrade, fluxPeak string
}

func limitsOf(releases int) releaseLimits {
	switch releases {
	case 100:
		return releaseLimits{
			install: 6 * time.Second, upgrade: 6 * time.Second, peak: 100 * megabyte,
			fluxInstall: "Flux: 42 s (quoted)", fluxUpgrade: "Flux: 52 s (quoted)", fluxPeak: "Flux: 150-185 MB (quoted)",
		}
	case 500:
		return releaseLimits{install: 30 * time.Second, peak: 110 * megabyte, fluxInstall: "Flux: 273 s (quoted)", fluxPeak: "Flux: 176 MB (quoted)"}
	case 1000:
		return releaseLimits{peak: 130 * megabyte}
	}
	return releaseLimits{}
}

// timesFloor is how much longer than the bare writes of its objects a fleet may take: 6 s for 100 releases were wanted on a
// machine that took 1.6 s for their bare writes.
const timesFloor = 6 / 1.6

// releaseBench is the stack in which releases are measured.
type releaseBench struct {
	*bench
	charts          *chartServer
	stack           *localstack.Stack
	cache, operator *localstack.Service
	fleet           *fleet
}

// measureReleases measures a fleet of releases, with both services on a real control plane.
func (b *bench) measureReleases(ctx context.Context) (err error) {
	programs, err := localstack.Build(ctx, b.stackConfig(), "chartcache", "operator")
	if err != nil {
		return err
	}
	r := &releaseBench{bench: b}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx, programs); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.measureFleet, r.measureIdle, r.measureNews, r.measureStuck} {
		if err := step(ctx); err != nil {
			return withLog(withLog(err, r.operator), r.cache)
		}
	}
	return nil
}

func (r *releaseBench) start(ctx context.Context, programs localstack.Programs) (err error) {
	if r.charts, err = serveCharts(ctx, r.path("release-charts")); err != nil {
		return err
	}
	for _, version := range []string{"1.0.0", "1.1.0"} {
		if err := r.charts.publish(version); err != nil {
			return err
		}
	}
	if r.stack, err = localstack.Start(ctx, r.stackConfig(), programs); err != nil {
		return err
	}
	if r.cache, err = r.stack.Chartcache("chartcache-releases", r.path("releases-data")); err != nil {
		return err
	}
	if err := r.cache.Start(ctx); err != nil {
		return err
	}
	if r.operator, err = r.stack.Operator("operator-releases", r.cache.GRPC); err != nil {
		return err
	}
	if err := r.operator.Start(ctx); err != nil {
		return err
	}
	if r.fleet, err = newFleet(ctx, r.stack.Info.Kubeconfig, "fleet"); err != nil {
		return err
	}
	return r.fleet.objects.Create(ctx, &v1alpha1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.fleet.namespace, Name: repositoryName(0)},
		Spec:       v1alpha1.HelmRepositorySpec{URL: r.charts.url},
	})
}

func (r *releaseBench) stop() error {
	var errs []error
	for _, service := range []*localstack.Service{r.operator, r.cache} {
		if service != nil {
			errs = append(errs, service.Terminate(time.Minute))
		}
	}
	if r.stack != nil {
		errs = append(errs, r.stack.Stop())
	}
	if r.charts != nil {
		errs = append(errs, r.charts.stop())
	}
	return errors.Join(errs...)
}

// measureFleet measures installs and upgrades, beside the bare writes of the same objects.
func (r *releaseBench) measureFleet(ctx context.Context) error {
	number, limits := r.releases, limitsOf(r.releases)
	bare, err := newFleet(ctx, r.stack.Info.Kubeconfig, "floor")
	if err != nil {
		return err
	}
	floor, err := bare.floor(ctx, number)
	if err != nil {
		return err
	}
	r.say("%d bare writes of the same objects: %s", number, seconds(floor))
	before, err := measured.ReadProcess(r.operator.PID())
	if err != nil {
		return err
	}
	installs, err := r.fleet.install(ctx, number, "1.0.0")
	if err != nil {
		return err
	}
	between, err := measured.ReadProcess(r.operator.PID())
	if err != nil {
		return err
	}
	upgrades, err := r.fleet.upgrade(ctx, number, "1.1.0")
	if err != nil {
		return err
	}
	after, err := measured.ReadProcess(r.operator.PID())
	if err != nil {
		return err
	}
	r.say("%d installs: %s, %d upgrades: %s, operator peak %s", number, seconds(installs), number, seconds(upgrades), megabytes(after.Peak))
	note := fmt.Sprintf(" (bare writes %s)", seconds(floor))
	r.time(fmt.Sprintf("%d installs of %d objects, apply to all Ready", number, smallObjects), limits.fluxInstall, installs, limits.install, note)
	r.time(fmt.Sprintf("%d upgrades", number), limits.fluxUpgrade, upgrades, limits.upgrade, "")
	r.besideFloor("installs", installs, floor)
	r.besideFloor("upgrades", upgrades, floor)
	count := time.Duration(number)
	r.table.within("operator CPU per install", "Flux: 0.26 s (quoted)", (between.CPU-before.CPU)/count, 30*time.Millisecond, "")
	r.table.within("operator CPU per upgrade", "Flux: 0.46 s (quoted)", (after.CPU-between.CPU)/count, 40*time.Millisecond, "")
	what := fmt.Sprintf("operator peak memory at %d releases", number)
	if limits.peak > 0 {
		r.table.below(what, limits.fluxPeak, after.Peak, limits.peak, "")
	} else {
		r.table.inform(row{what: what, ours: megabytes(after.Peak)})
	}
	return nil
}

// time adds a row of a time, of which something may be wanted.
func (r *releaseBench) time(what, baseline string, took, limit time.Duration, note string) {
	if limit > 0 {
		r.table.within(what, baseline, took, limit, note)
		return
	}
	r.table.inform(row{what: what, baseline: baseline, ours: seconds(took) + note})
}

// besideFloor adds a row that compares what a fleet took with the bare writes of its objects, which a slow machine slows, too.
func (r *releaseBench) besideFloor(what string, took, floor time.Duration) {
	r.table.atMost(fmt.Sprintf("%d %s, beside the bare writes", r.releases, what), seconds(floor), seconds(took),
		took.Seconds()/floor.Seconds(), timesFloor)
}

// measureIdle counts what releases that are in sync cost in one interval in which nothing changes.
func (r *releaseBench) measureIdle(ctx context.Context) error {
	interval := r.interval
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"interval":%q}}`, interval))
	_, err := r.fleet.apply(ctx, r.releases, func(ctx context.Context, n int) error {
		return r.fleet.objects.Patch(ctx, r.fleet.release(releaseName(n), "", ""), patch)
	})
	if err != nil {
		return err
	}
	r.say("watching %s of nothing", interval)
	before, err := r.fleet.list(ctx)
	if err != nil {
		return err
	}
	downloads, err := r.downloads(ctx)
	if err != nil {
		return err
	}
	used, err := measured.ReadProcess(r.operator.PID())
	if err != nil {
		return err
	}
	select {
	case <-time.After(interval + interval/5): // intervals are jittered
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	idle, err := measured.ReadProcess(r.operator.PID())
	if err != nil {
		return err
	}
	after, err := r.fleet.list(ctx)
	if err != nil {
		return err
	}
	again, err := r.downloads(ctx)
	if err != nil {
		return err
	}
	versions := map[string]string{}
	for i := range before.Items {
		versions[before.Items[i].Name] = before.Items[i].ResourceVersion
	}
	writes := 0
	for i := range after.Items {
		if versions[after.Items[i].Name] != after.Items[i].ResourceVersion {
			writes++
		}
	}
	r.table.add(row{
		what:     fmt.Sprintf("%d releases in sync, no change, one interval of %s", r.releases, interval),
		baseline: "Flux: 2 or more status writes each (quoted)",
		ours: fmt.Sprintf("%d written, %d charts downloaded; operator CPU %s for each release", writes, again-downloads,
			milliseconds((idle.CPU-used.CPU)/time.Duration(r.releases))),
		wanted: "0 writes, 0 chart bytes",
	}, writes == 0 && again == downloads)
	return nil
}

// downloads is how many charts chartcache has handed out, by its metrics.
func (r *releaseBench) downloads(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.cache.Metrics+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read the metrics of chartcache: %w", err)
	}
	defer response.Body.Close()
	total := 0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(name, "chartcache_grpc_handling_seconds_count{") || !strings.Contains(name, `method="DownloadChart"`) {
			continue
		}
		count, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("read the metrics of chartcache: %w", err)
		}
		total += count
	}
	return total, lines.Err()
}

// measureNews measures how soon a new chart version is taken once the repository has it.
func (r *releaseBench) measureNews(ctx context.Context) error {
	const name = "news"
	_, err := r.fleet.apply(ctx, 1, func(ctx context.Context, _ int) error {
		return r.fleet.objects.Create(ctx, r.fleet.release(name, ">=1.0.0", ""))
	})
	if err != nil {
		return err
	}
	changes, err := r.fleet.objects.Watch(ctx, &v1alpha1.HelmReleaseList{}, client.InNamespace(r.fleet.namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		return err
	}
	defer changes.Stop()
	if err := r.charts.publish("1.2.0"); err != nil {
		return err
	}
	asking, err := chartcache.New(chartcache.Config{Target: r.cache.GRPC})
	if err != nil {
		return err
	}
	synced := make(chan error, 1)
	var at time.Time
	go func() {
		_, err := asking.Sync(ctx, chartcache.Named(r.fleet.namespace, repositoryName(0)))
		at = time.Now()
		synced <- errors.Join(err, asking.Close())
	}()
	for {
		select {
		case change, open := <-changes.ResultChan():
			if !open {
				return errors.New("the watch of HelmReleases ended")
			}
			release, ok := change.Object.(*v1alpha1.HelmRelease)
			if !ok || release.Status.ChartVersion != "1.2.0" || release.Status.Operation == nil {
				continue
			}
			seen := time.Now()
			if err := <-synced; err != nil {
				return err
			}
			// The change may be seen before the answer to the sync is.
			r.table.within("a new chart version in the repository, from synced to upgrade started", "Flux: up to an interval",
				max(0, seen.Sub(at)), time.Second, "")
			return nil
		case <-time.After(patience):
			return errors.New("the new chart version was not taken")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// measureStuck measures one release while many wait for what never comes.
func (r *releaseBench) measureStuck(ctx context.Context) error {
	one := func(name string) (time.Duration, error) {
		return r.fleet.apply(ctx, 1, func(ctx context.Context, _ int) error {
			return r.fleet.objects.Create(ctx, r.fleet.release(name, "1.0.0", ""))
		})
	}
	alone, err := one("alone")
	if err != nil {
		return err
	}
	stuck, err := newFleet(ctx, r.stack.Info.Kubeconfig, "stuck")
	if err != nil {
		return err
	}
	_, err = stuck.applyUntil(ctx, stuckReleases, isWaiting, func(ctx context.Context, n int) error {
		release := stuck.release(releaseName(n), "1.0.0", `{"replicas":1}`)
		release.Spec.Chart.Repository.Namespace = r.fleet.namespace
		return stuck.objects.Create(ctx, release)
	})
	if err != nil {
		return err
	}
	beside, err := one("beside")
	if err != nil {
		return err
	}
	r.table.within(fmt.Sprintf("one more release while %d wait for Pods that never come: longer than alone by", stuckReleases), "Flux: waits for a worker",
		max(0, beside-alone), 5*time.Second, fmt.Sprintf(" (%s, alone %s)", seconds(beside), seconds(alone)))
	return nil
}
