package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ketches/helm-operator/chartcache/client"
)

func newPull() *cobra.Command {
	var c connection
	var digest string
	var p pull
	cmd := &cobra.Command{
		Use:   "pull REPOSITORY CHART [VERSION]",
		Short: "Download a chart",
		Long: "Download the tarball of a chart into a folder, as CHART-VERSION.tgz, and verify its digest. A line that breaks is resumed.\n" +
			"It prints the path of what it wrote, and on standard error what that is.",
		Example: "  chartcache pull default/bitnami redis \"^20.0.0\"\n" +
			"  chartcache pull default/bitnami redis --untar -d charts\n" +
			"  chartcache pull oci://registry.example.com/charts widgets 1.2.3 -o json",
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.runChart(cmd, args, digest, func(ctx context.Context, api *client.Client, request client.ChartRequest) error {
				p.progress = newProgress(cmd.ErrOrStderr())
				got, path, err := p.run(ctx, api, request)
				if err != nil {
					return err
				}
				return c.printPulled(cmd, got, path)
			})
		},
	}
	c.addFlags(cmd, asTable, asJSON)
	addDigest(cmd, &digest)
	cmd.Flags().StringVarP(&p.folder, "destination", "d", ".", "Folder to write to; it is made when it is missing.")
	cmd.Flags().BoolVar(&p.untar, "untar", false, "Write the chart's folder in place of its tarball; fail when it is there already.")
	cmd.Flags().BoolVar(&p.provenance, "prov", false, "Write the provenance file beside the chart; fail when there is none.")
	return cmd
}

// pulled is what was pulled, as JSON.
type pulled struct {
	version
	Path      string `json:"path"`
	SizeBytes int64  `json:"sizeBytes"`
}

func (c *connection) printPulled(cmd *cobra.Command, got client.Downloaded, path string) error {
	if c.output == asJSON {
		return printJSON(cmd.OutOrStdout(), pulled{version: versionOf(got.Version), Path: path, SizeBytes: got.SizeBytes})
	}
	note(cmd.ErrOrStderr(), "Pulled %s %s, %d bytes, verified: %s", got.Version.Chart, got.Version.Version, got.SizeBytes, got.Version.Digest)
	_, err := fmt.Fprintln(cmd.OutOrStdout(), path)
	return err
}

// pull is one download.
type pull struct {
	folder            string
	untar, provenance bool
	progress          *progress
}

// run writes the tarball to a temporary file, which gets its name, or is unpacked, when it is whole and verified.
func (p pull) run(ctx context.Context, api *client.Client, request client.ChartRequest) (got client.Downloaded, path string, err error) {
	made := missing(p.folder)
	defer func() {
		if err != nil {
			removeEmpty(made)
		}
	}()
	if err := os.MkdirAll(p.folder, 0o755); err != nil { //nolint:gosec // charts are for everybody, as those of helm pull
		return got, "", fmt.Errorf("create the destination: %w", err)
	}
	f, err := os.CreateTemp(p.folder, ".chartcache-*.tgz")
	if err != nil {
		return got, "", fmt.Errorf("create a file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has another name when all went well
	got, err = api.Download(ctx, request, writer{file: f, progress: p.progress})
	p.progress.end()
	err = errors.Join(err, f.Close())
	if err != nil {
		return got, "", err
	}
	path, err = p.keep(f.Name(), got)
	return got, path, err
}

// keep gives what was downloaded its place and returns that.
func (p pull) keep(file string, got client.Downloaded) (path string, err error) {
	chart := got.Version.Chart[strings.LastIndexByte(got.Version.Chart, '/')+1:]
	name := chart + "-" + got.Version.Version + ".tgz"
	if name != filepath.Base(name) {
		return "", fmt.Errorf("the chart's name and version make no file name: %q", name)
	}
	path = filepath.Join(p.folder, name)
	if !p.provenance {
		return p.place(file, path, chart)
	}
	if len(got.Provenance) == 0 {
		return "", fmt.Errorf("chart %s %s has no provenance file", got.Version.Chart, got.Version.Version)
	}
	provenance, err := writeTemporary(p.folder, got.Provenance)
	if err != nil {
		return "", fmt.Errorf("write the provenance file: %w", err)
	}
	defer func() { _ = os.Remove(provenance) }() // it has another name when all went well
	// The provenance file comes last: one without its chart, or with another one, would be worse than none.
	placed, err := p.place(file, path, chart)
	if err != nil {
		return "", err
	}
	if err := publish(provenance, path+".prov"); err != nil {
		return "", fmt.Errorf("write the provenance file: %w", err)
	}
	return placed, nil
}

// place unpacks a tarball, or gives it its name, and returns the path of the result.
func (p pull) place(file, path, chart string) (placed string, err error) {
	if p.untar {
		return unpack(file, p.folder, chart)
	}
	if err := publish(file, path); err != nil {
		return "", fmt.Errorf("name the file: %w", err)
	}
	return path, nil
}

// publish gives a temporary file, which only its owner can read, its name and lets everybody read it.
func publish(temporary, path string) error {
	if err := os.Chmod(temporary, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// writeTemporary writes a new file into a folder and returns its name.
func writeTemporary(folder string, content []byte) (name string, err error) {
	f, err := os.CreateTemp(folder, ".chartcache-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// missing returns those of a folder and the folders around it that do not exist, innermost first.
func missing(folder string) []string {
	var all []string
	for {
		if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
			return all
		}
		all = append(all, folder)
		folder = filepath.Dir(folder)
	}
}

// removeEmpty removes folders, innermost first, up to one that others have put something into.
func removeEmpty(folders []string) {
	for _, folder := range folders {
		if os.Remove(folder) != nil {
			return
		}
	}
}

// writer writes a download to a file and shows how much of it has come.
type writer struct {
	file     io.Writer
	progress *progress
}

// Write implements io.Writer.
func (w writer) Write(data []byte) (int, error) {
	n, err := w.file.Write(data)
	w.progress.add(n)
	return n, err
}

// Announce implements client.Announcer.
func (w writer) Announce(d client.Downloaded) {
	w.progress.begin(d.Version.Chart+" "+d.Version.Version, d.SizeBytes)
}
