package blob

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

const (
	chartInvalid   = chartcachev1.ErrorReason_ERROR_REASON_CHART_INVALID
	tooLargeReason = chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE
)

func TestInspectChart(t *testing.T) {
	chartYAML := file{name: "demo/Chart.yaml", content: demoYAML}
	cut := demoChart(t)
	tests := []struct {
		name   string
		input  []byte
		limits ChartLimits
		want   Metadata
		reason chartcachev1.ErrorReason
		says   string
	}{
		{
			name: "a chart gives its metadata", input: demoChart(t),
			want: Metadata{APIVersion: "v2", Name: "demo", Version: "1.2.3", AppVersion: "4.5", Description: "A demo", Deprecated: true},
		},
		{
			name:  "a folder that is not named like the chart is fine, as for Helm",
			input: tarball(t, file{name: "demo-main/", typeflag: tar.TypeDir}, file{name: "demo-main/Chart.yaml", content: "name: demo\nversion: 1.0.0"}),
			want:  Metadata{Name: "demo", Version: "1.0.0"},
		},
		{
			name:  "the Chart.yaml of a dependency is not the chart's",
			input: tarball(t, file{name: "demo/charts/other/Chart.yaml", content: "name: other\nversion: 9.0.0"}, chartYAML),
			want:  Metadata{APIVersion: "v2", Name: "demo", Version: "1.2.3", AppVersion: "4.5", Description: "A demo", Deprecated: true},
		},
		{name: "a web page is refused", input: []byte("<html>"), reason: chartInvalid, says: "not gzip"},
		{name: "nothing is refused", input: nil, reason: chartInvalid, says: "not gzip"},
		{name: "gzip of something else is refused", input: gzipped(t, strings.Repeat("x", 2000)), reason: chartInvalid, says: "not a tar"},
		{name: "an empty archive is refused", input: tarball(t), reason: chartInvalid, says: "no Chart.yaml"},
		{name: "a truncated tarball is refused", input: cut[:len(cut)-6], reason: chartInvalid},
		{name: "an archive without Chart.yaml is refused", input: tarball(t, file{name: "demo/values.yaml"}), reason: chartInvalid, says: "no Chart.yaml"},
		{name: "two charts are refused", input: tarball(t, chartYAML, file{name: "b/Chart.yaml", content: demoYAML}), reason: chartInvalid, says: "more than one"},
		{name: "a second Chart.yaml under a disguise is refused", input: tarball(t, chartYAML, file{name: "demo/./Chart.yaml", content: demoYAML}), reason: chartInvalid, says: "more than one"},
		{name: "a path that climbs out is refused", input: tarball(t, chartYAML, file{name: "demo/../../etc/passwd"}), reason: chartInvalid, says: "leads out"},
		{name: "a path that climbs out with backslashes is refused", input: tarball(t, chartYAML, file{name: `demo\..\..\x`}), reason: chartInvalid, says: "leads out"},
		{name: "an absolute path is refused", input: tarball(t, chartYAML, file{name: "/etc/passwd"}), reason: chartInvalid, says: "leads out"},
		{name: "an absolute path inside the folder is refused", input: tarball(t, chartYAML, file{name: "demo//etc/passwd"}), reason: chartInvalid, says: "leads out"},
		{name: "a drive letter is refused", input: tarball(t, chartYAML, file{name: "C:/x"}), reason: chartInvalid, says: "leads out"},
		{name: "a folder that climbs out is refused", input: tarball(t, chartYAML, file{name: "../x/", typeflag: tar.TypeDir}), reason: chartInvalid, says: "leads out"},
		{name: "a symbolic link is refused", input: tarball(t, chartYAML, file{name: "demo/x", typeflag: tar.TypeSymlink, link: "/etc/passwd"}), reason: chartInvalid, says: "link"},
		{name: "a hard link is refused", input: tarball(t, chartYAML, file{name: "demo/x", typeflag: tar.TypeLink, link: "demo/Chart.yaml"}), reason: chartInvalid, says: "link"},
		{name: "a device is refused", input: tarball(t, chartYAML, file{name: "demo/x", typeflag: tar.TypeChar}), reason: chartInvalid, says: "special"},
		{name: "a file at the top is refused", input: tarball(t, chartYAML, file{name: "README.md"}), reason: chartInvalid, says: "outside"},
		{name: "a very long path is refused", input: tarball(t, chartYAML, file{name: "demo/" + strings.Repeat("x/", 600) + "x"}), reason: chartInvalid, says: "path of more than 1024"},
		{name: "a Chart.yaml that is not YAML is refused", input: tarball(t, file{name: "d/Chart.yaml", content: "\t{"}), reason: chartInvalid, says: "YAML"},
		{name: "a Chart.yaml without name is refused", input: tarball(t, file{name: "d/Chart.yaml", content: "version: 1.0.0"}), reason: chartInvalid, says: "name"},
		{name: "a name with a slash is refused", input: tarball(t, file{name: "d/Chart.yaml", content: "name: ../x\nversion: 1.0.0"}), reason: chartInvalid, says: "name"},
		{name: "a version that is not semantic is refused", input: tarball(t, file{name: "d/Chart.yaml", content: "name: d\nversion: newest"}), reason: chartInvalid, says: "version"},
		{name: "too many files name the limit", input: demoChart(t), limits: ChartLimits{Files: 1}, reason: tooLargeReason, says: "1 files (limit --max-chart-files)"},
		{name: "a large file names the limit", input: demoChart(t), limits: ChartLimits{FileBytes: 10}, reason: tooLargeReason, says: "--max-chart-file-bytes"},
		{name: "a gzip bomb names the limit", input: tarball(t, chartYAML, file{name: "demo/zeros", content: strings.Repeat("\x00", 1<<20)}), limits: ChartLimits{UnpackedBytes: 1 << 16}, reason: tooLargeReason, says: "--max-chart-unpacked-bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := InspectChart(bytes.NewReader(tt.input), tt.limits)
			if tt.reason == 0 {
				require.NoError(t, err)
				assert.Equal(t, tt.want, got)
				return
			}
			require.ErrorContains(t, err, tt.says)
			assert.Equal(t, tt.reason, cacheerr.ReasonOf(err), "%v", err)
		})
	}
}

func TestInspectChartPassesOnTheErrorOfItsSource(t *testing.T) {
	broken := errors.New("disk on fire")
	whole := demoChart(t)
	_, err := InspectChart(io.MultiReader(bytes.NewReader(whole[:40]), iotest.ErrReader(broken)), ChartLimits{})
	require.ErrorIs(t, err, broken)
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, cacheerr.ReasonOf(err))
}

func TestAChartMustBeTheOneThatWasAskedFor(t *testing.T) {
	m := Metadata{Name: "demo", Version: "1.2.3"}
	tests := []struct {
		name, chart, version string
		ok                   bool
	}{
		{"the same name and version", "demo", "1.2.3", true},
		{"a registry path that ends with the name", "team/demo", "1.2.3", true},
		{"a leading v", "demo", "v1.2.3", true},
		{"another name", "other", "1.2.3", false},
		{"another version", "demo", "1.2.4", false},
		{"other build metadata", "demo", "1.2.3+x", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := m.mustBe(tt.chart, tt.version)
			if tt.ok {
				require.NoError(t, err)
			} else {
				assert.Equal(t, chartInvalid, cacheerr.ReasonOf(err))
			}
		})
	}
}

func FuzzInspectChart(f *testing.F) {
	f.Add(demoChart(f))
	f.Add(tarball(f, file{name: `demo\Chart.yaml`, content: demoYAML}))
	f.Add(tarball(f, file{name: "demo/x", typeflag: tar.TypeSymlink, link: "y"}))
	f.Add(gzipped(f, "not a tar"))
	f.Add([]byte{})
	limits := ChartLimits{UnpackedBytes: 1 << 20, FileBytes: 1 << 16, Files: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := InspectChart(bytes.NewReader(data), limits)
		if err != nil {
			assert.Contains(t, []chartcachev1.ErrorReason{chartInvalid, tooLargeReason}, cacheerr.ReasonOf(err))
			assert.Zero(t, m)
			return
		}
		assert.NotEmpty(t, m.Name)
		assert.NotEmpty(t, m.Version)
	})
}

// FuzzChartEntries varies the entries inside a well-formed archive, which random bytes rarely reach.
func FuzzChartEntries(f *testing.F) {
	f.Add("demo/Chart.yaml", demoYAML, byte(tar.TypeReg))
	f.Add("../Chart.yaml", demoYAML, byte(tar.TypeReg))
	f.Add(`a\..\Chart.yaml`, "name: [", byte(tar.TypeSymlink))
	f.Fuzz(func(t *testing.T, name, content string, typeflag byte) {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		header := &tar.Header{Name: name, Typeflag: typeflag, Size: int64(len(content))}
		if w.WriteHeader(header) != nil {
			t.Skip("not a header that tar can write")
		}
		_, _ = io.WriteString(w, content)
		if w.Close() != nil {
			t.Skip("not an archive that tar can write")
		}
		m, err := InspectChart(bytes.NewReader(gzipped(t, buf.String())), ChartLimits{})
		if err != nil {
			assert.Contains(t, []chartcachev1.ErrorReason{chartInvalid, tooLargeReason}, cacheerr.ReasonOf(err))
			return
		}
		assert.NotContains(t, m.Name, "/")
	})
}

// countedReader counts what is read.
type countedReader struct {
	r io.Reader
	n int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func TestATarballOfAHundredThousandEntriesIsRefusedAtItsTenThousandth(t *testing.T) {
	// Members of gzip follow each other: one of a thousand entries, without the end of the archive, a hundred times.
	var entries, data bytes.Buffer
	w := tar.NewWriter(&entries)
	for i := range 1000 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("demo/templates/%d.yaml", i), Mode: 0o644}))
	}
	member := gzipped(t, entries.String())
	for range 100 {
		data.Write(member)
	}
	source := &countedReader{r: &data}
	size := int64(data.Len())
	_, err := InspectChart(source, ChartLimits{})
	require.ErrorContains(t, err, "10000 files (limit --max-chart-files)")
	assert.Equal(t, tooLargeReason, cacheerr.ReasonOf(err))
	assert.Less(t, source.n, size/5, "the rest is not read")
}
