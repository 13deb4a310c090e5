package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// build compiles a command of the product and returns its path.
func build(t *testing.T, folder, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./"+folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return program
}

// newExampleRepository serves the charts that the examples name.
func newExampleRepository(t *testing.T) *httptest.Server {
	t.Helper()
	files := map[string][]byte{}
	index := "apiVersion: v1\nentries:\n"
	for _, c := range []struct{ name, version string }{{"redis", "20.1.0"}, {"widgets", "1.2.3"}} {
		file := c.name + "-" + c.version + ".tgz"
		files["/"+file] = chartTarball(t, c.name, c.version)
		sum := sha256.Sum256(files["/"+file])
		index += fmt.Sprintf("  %s:\n  - apiVersion: v2\n    name: %s\n    version: %s\n    digest: %s\n    urls:\n    - %s\n",
			c.name, c.name, c.version, hex.EncodeToString(sum[:]), file)
	}
	files["/index.yaml"] = []byte(index)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	return server
}

// shell runs lines as people type them, with a program in the path and a home of its own.
type shell struct {
	home string
	env  []string
}

func newShell(t *testing.T, program string, env ...string) shell {
	t.Helper()
	home := t.TempDir()
	return shell{home: home, env: append([]string{"HOME=" + home, "PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH")}, env...)}
}

func (s shell) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-ec", line)
	cmd.Dir, cmd.Env = s.home, s.env
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// examples returns the examples of all commands, by command.
func examples(root *cobra.Command) map[string][]string {
	lines := map[string][]string{}
	for _, cmd := range root.Commands() {
		for _, line := range strings.Split(cmd.Example, "\n") {
			lines[cmd.Name()] = append(lines[cmd.Name()], strings.TrimSpace(line))
		}
	}
	return lines
}

func TestTheExamplesOfTheHelpWork(t *testing.T) {
	upstream := newExampleRepository(t)
	file := filepath.Join(t.TempDir(), "repositories.yaml")
	repositories := "repositories:\n- name: bitnami\n  url: " + upstream.URL + "\n"
	require.NoError(t, os.WriteFile(file, []byte(repositories), 0o600))
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", file)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	places := strings.NewReplacer("https://charts.example.com", upstream.URL, "oci://registry.example.com/charts", upstream.URL)
	program := build(t, ".", "chartcache")
	ask := newShell(t, program, "CHARTCACHE_SERVER="+p.addresses["grpc"])
	require.NoError(t, ask.command(ctx, "chartcache sync default/bitnami").Run())
	require.NoError(t, ask.command(ctx, "chartcache sync "+upstream.URL).Run())

	all := examples(newCommand(func(string) (string, bool) { return "", false }, io.Discard))
	for _, name := range []string{"serve", "repositories", "charts", "versions", "resolve", "show", "pull", "sync", "watch", "version"} {
		require.NotEmpty(t, all[name], name)
	}
	for name, lines := range all {
		for _, line := range lines {
			t.Run(line, func(t *testing.T) {
				require.True(t, strings.HasPrefix(line, "chartcache "+name), "an example of %s", name)
				switch name {
				case "serve":
					serveExample(ctx, t, newShell(t, program), line, repositories)
				case "watch":
					watchExample(ctx, t, ask, line)
				default:
					output, err := ask.command(ctx, places.Replace(line)).CombinedOutput()
					require.NoError(t, err, "%s", output)
				}
			})
		}
	}
	for _, path := range []string{"redis-20.1.0.tgz", "charts/redis/Chart.yaml", "widgets-1.2.3.tgz", "values.yaml"} {
		assert.FileExists(t, filepath.Join(ask.home, path))
	}
}

// serveExample starts a server, waits until it runs, and stops it.
func serveExample(ctx context.Context, t *testing.T, sh shell, line, repositories string) {
	t.Helper()
	sh.env = append(sh.env, "CHARTCACHE_GRPC_BIND_ADDRESS=127.0.0.1:0", "CHARTCACHE_METRICS_BIND_ADDRESS=127.0.0.1:0",
		"CHARTCACHE_HEALTH_PROBE_BIND_ADDRESS=127.0.0.1:0")
	config := filepath.Join(sh.home, ".config", "helm")
	require.NoError(t, os.MkdirAll(config, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(config, "repositories.yaml"), []byte(repositories), 0o600))
	runUntil(ctx, t, sh.command(ctx, "exec "+line), `"running"`)
	assert.DirExists(t, filepath.Join(sh.home, ".cache", "chartcache", "catalog"))
}

// watchExample watches until the state of a repository came.
func watchExample(ctx context.Context, t *testing.T, sh shell, line string) {
	t.Helper()
	if strings.Contains(line, "|") {
		// The pipe ends with the watch, and grep tells when it got it.
		sh.env = append(sh.env, "CHARTCACHE_TIMEOUT=2s")
		output, err := sh.command(ctx, line).CombinedOutput()
		require.NoError(t, err)
		assert.Contains(t, string(output), "bitnami")
		return
	}
	runUntil(ctx, t, sh.command(ctx, "exec "+line), "bitnami")
}

// runUntil runs a command until it prints a word, and tells it to end.
func runUntil(ctx context.Context, t *testing.T, cmd *exec.Cmd, word string) {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	defer reader.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	require.NoError(t, cmd.Start())
	require.NoError(t, writer.Close())
	var all bytes.Buffer
	told := false
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if !told && strings.Contains(lines.Text(), word) {
			told = true
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	require.NoError(t, cmd.Wait(), all.String())
	require.True(t, told, all.String())
	require.NoError(t, ctx.Err())
}
