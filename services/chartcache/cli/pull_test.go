package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/client"
)

func TestProgressIsABarWithTheTotalOnATerminalAndNothingElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		terminal bool
		want     string
	}{
		"terminal": {terminal: true, want: "" +
			"\r\x1b[Kweb 1.2.3 [                              ]   0 % of 2.0 MB" +
			"\r\x1b[Kweb 1.2.3 [===============               ]  50 % of 2.0 MB" +
			"\r\x1b[Kweb 1.2.3 [==============================] 100 % of 2.0 MB" +
			"\r\x1b[K"},
		"file": {},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			p := newProgress(&out)
			assert.False(t, p.isTerminal)
			p.isTerminal = test.terminal
			p.begin("web 1.2.3", 2_000_000)
			p.add(1_000_000)
			p.add(1) // the same per cent
			p.add(999_999)
			p.end()
			assert.Equal(t, test.want, out.String())
		})
	}
}

func TestOnlyATerminalIsATerminal(t *testing.T) {
	for path, want := range map[string]bool{"/dev/ptmx": true, os.DevNull: false} {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		assert.Equal(t, want, isTerminal(f), path)
		require.NoError(t, f.Close())
	}
	assert.False(t, isTerminal(&bytes.Buffer{}))
}

// archive writes a tarball and returns its path.
func archive(t *testing.T, entries ...tar.Header) string {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, header := range entries {
		if header.Typeflag == 0 {
			header.Size = 4
		}
		require.NoError(t, w.WriteHeader(&header))
		if header.Typeflag == 0 {
			_, err := w.Write([]byte("text"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	require.NoError(t, zipped.Close())
	file := filepath.Join(t.TempDir(), "chart.tgz")
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
	return file
}

func TestUnpackWritesTheFolderOfAChartAndNothingOutsideIt(t *testing.T) {
	for name, test := range map[string]struct {
		entries []tar.Header
		want    string // in the error; empty for none
	}{
		"a chart":                  {entries: []tar.Header{{Name: "web/Chart.yaml"}, {Name: "web/templates/a.yaml"}, {Name: "web/charts/", Typeflag: tar.TypeDir}}},
		"a path that leads out":    {entries: []tar.Header{{Name: "web/../../outside"}}, want: "escapes"},
		"an absolute path":         {entries: []tar.Header{{Name: "/outside"}}, want: "escapes"},
		"a link that leads out":    {entries: []tar.Header{{Name: "web/Chart.yaml"}, {Name: "web/a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}}},
		"a folder of another name": {entries: []tar.Header{{Name: "./other/Chart.yaml"}, {Name: "other/templates/a.yaml"}}},
		"a file without a folder":  {entries: []tar.Header{{Name: "Chart.yaml"}}, want: "escapes"},
		"nothing":                  {want: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			around := t.TempDir()
			destination := filepath.Join(around, "charts")
			require.NoError(t, os.Mkdir(destination, 0o700))
			folder, err := unpack(archive(t, test.entries...), destination, "web")
			left, readErr := os.ReadDir(destination)
			require.NoError(t, readErr)
			if test.want != "" {
				require.ErrorContains(t, err, test.want)
				assert.Empty(t, left)
			} else {
				require.NoError(t, err)
				assert.Len(t, left, 1)
				content, err := os.ReadFile(filepath.Join(folder, "Chart.yaml"))
				require.NoError(t, err)
				assert.Equal(t, "text", string(content))
				assert.NoFileExists(t, filepath.Join(folder, "a"))
			}
			others, err := os.ReadDir(around)
			require.NoError(t, err)
			assert.Len(t, others, 1)
		})
	}
}

func TestUnpackReplacesNothing(t *testing.T) {
	destination := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(destination, "web"), 0o700))
	_, err := unpack(archive(t, tar.Header{Name: "web/Chart.yaml"}), destination, "web")
	require.ErrorContains(t, err, "is there already")
}

func TestTheProvenanceFileIsWrittenLast(t *testing.T) {
	got := client.Downloaded{
		Version: client.ChartVersion{Chart: "web", Version: "1.2.3"}, Provenance: []byte("signed"),
	}
	for name, test := range map[string]struct {
		untar bool
		taken string // a folder that is there before
		want  []string
		fails bool
	}{
		"beside a tarball":         {want: []string{"web-1.2.3.tgz", "web-1.2.3.tgz.prov"}},
		"beside a folder":          {untar: true, want: []string{"web", "web-1.2.3.tgz.prov"}},
		"not without its tarball":  {taken: "web-1.2.3.tgz/x", want: []string{"web-1.2.3.tgz"}, fails: true},
		"not without its folder":   {untar: true, taken: "web", want: []string{"web"}, fails: true},
		"not in place of a folder": {taken: "web-1.2.3.tgz.prov/x", want: []string{"web-1.2.3.tgz", "web-1.2.3.tgz.prov"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			if test.taken != "" {
				require.NoError(t, os.MkdirAll(filepath.Join(folder, test.taken), 0o700))
			}
			_, err := pull{folder: folder, untar: test.untar, provenance: true}.keep(archive(t, tar.Header{Name: "web/Chart.yaml"}), got)
			require.Equal(t, test.fails, err != nil, "%v", err)
			left, err := os.ReadDir(folder)
			require.NoError(t, err)
			var names []string
			for _, entry := range left {
				names = append(names, entry.Name())
			}
			assert.Equal(t, test.want, names)
			if !test.fails {
				info, err := os.Stat(filepath.Join(folder, "web-1.2.3.tgz.prov"))
				require.NoError(t, err)
				assert.Equal(t, fs.FileMode(0o644), info.Mode().Perm())
			}
		})
	}
}

func TestAPullThatFailsLeavesNoFolderThatItMade(t *testing.T) {
	api, err := client.New(client.Config{Target: "passthrough:///nobody", Dialer: func(context.Context, string) (net.Conn, error) {
		return nil, errors.New("nobody is there")
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, api.Close()) }()
	around := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(around, "mine"), 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, folder := range []string{"new", "mine/new/newer", "mine"} {
		p := pull{folder: filepath.Join(around, folder), progress: newProgress(&bytes.Buffer{})}
		_, _, err := p.run(ctx, api, client.ChartRequest{Source: client.Named("apps", "charts"), Chart: "web"})
		require.Error(t, err)
	}
	left, err := os.ReadDir(around)
	require.NoError(t, err)
	require.Len(t, left, 1, "what was there stays")
	left, err = os.ReadDir(filepath.Join(around, "mine"))
	require.NoError(t, err)
	assert.Empty(t, left)
}
