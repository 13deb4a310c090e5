// Command bench measures chartcache beside what it replaces, and prints one table: what was measured, the figure of the
// baseline, ours, and whether it is what is wanted.
//
// It measures from outside: index builds in child processes of its own, services as the programs that are shipped. It
// depends on Helm, which is the baseline, and must never be linked with what is shipped. A figure that is missed is no
// failure, since machines are noisy; a measurement that cannot be made is one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ketches/helm-operator/services/bench/fixture"
	"github.com/ketches/helm-operator/services/internal/lifecycle"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(runChild(os.Args[2:], os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	source, real, profiles string
	only                   *regexp.Regexp
	runs, repositories     int
	releases               int
	shape                  fixture.Config
	interval, idle         time.Duration
	// grpcShape, chartBytes, workers and lasts are of the gRPC figures.
	grpcShape  fixture.Config
	chartBytes int
	workers    int
	lasts      time.Duration
}

func parseFlags(args []string, errs io.Writer) (options, error) {
	o := options{shape: fixture.Bitnami(), grpcShape: grpcFixture(), chartBytes: 10 * megabyte}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(errs)
	set.StringVar(&o.source, "source", ".", "root of the repository")
	set.StringVar(&o.real, "real", "", "folder with real indexes, *.yaml.gz; none are measured without it")
	set.StringVar(&o.profiles, "profiles", "", "folder for CPU and allocation profiles of one more run of each index build; none are made without it")
	only := set.String("only", "", "regular expression of the groups to measure: index, real, repositories, stack, grpc, releases (default: all)")
	set.IntVar(&o.runs, "runs", 3, "number of times that each thing is measured")
	set.IntVar(&o.shape.Charts, "charts", o.shape.Charts, "number of charts of the made-up index")
	set.IntVar(&o.shape.Versions, "versions", o.shape.Versions, "number of versions of each of its charts")
	set.IntVar(&o.repositories, "repositories", 50, "number of repositories that one chartcache serves")
	set.IntVar(&o.releases, "releases", 100, "number of HelmReleases of the release figures")
	set.DurationVar(&o.interval, "interval", 30*time.Second, "time between two syncs of those; at least 10s")
	set.DurationVar(&o.idle, "idle", time.Minute, "how long those are watched while nothing changes")
	set.IntVar(&o.workers, "workers", 16, "number of gRPC calls that are open at once in a closed loop")
	set.DurationVar(&o.lasts, "lasts", 3*time.Second, "how long gRPC calls are made for one figure of one run")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("flag -only: %w", err)
	}
	for _, least := range []struct {
		flag  string
		value int
	}{{"runs", o.runs}, {"charts", o.shape.Charts}, {"versions", o.shape.Versions}, {"repositories", o.repositories}, {"releases", o.releases}, {"workers", o.workers}} {
		if least.value < 1 {
			return o, fmt.Errorf("flag -%s: must be at least 1", least.flag)
		}
	}
	if o.interval < 10*time.Second || o.idle < o.interval {
		return o, errors.New("flags -interval and -idle: want 10s at least, and an idle time not below the interval")
	}
	if o.lasts <= 0 {
		return o, errors.New("flag -lasts: must be more than 0")
	}
	return o, nil
}

// bench is one run of the tool.
type bench struct {
	options
	self    string    // this program, to start children that need Helm
	builder string    // the program that builds generations; empty until it is built
	dir     string    // scratch folder
	log     io.Writer // progress
	table   table
}

func run(args []string, out, errs io.Writer) int {
	o, err := parseFlags(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		log.SetLogger(logr.Discard()) // of the Kubernetes client
		ctx, stop := lifecycle.WithSignals(context.Background())
		defer stop()
		err = measureAll(ctx, o, out, errs)
	}
	if err != nil {
		_, _ = fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	return 0
}

// measureAll measures and prints what came of it, also when something could not be measured.
func measureAll(ctx context.Context, o options, out, errs io.Writer) (err error) {
	b := &bench{options: o, log: errs}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.source, err = filepath.Abs(o.source); err != nil {
		return err
	}
	if b.profiles != "" {
		if b.profiles, err = filepath.Abs(o.profiles); err != nil {
			return err
		}
	}
	if b.dir, err = os.MkdirTemp("", "helm-operator-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	var failed []error
	for _, group := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"index", b.measureIndex}, {"real", b.measureReal}, {"repositories", b.measureRepositories}, {"stack", b.measureStack},
		{"grpc", b.measureGRPC}, {"releases", b.measureReleases},
	} {
		if !o.only.MatchString(group.name) || ctx.Err() != nil {
			continue
		}
		if err := group.measure(ctx); err != nil {
			failed = append(failed, fmt.Errorf("measure %s: %w", group.name, err))
		}
	}
	if _, err := fmt.Fprintf(out, "%s, %s/%s, %d cores; %d runs: of times the best one counts, of gRPC calls the median; memory is the largest of all runs, in MB of 10^6 bytes.\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), o.runs); err != nil {
		return err
	}
	return errors.Join(append(failed, b.table.print(out), context.Cause(ctx))...)
}

// say tells how far it is.
func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.log, format+"\n", args...) }

// path is a file of the scratch folder.
func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }
