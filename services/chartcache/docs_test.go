package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/client"
)

// exampleFolder is the program that the page about the client shows.
const exampleFolder = "../../chartcache/client/example"

func TestThePageAboutTheClientShowsItsExample(t *testing.T) {
	program, err := os.ReadFile(filepath.Join(exampleFolder, "main.go"))
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/chartcache-client.md")
	require.NoError(t, err)
	assert.Contains(t, string(page), "```go\n"+string(program)+"```\n", "copy main.go into the page")
	assert.LessOrEqual(t, strings.Count(string(program), "\n"), 45, "the page is to be read at a glance")
}

func TestTheExampleOfTheClientListsResolvesAndPulls(t *testing.T) {
	upstream := newExampleRepository(t)
	file := filepath.Join(t.TempDir(), "repositories.yaml")
	require.NoError(t, os.WriteFile(file, []byte("repositories:\n- name: bitnami\n  url: "+upstream.URL+"\n"), 0o600))
	p := startProcess(t, "--data-dir", t.TempDir(), "--repositories", file)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	_, err := p.client(t).Sync(ctx, client.Named("default", "bitnami"))
	require.NoError(t, err)

	folder := t.TempDir()
	example := exec.CommandContext(ctx, build(t, exampleFolder, "example"), p.addresses["grpc"])
	example.Dir = folder
	output, err := example.CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Regexp(t, `^listed redis 20\.1\.0\nresolved 20\.1\.0 sha256:[0-9a-f]{64}\npulled and verified \d+ bytes\n$`, string(output))
	pulled, err := os.ReadFile(filepath.Join(folder, "redis.tgz"))
	require.NoError(t, err)
	assert.Equal(t, chartTarball(t, "redis", "20.1.0"), pulled)
}
