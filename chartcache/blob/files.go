package blob

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"path"
	"strings"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// File is one file of a chart.
type File struct {
	// Path inside the chart's folder, such as "templates/service.yaml".
	Path string
	// Content as it is.
	Content []byte
}

// ReadFiles returns the files of the chart in a tarball whose path is wanted, in the order of the archive. The tarball must
// be one of a store, which was inspected when it came in; so only what is returned is bounded: it fails with TOO_LARGE when
// that is more than most bytes, with CHART_INVALID when the tarball is not what it was, and with the error of r.
func ReadFiles(r io.Reader, most int64, wanted func(path string) bool) ([]File, error) {
	source := &sourceReader{r: r}
	files, err := readFiles(source, most, wanted)
	if err != nil && source.err != nil {
		// The archive looks broken because its source broke.
		return nil, cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, source.err, "cannot read a tarball")
	}
	return files, err
}

func readFiles(r io.Reader, most int64, wanted func(path string) bool) ([]File, error) {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, broken(err, "it is not gzip")
	}
	limits := ChartLimits{FileBytes: math.MaxInt64}
	var files []File
	left := most
	for archive := tar.NewReader(zipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, broken(err, "it is not a tar archive")
		}
		if _, err := checkEntry(header, limits); err != nil {
			return nil, err
		}
		_, inside, _ := strings.Cut(strings.ReplaceAll(header.Name, `\`, "/"), "/")
		name := path.Clean(inside)
		if header.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(archive, left+1))
		if err != nil {
			return nil, broken(err, "one of its files cannot be read")
		}
		if left -= int64(len(content)); left < 0 {
			return nil, tooLarge("the files that are asked for have more than %d bytes together", most)
		}
		files = append(files, File{Path: name, Content: content})
	}
}
