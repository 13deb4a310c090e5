package blob

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"testing"

	"github.com/stretchr/testify/require"
)

// file is an entry of a tarball that a test builds; Typeflag 0 means a regular file.
type file struct {
	name, content string
	typeflag      byte
	link          string
}

func tarball(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	w := tar.NewWriter(zipped)
	for _, f := range files {
		if f.typeflag == 0 {
			f.typeflag = tar.TypeReg
		}
		require.NoError(t, w.WriteHeader(&tar.Header{
			Name: f.name, Typeflag: f.typeflag, Linkname: f.link, Size: int64(len(f.content)), Mode: 0o644,
		}))
		_, err := w.Write([]byte(f.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, zipped.Close())
	return buf.Bytes()
}

func gzipped(t testing.TB, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	_, err := zipped.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, zipped.Close())
	return buf.Bytes()
}

const demoYAML = "apiVersion: v2\nname: demo\nversion: 1.2.3\nappVersion: 4.5\ndescription: A demo\ndeprecated: true\n"

func demoChart(t testing.TB) []byte {
	t.Helper()
	return tarball(t, file{name: "demo/Chart.yaml", content: demoYAML}, file{name: "demo/values.yaml", content: "a: 1\n"})
}
