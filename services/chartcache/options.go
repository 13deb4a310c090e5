package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/upstream"
	"github.com/ketches/helm-operator/services/chartcache/source"
	"github.com/ketches/helm-operator/services/internal/logging"
)

// options are the flags of the serve command.
type options struct {
	dataDir string

	repositories         string
	repositoriesInterval time.Duration
	repositoriesTimeout  time.Duration
	kubeconfig           string
	crossNamespace       bool
	allowedFileDir       string

	grpcAddress    string
	insecure       bool
	tls            tlsOptions
	metricsAddress string
	probeAddress   string
	drainTimeout   time.Duration

	syncConcurrency     int
	downloadConcurrency int
	anonymousIdle       time.Duration
	anonymousSources    int
	indexBytes          size
	chartBytes          size
	storeBytes          size
	unpackedBytes       size
	fileBytes           size
	files               int
	tags                int
	redirects           int
	hostRate            int

	logging logging.Options
}

func (o *options) addFlags(set *pflag.FlagSet) {
	set.StringVar(&o.dataDir, "data-dir", "/var/lib/chartcache", "Folder that holds indexes and charts; it is made when it is missing. One process at a time.")

	set.StringVar(&o.repositories, "repositories", "", "Helm's repositories.yaml to serve, read again when it changes. Without it, the HelmRepository objects of a Kubernetes cluster are served.")
	set.DurationVar(&o.repositoriesInterval, "repositories-interval", source.DefaultInterval, "Time between two syncs of a repository of --repositories; at least 10s.")
	set.DurationVar(&o.repositoriesTimeout, "repositories-timeout", source.DefaultTimeout, "Longest time of one upstream operation for a repository of --repositories; at least 1s.")
	set.StringVar(&o.kubeconfig, "kubeconfig", "", "Path of a kubeconfig file. Without it, the account of the Pod, or the files that kubectl uses.")
	set.BoolVar(&o.crossNamespace, "allow-cross-namespace-secrets", false, "Let a HelmRepository name a Secret of another namespace. Whoever may create a HelmRepository can then use every Secret that chartcache may read.")
	set.StringVar(&o.allowedFileDir, "allowed-file-dir", "", "Folder below which caFile, certFile and keyFile of a HelmRepository may be. Without it, none may.")

	set.StringVar(&o.grpcAddress, "grpc-bind-address", "127.0.0.1:9090", "Address of the gRPC server. One that is not loopback needs --tls-cert-file, or --insecure.")
	set.BoolVar(&o.insecure, "insecure", false, "Serve gRPC in plaintext and without authentication on an address that is not loopback. Admit only trusted clients, by a NetworkPolicy for instance: everybody who reaches the port gets the charts of private repositories.")
	o.tls.addFlags(set)
	set.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "Address of /metrics; 0 turns it off.")
	set.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz; 0 turns them off.")
	set.DurationVar(&o.drainTimeout, "drain-timeout", 15*time.Second, "How long calls may go on after a signal to stop, before they are cut off.")

	set.IntVar(&o.syncConcurrency, "sync-concurrency", catalog.DefaultSyncs, "Number of repositories that sync at the same time.")
	set.IntVar(&o.downloadConcurrency, "download-concurrency", catalog.DefaultDownloads, "Number of charts that are downloaded from upstream at the same time.")
	set.DurationVar(&o.anonymousIdle, "anonymous-idle", catalog.DefaultIdleAfter, "How long a repository that is known by its URL only stays cached after it was last asked for.")
	set.IntVar(&o.anonymousSources, catalog.FlagSources, catalog.DefaultSources, "Largest number of repositories that are known by their URL only.")
	o.addLimits(set)

	o.logging.AddFlags(set)
}

// addLimits adds the bounds on what is read and kept. Their names are those that errors about them give.
func (o *options) addLimits(set *pflag.FlagSet) {
	for _, limit := range []struct {
		value    *size
		fallback int64
		flag     string
		usage    string
	}{
		{&o.indexBytes, upstream.DefaultIndexBytes, upstream.FlagIndexBytes, "Largest index.yaml that is read, uncompressed."},
		{&o.chartBytes, upstream.DefaultChartBytes, upstream.FlagChartBytes, "Largest tarball of a chart that is read."},
		{&o.storeBytes, blob.DefaultMaxBytes, blob.FlagStoreBytes, "Disk space for charts; those that were not used for longest go first."},
		{&o.unpackedBytes, 100 << 20, blob.FlagUnpackedBytes, "Largest chart, unpacked."},
		{&o.fileBytes, 5 << 20, blob.FlagFileBytes, "Largest file in a chart."},
	} {
		*limit.value = size(limit.fallback)
		set.Var(limit.value, limit.flag, limit.usage)
	}
	set.IntVar(&o.files, blob.FlagFiles, 10_000, "Largest number of files in a chart.")
	set.IntVar(&o.tags, upstream.FlagTags, upstream.DefaultTags, "Largest number of tags of one chart of a registry, and of charts of one catalogue.")
	set.IntVar(&o.redirects, upstream.FlagRedirects, upstream.DefaultRedirects, "Largest number of redirects of one request.")
	set.IntVar(&o.hostRate, upstream.FlagHostRate, upstream.DefaultHostRate, "Largest number of requests per second to one host, of all repositories together; twice as many may come at once.")
}

// limits returns the bounds for the catalog.
func (o *options) limits() catalog.Limits {
	return catalog.Limits{
		Upstream:  upstream.Limits{IndexBytes: int64(o.indexBytes), ChartBytes: int64(o.chartBytes), Tags: o.tags, Redirects: o.redirects, HostRate: o.hostRate},
		Chart:     blob.ChartLimits{UnpackedBytes: int64(o.unpackedBytes), FileBytes: int64(o.fileBytes), Files: o.files},
		Syncs:     o.syncConcurrency,
		Downloads: o.downloadConcurrency,
		Sources:   o.anonymousSources,
	}
}

// check says what is wrong with the flags, all of it.
func (o *options) check() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if o.dataDir == "" {
		say("--data-dir must not be empty")
	}
	if err := checkListenAddress(o.grpcAddress, o.insecure || o.tls.enabled()); err != nil {
		say("--grpc-bind-address: %w", err)
	}
	if err := o.tls.check(); err != nil {
		say("%w", err)
	}
	if o.insecure && o.tls.enabled() {
		say("--insecure and --tls-cert-file exclude each other")
	}
	for _, positive := range []struct {
		flag  string
		value int64
	}{
		{"sync-concurrency", int64(o.syncConcurrency)},
		{"download-concurrency", int64(o.downloadConcurrency)},
		{"anonymous-idle", int64(o.anonymousIdle)},
		{"drain-timeout", int64(o.drainTimeout)},
		{"repositories-interval", int64(o.repositoriesInterval)},
		{"repositories-timeout", int64(o.repositoriesTimeout)},
		{catalog.FlagSources, int64(o.anonymousSources)},
		{upstream.FlagIndexBytes, int64(o.indexBytes)},
		{upstream.FlagChartBytes, int64(o.chartBytes)},
		{upstream.FlagTags, int64(o.tags)},
		{upstream.FlagRedirects, int64(o.redirects)},
		{upstream.FlagHostRate, int64(o.hostRate)},
		{blob.FlagStoreBytes, int64(o.storeBytes)},
		{blob.FlagUnpackedBytes, int64(o.unpackedBytes)},
		{blob.FlagFileBytes, int64(o.fileBytes)},
		{blob.FlagFiles, int64(o.files)},
	} {
		if positive.value <= 0 {
			say("--%s must be more than 0", positive.flag)
		}
	}
	if o.storeBytes < o.chartBytes {
		say("--%s must not be smaller than --%s: the largest chart would not fit", blob.FlagStoreBytes, upstream.FlagChartBytes)
	}
	if o.repositories != "" && o.kubeconfig != "" {
		say("--repositories and --kubeconfig exclude each other")
	}
	return errors.Join(wrong...)
}

// checkListenAddress refuses to serve where others may connect, unless that is allowed: by TLS, or by who says so.
func checkListenAddress(address string, allowed bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port", address)
	}
	if allowed || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("%q is not a loopback address, and gRPC is served in plaintext and without authentication; "+
		"use 127.0.0.1, give --tls-cert-file and --tls-key-file, or add --insecure when something else keeps strangers away", address)
}

// isLoopback reports whether a host is loopback for certain; an empty one is all addresses.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// size is a number of bytes; as a flag it takes a Kubernetes quantity, such as 512Mi or 1G.
type size int64

// String returns the quantity.
func (s *size) String() string {
	return resource.NewQuantity(int64(*s), resource.BinarySI).String()
}

// Set parses a quantity.
func (s *size) Set(text string) error {
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("want a number of bytes such as 512Mi or 1G")
	}
	*s = size(q.Value())
	return nil
}

// Type names the kind of value in the help.
func (s *size) Type() string { return "size" }
