package charts

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// maxChartYAML bounds the Chart.yaml of an archive, in bytes.
const maxChartYAML = 1 << 20

// entry is one chart version of an index: what Chart.yaml says, and where the archive is.
type entry map[string]any

// index is the content of an index.yaml.
type index struct {
	APIVersion string             `json:"apiVersion"`
	Entries    map[string][]entry `json:"entries"`
	Generated  string             `json:"generated"`
}

// archive identifies one version of a file, so that unchanged archives are read once.
type archive struct {
	path    string
	size    int64
	changed time.Time
}

// listArchives returns the chart archives of a folder, by name.
func listArchives(dir string) ([]archive, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list charts: %w", err)
	}
	var archives []archive
	for _, file := range files {
		if file.IsDir() || !strings.HasSuffix(file.Name(), ".tgz") {
			continue
		}
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list charts: %w", err)
		}
		archives = append(archives, archive{path: filepath.Join(dir, file.Name()), size: info.Size(), changed: info.ModTime()})
	}
	return archives, nil
}

// readEntry makes the index entry of an archive, with an address relative to the index.
func readEntry(a archive) (entry, error) {
	f, err := os.Open(a.path)
	if err != nil {
		return nil, fmt.Errorf("open chart: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	e, err := parseArchive(io.TeeReader(f, h))
	if err != nil {
		return nil, fmt.Errorf("read chart %s: %w", filepath.Base(a.path), err)
	}
	// The metadata stands at the front; the digest is that of the whole file.
	if _, err := io.Copy(h, f); err != nil {
		return nil, fmt.Errorf("read chart %s: %w", filepath.Base(a.path), err)
	}
	e["digest"] = hex.EncodeToString(h.Sum(nil))
	e["created"] = a.changed.UTC().Format(time.RFC3339Nano)
	e["urls"] = []string{filepath.Base(a.path)}
	return e, nil
}

// parseArchive returns the content of the Chart.yaml of a chart archive.
func parseArchive(r io.Reader) (entry, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("not a gzip file: %w", err)
	}
	files := tar.NewReader(unzipped)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("no Chart.yaml in it")
		}
		if err != nil {
			return nil, fmt.Errorf("not a tar archive: %w", err)
		}
		// The chart's own, not that of a dependency below charts/.
		if dir, name, _ := strings.Cut(header.Name, "/"); dir == "" || name != "Chart.yaml" {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(files, maxChartYAML+1))
		if err != nil {
			return nil, fmt.Errorf("read Chart.yaml: %w", err)
		}
		if len(data) > maxChartYAML {
			return nil, fmt.Errorf("file Chart.yaml is over %d bytes", maxChartYAML)
		}
		var e entry
		if err := yaml.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("parse Chart.yaml: %w", err)
		}
		name, _ := e["name"].(string)
		version, _ := e["version"].(string)
		if name == "" || version == "" {
			return nil, errors.New("no name or version in Chart.yaml")
		}
		return e, nil
	}
}

// encodeIndex writes an index in the layout of Helm, newest archive of a chart first.
func encodeIndex(entries []entry, generated time.Time) ([]byte, error) {
	out := index{APIVersion: "v1", Entries: map[string][]entry{}, Generated: generated.UTC().Format(time.RFC3339Nano)}
	for _, e := range entries {
		name, _ := e["name"].(string)
		out.Entries[name] = append(out.Entries[name], e)
	}
	for _, versions := range out.Entries {
		sort.SliceStable(versions, func(i, j int) bool {
			return fmt.Sprint(versions[i]["created"]) > fmt.Sprint(versions[j]["created"])
		})
	}
	data, err := yaml.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	return data, nil
}
