package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/chartcache/client"
)

// shown are the words for the parts of a chart.
func shown() map[string]client.Part {
	return map[string]client.Part{
		"chart": client.PartChart, "values": client.PartValues, "readme": client.PartReadme, "schema": client.PartSchema, "crds": client.PartCRDs,
	}
}

func newShow() *cobra.Command {
	var c connection
	var digest string
	cmd := &cobra.Command{
		Use:       "show PART REPOSITORY CHART [VERSION]",
		Short:     "Print a part of a chart: chart, values, readme, schema or crds",
		Long:      "Print a part of a chart as it is in the tarball: chart (Chart.yaml), values (values.yaml), readme (README.md), schema\n(values.schema.json) or crds (the files below crds/, as one YAML stream).",
		Example:   "  chartcache show values team-a/bitnami redis \"^20.0.0\" > values.yaml\n  chartcache show crds oci://registry.example.com/charts widgets",
		ValidArgs: []string{"chart", "values", "readme", "schema", "crds"},
		Args:      cobra.RangeArgs(3, 4),
		RunE: func(cmd *cobra.Command, args []string) error {
			part, ok := shown()[args[0]]
			if !ok {
				return fmt.Errorf("the part must be chart, values, readme, schema or crds; not %q", args[0])
			}
			return c.runChart(cmd, args[1:], digest, func(ctx context.Context, api *client.Client, request client.ChartRequest) error {
				detail, err := api.Detail(ctx, request, part)
				if err != nil {
					return err
				}
				return printDetail(cmd.OutOrStdout(), detail)
			})
		},
	}
	c.addFlags(cmd)
	addDigest(cmd, &digest)
	return cmd
}

// printDetail prints the parts that a detail holds.
func printDetail(w io.Writer, d client.Detail) error {
	parts := []string{d.ChartYAML, d.Values, d.Readme, d.Schema}
	for _, f := range d.CRDs {
		parts = append(parts, "---\n# "+f.Path+"\n"+string(f.Content))
	}
	for _, part := range parts {
		if part != "" && !strings.HasSuffix(part, "\n") {
			part += "\n"
		}
		if _, err := io.WriteString(w, part); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

func newPull() *cobra.Command {
	var c connection
	var digest, folder string
	var provenance bool
	cmd := &cobra.Command{
		Use:     "pull REPOSITORY CHART [VERSION]",
		Short:   "Download a chart",
		Long:    "Download the tarball of a chart into a folder, as CHART-VERSION.tgz, and verify its digest. A line that breaks is resumed.",
		Example: "  chartcache pull team-a/bitnami redis \"^20.0.0\"\n  chartcache pull oci://registry.example.com/charts widgets 1.2.3 -d /tmp --prov",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runChart(cmd, args, digest, func(ctx context.Context, api *client.Client, request client.ChartRequest) error {
				p := pull{folder: folder, provenance: provenance, progress: newProgress(cmd.ErrOrStderr())}
				path, err := p.run(ctx, api, request)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
				return err
			})
		},
	}
	c.addFlags(cmd)
	addDigest(cmd, &digest)
	cmd.Flags().StringVarP(&folder, "destination", "d", ".", "Folder to write to.")
	cmd.Flags().BoolVar(&provenance, "prov", false, "Write the provenance file beside the chart; fail when there is none.")
	return cmd
}

// pull is one download.
type pull struct {
	folder     string
	provenance bool
	progress   *progress
}

// run writes the tarball to a temporary file, which gets its name when it is whole and verified.
func (p pull) run(ctx context.Context, api *client.Client, request client.ChartRequest) (path string, err error) {
	f, err := os.CreateTemp(p.folder, ".chartcache-*.tgz")
	if err != nil {
		return "", fmt.Errorf("create a file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has another name when all went well
	got, err := api.Download(ctx, request, io.MultiWriter(f, p.progress))
	p.progress.end()
	err = errors.Join(err, f.Close())
	if err != nil {
		return "", err
	}
	name := got.Version.Chart[strings.LastIndexByte(got.Version.Chart, '/')+1:] + "-" + got.Version.Version + ".tgz"
	if name != filepath.Base(name) {
		return "", fmt.Errorf("the chart's name and version make no file name: %q", name)
	}
	path = filepath.Join(p.folder, name)
	if p.provenance && len(got.Provenance) == 0 {
		return "", fmt.Errorf("chart %s %s has no provenance file", got.Version.Chart, got.Version.Version)
	}
	if err := os.Chmod(f.Name(), 0o644); err != nil {
		return "", fmt.Errorf("make the file readable: %w", err)
	}
	if p.provenance {
		if err := os.WriteFile(path+".prov", got.Provenance, 0o644); err != nil { //nolint:gosec // as the chart: for everybody
			return "", fmt.Errorf("write the provenance file: %w", err)
		}
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", fmt.Errorf("name the file: %w", err)
	}
	return path, nil
}

// progress shows how much of a download has come, on a terminal only.
type progress struct {
	w          io.Writer
	bytes      int64
	shown      int64
	isTerminal bool
}

// everyBytes is how often progress is shown.
const everyBytes = 256 << 10

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.isTerminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// Write counts bytes.
func (p *progress) Write(data []byte) (int, error) {
	p.bytes += int64(len(data))
	if p.isTerminal && p.bytes-p.shown >= everyBytes {
		p.shown = p.bytes
		_, _ = fmt.Fprintf(p.w, "\r%.1f MB", float64(p.bytes)/1e6) // progress is no part of the work
	}
	return len(data), nil
}

// end clears what was shown.
func (p *progress) end() {
	if p.isTerminal && p.shown > 0 {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
