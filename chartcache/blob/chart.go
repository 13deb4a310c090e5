package blob

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// ChartLimits bounds what a tarball may hold. A zero field means its default. The defaults are what Helm itself loads,
// so that a chart that passes here is not refused later.
type ChartLimits struct {
	// UnpackedBytes bounds the whole unpacked archive; default 100 MiB.
	UnpackedBytes int64
	// FileBytes bounds one file; default 5 MiB.
	FileBytes int64
	// Files bounds the number of files and folders; default 10000.
	Files int
}

// maxPathBytes bounds the path of a file in a tarball. It is a quarter of what Linux allows, and far more than charts use.
const maxPathBytes = 1024

func (l ChartLimits) withDefaults() ChartLimits {
	if l.UnpackedBytes <= 0 {
		l.UnpackedBytes = 100 << 20
	}
	if l.FileBytes <= 0 {
		l.FileBytes = 5 << 20
	}
	if l.Files <= 0 {
		l.Files = 10_000
	}
	return l
}

// Metadata is what Chart.yaml says about a chart.
type Metadata struct {
	// APIVersion is the version of the Chart.yaml format, "v1" or "v2".
	APIVersion string `json:"apiVersion"`
	// Name of the chart.
	Name string `json:"name"`
	// Version of the chart, a semantic version.
	Version string `json:"version"`
	// AppVersion is the version of the packaged application; may be empty.
	AppVersion string `json:"appVersion"`
	// Description is one line about the chart.
	Description string `json:"description"`
	// Type is "application", "library" or empty, which means application.
	Type string `json:"type"`
	// Icon is the URL of an icon; may be empty.
	Icon string `json:"icon"`
	// Deprecated says whether the chart is.
	Deprecated bool `json:"deprecated"`
}

// InspectChart reads r to its end and returns the metadata of the chart in it. It fails with CHART_INVALID when r is not
// a gzipped tar of one chart, with TOO_LARGE when that is over a limit, and with the error of r.
func InspectChart(r io.Reader, limits ChartLimits) (Metadata, error) {
	limits = limits.withDefaults()
	source := &sourceReader{r: r}
	m, err := inspect(source, limits)
	if err != nil && source.err != nil {
		// The archive looks broken because its source broke.
		return Metadata{}, fmt.Errorf("read a tarball: %w", source.err)
	}
	return m, err
}

// sourceReader keeps the error of a reader, which gzip and tar report as errors of the format.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func inspect(r io.Reader, limits ChartLimits) (Metadata, error) {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return Metadata{}, broken(err, "it is not gzip")
	}
	// One byte more than allowed tells an archive of exactly the limit from a larger one.
	unpacked := &io.LimitedReader{R: zipped, N: limits.UnpackedBytes + 1}
	archive := tar.NewReader(unpacked)
	var chartYAML []byte
	for files := 0; ; files++ {
		header, err := archive.Next()
		if unpacked.N <= 0 {
			return Metadata{}, tooLarge("unpacked, it is larger than %d bytes (limit --%s)", limits.UnpackedBytes, FlagUnpackedBytes)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Metadata{}, broken(err, "it is not a tar archive")
		}
		if files >= limits.Files {
			return Metadata{}, tooLarge("it holds more than %d files (limit --%s)", limits.Files, FlagFiles)
		}
		isChartYAML, err := checkEntry(header, limits)
		if err != nil {
			return Metadata{}, err
		}
		if !isChartYAML {
			continue
		}
		if chartYAML != nil {
			return Metadata{}, broken(nil, "it holds more than one Chart.yaml")
		}
		if chartYAML, err = io.ReadAll(archive); err != nil {
			return Metadata{}, broken(err, "its Chart.yaml cannot be read")
		}
	}
	// Whatever follows the archive belongs to the checksum of gzip, which is compared at the end.
	if _, err := io.Copy(io.Discard, unpacked); err != nil {
		return Metadata{}, broken(err, "it is not gzip to its end")
	}
	if unpacked.N <= 0 {
		return Metadata{}, tooLarge("unpacked, it is larger than %d bytes (limit --%s)", limits.UnpackedBytes, FlagUnpackedBytes)
	}
	if chartYAML == nil {
		return Metadata{}, broken(nil, "it holds no Chart.yaml in a folder at its top")
	}
	return parseChartYAML(chartYAML)
}

// drive matches the first element of a path that Windows would take for a drive.
var drive = regexp.MustCompile(`^[A-Za-z]:`)

// checkEntry refuses entries that could escape from a folder, that are not plain files or folders, or that are over a
// limit. It says whether the entry is the Chart.yaml of the chart at the top.
func checkEntry(h *tar.Header, limits ChartLimits) (isChartYAML bool, err error) {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return false, nil
	case tar.TypeReg, tar.TypeDir:
	default:
		return false, broken(nil, "it holds a link or a special file")
	}
	if len(h.Name) > maxPathBytes {
		return false, broken(nil, fmt.Sprintf("it holds a path of more than %d bytes", maxPathBytes))
	}
	// Helm takes backslashes for separators, so they must not hide anything from the checks.
	name := strings.ReplaceAll(h.Name, `\`, "/")
	folder, file, inFolder := strings.Cut(name, "/")
	if folder == "" || path.IsAbs(file) || drive.MatchString(name) || strings.ContainsRune(name, 0) ||
		slices.Contains(strings.Split(name, "/"), "..") {
		return false, broken(nil, "it holds a path that leads out of the chart")
	}
	if h.Typeflag == tar.TypeDir {
		return false, nil
	}
	if h.Size > limits.FileBytes {
		return false, tooLarge("it holds a file of more than %d bytes (limit --%s)", limits.FileBytes, FlagFileBytes)
	}
	if !inFolder {
		return false, broken(nil, "it holds a file outside the chart's folder")
	}
	return path.Clean(file) == "Chart.yaml", nil
}

func parseChartYAML(data []byte) (Metadata, error) {
	var m Metadata
	if err := yaml.Unmarshal(data, &m); err != nil {
		return Metadata{}, broken(err, "its Chart.yaml is not valid YAML for a chart")
	}
	if m.Name == "" || strings.ContainsAny(m.Name, `/\`) {
		return Metadata{}, broken(nil, "its Chart.yaml has no valid name")
	}
	if _, err := semver.NewVersion(m.Version); err != nil {
		return Metadata{}, broken(nil, "its Chart.yaml has no semantic version")
	}
	return m, nil
}

// mustBe fails unless the chart is the one that was asked for. A registry's path ends with the chart's name, and a
// leading "v" is not part of a version.
func (m Metadata) mustBe(name, version string) error {
	name = name[strings.LastIndexByte(name, '/')+1:]
	if m.Name != name || strings.TrimPrefix(m.Version, "v") != strings.TrimPrefix(version, "v") {
		return broken(nil, fmt.Sprintf("it holds another chart or version than %s %s", name, version))
	}
	return nil
}

func broken(err error, why string) error {
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID, err, "the tarball is not a chart: %s", why)
}

func tooLarge(why string, args ...any) error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE, "the tarball is over a limit: "+why, args...)
}
