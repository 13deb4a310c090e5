package cli

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// unpack writes the folder of a chart below a destination and returns its path. The server has checked the tarball against
// its bounds on sizes, files and paths; no path or link can lead outside the destination. The first element of its paths is the
// chart's folder, whatever it is called there.
func unpack(file, destination, chart string) (folder string, err error) {
	folder = filepath.Join(destination, chart)
	if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("unpack the chart: %s is there already; move it away, or use another --destination", folder)
	}
	// It gets its name when it is whole.
	temporary, err := os.MkdirTemp(destination, ".chartcache-*")
	if err != nil {
		return "", fmt.Errorf("unpack the chart: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	if err := unpackInto(temporary, chart, file); err != nil {
		return "", fmt.Errorf("unpack the chart: %w", err)
	}
	if err := os.Rename(filepath.Join(temporary, chart), folder); err != nil {
		return "", fmt.Errorf("unpack the chart: %w", err)
	}
	return folder, nil
}

// unpackInto writes the files of a tarball below a chart's folder in another one.
func unpackInto(folder, chart, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue // folders come with their files, and charts have nothing else
		}
		name := path.Clean(header.Name)
		_, inside, ok := strings.Cut(name, "/")
		if !ok || !filepath.IsLocal(name) {
			return fmt.Errorf("the path %q escapes the folder of the chart", header.Name)
		}
		if err := unpackFile(root, path.Join(chart, inside), archive); err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}
