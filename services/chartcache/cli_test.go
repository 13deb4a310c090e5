package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/client"
)

// command runs chartcache with arguments, as a shell would, and returns what it printed.
func command(ctx context.Context, t *testing.T, args ...string) (out, errs string, err error) {
	t.Helper()
	root := newCommand(func(string) (string, bool) { return "", false }, io.Discard)
	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(args)
	err = root.ExecuteContext(ctx)
	return stdout.String(), stderr.String(), err
}

func TestTheCommandsAskAServer(t *testing.T) {
	upstream := newRepository(t)
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", writeRepositories(t, upstream.URL, "hunter2"))
	server := "--server=" + p.addresses["grpc"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := func(args ...string) (out, errs string) {
		t.Helper()
		out, errs, err := command(ctx, t, append(args, server)...)
		require.NoError(t, err, "%v", args)
		assert.NotContains(t, out+errs, "hunter2")
		return out, errs
	}
	decode := func(to any, args ...string) {
		t.Helper()
		out, _ := run(append(args, "-o", "json")...)
		require.NoError(t, json.Unmarshal([]byte(out), to), out)
	}

	out, _ := run("sync", "default/charts")
	assert.Regexp(t, `(?m)^default +charts +http +synced +1 +1 +20..-.*Z +http://127.0.0.1:\d+ +-$`, out)
	_, errs := run("sync", "default/charts")
	assert.Contains(t, errs, "Nothing changed")

	var repositories []struct {
		Namespace, Name, State string
		Charts                 int
		LastError              *struct{}
	}
	decode(&repositories, "repositories")
	require.Len(t, repositories, 1)
	assert.Equal(t, "synced", repositories[0].State)
	assert.Nil(t, repositories[0].LastError)
	out, _ = run("repositories", "other")
	assert.Equal(t, 1, strings.Count(out, "\n"), "nothing but the titles: %s", out)

	out, _ = run("charts", "default/charts", "we")
	assert.Regexp(t, `(?m)^web +1\.2\.3 +- +1 +$`, out)
	var charts []struct{ Name string }
	decode(&charts, "charts", "default/charts", "nothing")
	assert.Empty(t, charts)

	out, _ = run("versions", "default/charts", "web", "--constraint", "^1")
	assert.Regexp(t, `(?m)^1\.2\.3 +- +- +sha256:[0-9a-f]{64}$`, out)

	var resolved struct {
		Version, Digest, NewestVersion string
		Stale                          bool
	}
	decode(&resolved, "resolve", "default/charts", "web", "^1.0.0")
	assert.Equal(t, "1.2.3", resolved.Version)
	assert.Equal(t, "1.2.3", resolved.NewestVersion)
	out, _ = run("resolve", "default/charts", "web", "--digest", resolved.Digest)
	assert.Contains(t, out, resolved.Digest)

	out, _ = run("show", "chart", "default/charts", "web")
	assert.Equal(t, "apiVersion: v2\nname: web\nversion: 1.2.3\n", out)

	folder := t.TempDir()
	out, errs = run("pull", "default/charts", "web", "^1", "-d", folder)
	assert.Equal(t, filepath.Join(folder, "web-1.2.3.tgz")+"\n", out)
	assert.Equal(t, fmt.Sprintf("Pulled web 1.2.3, %d bytes, verified: %s\n", len(upstream.tarball), resolved.Digest), errs, "no progress where nobody watches")
	data, err := os.ReadFile(filepath.Join(folder, "web-1.2.3.tgz"))
	require.NoError(t, err)
	assert.Equal(t, upstream.tarball, data)
	_, _, err = command(ctx, t, "pull", "default/charts", "web", "-d", folder, "--prov", server)
	require.ErrorContains(t, err, "has no provenance file")
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, left, 1, "nothing is left of what failed")

	var pulled struct {
		Path, Chart, Version, Digest string
		SizeBytes                    int
	}
	decode(&pulled, "pull", "default/charts", "web", "-d", folder, "--untar")
	assert.Equal(t, filepath.Join(folder, "web"), pulled.Path)
	assert.Equal(t, resolved.Digest, pulled.Digest)
	assert.Len(t, upstream.tarball, pulled.SizeBytes)
	assert.FileExists(t, filepath.Join(folder, "web", "Chart.yaml"))
}

func TestWatchPrintsEventsUntilItIsToldToEnd(t *testing.T) {
	upstream := newRepository(t)
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", writeRepositories(t, upstream.URL, "hunter2"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := p.client(t).Sync(ctx, client.Named("default", "charts"))
	require.NoError(t, err)
	for _, format := range []string{"table", "json"} {
		out := &until{done: cancelAfter(ctx, t), word: "complete"}
		root := newCommand(func(string) (string, bool) { return "", false }, io.Discard)
		root.SetOut(out)
		root.SetArgs([]string{"watch", "--server", p.addresses["grpc"], "-o", format})
		require.NoError(t, root.ExecuteContext(out.done.ctx))
		assert.Contains(t, out.text.String(), "charts")
		assert.Contains(t, out.text.String(), "synced")
	}
}

// stoppable is a context and what ends it.
type stoppable struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func cancelAfter(ctx context.Context, t *testing.T) stoppable {
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	return stoppable{ctx: ctx, cancel: cancel}
}

// until keeps what is written and ends a context when a word was.
type until struct {
	text bytes.Buffer
	word string
	done stoppable
}

func (u *until) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(u.word)) {
		u.done.cancel()
	}
	return u.text.Write(p)
}

func TestTheCommandsSayWhatIsWrong(t *testing.T) {
	upstream := newRepository(t)
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", writeRepositories(t, upstream.URL, "hunter2"))
	server := "--server=" + p.addresses["grpc"]
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no server":               {[]string{"repositories", "--server=127.0.0.1:1", "--timeout=3s"}, "no chartcache answers at 127.0.0.1:1"},
		"a repository by half":    {[]string{"charts", "charts", server}, "NAMESPACE/NAME"},
		"a repository that lacks": {[]string{"charts", "default/other", server}, "default/other"},
		"a chart that lacks":      {[]string{"versions", "default/charts", "other", server}, "other"},
		"a version that lacks":    {[]string{"resolve", "default/charts", "web", "^9", server}, "^9"},
		"a wrong constraint":      {[]string{"resolve", "default/charts", "web", "^^", server}, "^^"},
		"a wrong format":          {[]string{"repositories", "-o", "xml", server}, "--output must be table or json"},
		"a wrong part":            {[]string{"show", "icon", "default/charts", "web", server}, "the part must be"},
		"too few arguments":       {[]string{"pull", "default/charts"}, "accepts between 2 and 3 arg(s)"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, _, err := command(ctx, t, test.args...)
			assert.ErrorContains(t, err, test.want)
		})
	}
}
