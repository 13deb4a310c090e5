package controller

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Detail reads values.yaml only.
func (c *fakeCache) Detail(_ context.Context, request client.ChartRequest, parts ...client.Part) (client.Detail, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(parts, []client.Part{client.PartValues}) {
		return client.Detail{}, errors.New("more was asked for than values.yaml")
	}
	found, _, err := c.find(request)
	if err == nil {
		err = c.broken[request.Chart]
	}
	if err != nil {
		return client.Detail{}, err
	}
	c.details[request.Source]++
	values, err := valuesOf(found.tarball)
	return client.Detail{Version: found.version, Values: values}, err
}

// valuesOf returns values.yaml of a chart; empty when it has none.
func valuesOf(tarball []byte) (string, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		return "", err
	}
	archive := tar.NewReader(zipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if path.Base(header.Name) == "values.yaml" {
			content, err := io.ReadAll(archive)
			return string(content), err
		}
	}
}

// detailsOf returns how often values of a repository's charts were read.
func (c *fakeCache) detailsOf(source client.Source) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.details[source]
}

// breakDetail makes Detail fail for a chart, or work again.
func (c *fakeCache) breakDetail(chart string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken[chart] = err
}

// withdraw takes a version of a chart, or with an empty version the chart, out of a repository.
func (c *fakeCache) withdraw(source client.Source, chart, version string) {
	c.mu.Lock()
	repository := c.repositories[source]
	repository.versions[chart] = slices.DeleteFunc(repository.versions[chart], func(v fakeVersion) bool {
		return version == "" || v.version.Version == version
	})
	if len(repository.versions[chart]) == 0 {
		delete(repository.versions, chart)
	}
	c.unlockAndTell(&client.Changed{Repository: repository.state, Charts: []string{chart}})
}

// add makes the first version of a chart available without a sync.
func (c *fakeCache) add(source client.Source, version client.ChartVersion, tarball []byte) {
	c.mu.Lock()
	version.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(tarball))
	repository := c.repositories[source]
	repository.versions[version.Chart] = []fakeVersion{{version, tarball}}
	c.unlockAndTell(&client.Changed{Repository: repository.state, Charts: []string{version.Chart}})
}

// noEvents drops events.
type noEvents struct{}

func (noEvents) Event(runtime.Object, string, string, string) {}

// noReleases reads everything but HelmReleases, of which it finds none.
type noReleases struct{ kube.Reader }

func (r noReleases) List(ctx context.Context, list kube.ObjectList, options ...kube.ListOption) error {
	if _, ok := list.(*v1alpha1.HelmReleaseList); ok {
		return nil
	}
	return r.Reader.List(ctx, list, options...)
}

// forgetfulRegistry is a chartcache whose repositories are registries without a catalogue, and which has lost its memory: it lists no
// charts, and finds those that it is asked for.
type forgetfulRegistry struct{ *fakeCache }

func (r forgetfulRegistry) GetRepository(ctx context.Context, source client.Source) (client.Repository, error) {
	state, err := r.fakeCache.GetRepository(ctx, source)
	state.Type = chartcachev1.RepositoryType_REPOSITORY_TYPE_OCI
	return state, err
}

func (r forgetfulRegistry) ListCharts(context.Context, client.Source, client.ListChartsOptions) (client.ChartList, error) {
	return client.ChartList{}, nil
}

// replace gives the newest version of a chart another tarball, and tells nobody.
func (c *fakeCache) replace(source client.Source, chart string, tarball []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := &c.repositories[source].versions[chart][0]
	newest.tarball, newest.version.Digest = tarball, fmt.Sprintf("sha256:%x", sha256.Sum256(tarball))
}
