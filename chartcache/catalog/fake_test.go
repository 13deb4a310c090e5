package catalog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// internet is all repositories that a test knows, by URL.
type internet struct {
	mu           sync.Mutex
	repositories map[string]*fakeRepository
	configs      []upstream.Config
}

func newInternet() *internet { return &internet{repositories: map[string]*fakeRepository{}} }

// add makes a repository. One of an oci URL has tags, others an index.
func (n *internet) add(url string) *fakeRepository {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &fakeRepository{oci: strings.HasPrefix(url, "oci:"), charts: map[string]map[string][]byte{}}
	n.repositories[url] = r
	return r
}

func (n *internet) newUpstream(cfg upstream.Config) (upstream.Upstream, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.configs = append(n.configs, cfg)
	r, ok := n.repositories[cfg.URL]
	if !ok {
		return nil, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, "no such host")
	}
	return r, nil
}

func (n *internet) lastConfig() upstream.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.configs[len(n.configs)-1]
}

// fakeRepository is an upstream.Upstream in memory.
type fakeRepository struct {
	oci bool

	mu sync.Mutex
	// charts are tarballs by chart and version.
	charts map[string]map[string][]byte
	// withDigests makes the index name digests.
	withDigests bool
	// text replaces the index.
	text string
	// etag is sent with the index; a request that has it gets Unchanged.
	etag string
	// fault fails every call, fetchFault fetches only, headFault questions for the digest of a manifest only.
	fault, fetchFault, headFault error
	// broken versions cannot be described.
	broken map[string]error
	// gate, when set, holds every call until it is closed or the context ends.
	gate chan struct{}
	// catalogue makes a registry list charts that were not asked for.
	catalogue bool

	lists, versionCalls, describes, heads, fetches int
}

func (r *fakeRepository) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// push publishes a chart version with distinct bytes per content.
func (r *fakeRepository) push(t testing.TB, chart, version, content string) string {
	t.Helper()
	data := tarball(t, chart[strings.LastIndexByte(chart, '/')+1:], version, content)
	r.set(func() {
		if r.charts[chart] == nil {
			r.charts[chart] = map[string][]byte{}
		}
		r.charts[chart][version] = data
		r.etag = ""
	})
	return digestOf(data)
}

func (r *fakeRepository) count(of *int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *of
}

// enter counts a call, waits at the gate, and fails if the repository is to fail.
func (r *fakeRepository) enter(ctx context.Context, counter *int) error {
	r.mu.Lock()
	*counter++
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return fmt.Errorf("wait for upstream: %w", context.Cause(ctx))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

func (r *fakeRepository) List(ctx context.Context, since upstream.Validators, known []string) (upstream.Listing, error) {
	if err := r.enter(ctx, &r.lists); err != nil {
		return upstream.Listing{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.oci {
		tags := map[string][]string{}
		for chart, versions := range r.charts {
			if r.catalogue || slices.Contains(known, chart) {
				tags[chart] = slices.Sorted(maps.Keys(versions))
			}
		}
		return upstream.Listing{Charts: tags}, nil
	}
	if r.etag != "" && since.ETag == r.etag {
		return upstream.Listing{Unchanged: true}, nil
	}
	return upstream.Listing{
		Validators: upstream.Validators{ETag: r.etag}, Index: io.NopCloser(strings.NewReader(r.index())),
	}, nil
}

func (r *fakeRepository) index() string {
	if r.text != "" {
		return r.text
	}
	var b strings.Builder
	b.WriteString("apiVersion: v1\nentries:\n")
	for _, chart := range slices.Sorted(maps.Keys(r.charts)) {
		fmt.Fprintf(&b, "  %s:\n", chart)
		for _, version := range slices.Sorted(maps.Keys(r.charts[chart])) {
			fmt.Fprintf(&b, "  - name: %s\n    version: %q\n    description: About %s.\n    urls: [%s-%s.tgz]\n", chart, version, chart, chart, version)
			if r.withDigests {
				fmt.Fprintf(&b, "    digest: %s\n", strings.TrimPrefix(digestOf(r.charts[chart][version]), "sha256:"))
			}
		}
	}
	return b.String()
}

func (r *fakeRepository) Versions(ctx context.Context, chart string) ([]string, error) {
	if !r.oci {
		return nil, upstream.ErrNotListable
	}
	if err := r.enter(ctx, &r.versionCalls); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	versions, ok := r.charts[chart]
	if !ok {
		return nil, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, "no chart %s", chart)
	}
	return slices.Sorted(maps.Keys(versions)), nil
}

func (r *fakeRepository) Describe(ctx context.Context, c upstream.Chart) (digest, manifest string, created time.Time, err error) {
	if !r.oci {
		return c.Digest, "", time.Time{}, nil
	}
	if err := r.enter(ctx, &r.describes); err != nil {
		return "", "", time.Time{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.broken[c.Version]; err != nil {
		return "", "", time.Time{}, err
	}
	data, ok := r.charts[c.Name][c.Version]
	if !ok {
		return "", "", time.Time{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND, "no manifest")
	}
	return digestOf(data), manifestOf(data), time.Time{}, nil
}

func (r *fakeRepository) ManifestDigest(ctx context.Context, c upstream.Chart) (string, error) {
	if !r.oci {
		return "", nil
	}
	if err := r.enter(ctx, &r.heads); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.headFault != nil {
		return "", r.headFault
	}
	data, ok := r.charts[c.Name][c.Version]
	if !ok {
		return "", cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND, "no manifest")
	}
	return manifestOf(data), nil
}

func (r *fakeRepository) Fetch(ctx context.Context, c upstream.Chart) (upstream.Download, error) {
	if err := r.enter(ctx, &r.fetches); err != nil {
		return upstream.Download{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetchFault != nil {
		return upstream.Download{}, r.fetchFault
	}
	data, ok := r.charts[c.Name][c.Version]
	if !ok {
		return upstream.Download{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND, "no tarball")
	}
	d := upstream.Download{Body: io.NopCloser(bytes.NewReader(data)), SizeBytes: int64(len(data)), MediaType: "application/gzip"}
	if r.oci {
		d.Digest, d.ManifestDigest, d.Provenance = digestOf(data), manifestOf(data), []byte("signed")
	}
	return d, nil
}

func tarball(t testing.TB, chart, version, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, file := range [][2]string{
		{"Chart.yaml", fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\nappVersion: app-%s\n", chart, version, version)},
		{"values.yaml", content},
	} {
		name, text := file[0], file[1]
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: chart + "/" + name, Mode: 0o644, Size: int64(len(text))}))
		_, err := archive.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, zip.Close())
	return out.Bytes()
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func manifestOf(data []byte) string { return digestOf(append([]byte("manifest of "), data...)) }

func failure(reason chartcachev1.ErrorReason, message string) *cacheerr.Error {
	return cacheerr.New(reason, "%s", message)
}
