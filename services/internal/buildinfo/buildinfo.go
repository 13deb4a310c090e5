// Package buildinfo says which build of the product a process is.
//
// It depends on what the linker and the Go toolchain recorded, and on the Prometheus client for the metric that shows
// it. It must never read files or the network.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// version and revision are set by the linker (-X); see the Makefile. They are never written at run time. The toolchain
// records no revision for a main package of a workspace, hence revision.
var (
	version  string
	revision string //nolint:gochecknoglobals // The linker can only set a variable.
)

// Info describes a build.
type Info struct {
	// Version is the release, such as "v1.2.3"; "devel" for a build outside a release.
	Version string
	// Revision is the commit, with "-dirty" behind it when the toolchain saw changes in the work tree; "unknown" when
	// neither linker nor toolchain know it.
	Revision string
	// GoVersion is the toolchain, such as "go1.26.8".
	GoVersion string
	// Platform is operating system and architecture, such as "linux/amd64".
	Platform string
}

// Get returns the description of the running process.
func Get() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return describe(version, revision, build.Settings)
}

func describe(version, revision string, settings []debug.BuildSetting) Info {
	info := Info{
		Version:   version,
		Revision:  revision,
		GoVersion: runtime.Version(),
		Platform:  runtime.GOOS + "/" + runtime.GOARCH,
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	if info.Revision != "" {
		return info
	}
	info.Revision = "unknown"
	dirty := false
	for _, setting := range settings {
		switch setting.Key {
		case "vcs.revision":
			info.Revision = setting.Value
		case "vcs.modified":
			dirty = setting.Value == "true"
		}
	}
	if dirty {
		info.Revision += "-dirty"
	}
	return info
}

// String returns one line for --version.
func (i Info) String() string {
	return fmt.Sprintf("%s (revision %s, %s, %s)", i.Version, i.Revision, i.GoVersion, i.Platform)
}

// UserAgent returns what a process calls itself towards other servers, such as "chartcache/v1.2.3".
func (i Info) UserAgent(process string) string {
	return process + "/" + i.Version
}

// Collector returns the gauge <namespace>_build_info, which is always 1 and carries the build in its labels.
func (i Info) Collector(namespace string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace,
		Name:      "build_info",
		Help:      "The running build; always 1.",
		ConstLabels: prometheus.Labels{
			"version": i.Version, "revision": i.Revision, "goversion": i.GoVersion,
		},
	}, func() float64 { return 1 })
}
