package release

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func repositories(urls ...string) []v1alpha1.HelmRepository {
	var list []v1alpha1.HelmRepository
	for _, url := range urls {
		list = append(list, v1alpha1.HelmRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: strings.NewReplacer(":", "", "/", "-").Replace(url)},
			Spec:       v1alpha1.HelmRepositorySpec{URL: url},
		})
	}
	return list
}

func TestResolveURL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chart        v1alpha1.ChartSpec
		repositories []string
		want         ChartRef
		err          string
	}{
		"an OCI chart without a repository is anonymous": {
			chart: v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/org/charts/web"},
			want:  ChartRef{client.ByURL("oci://ghcr.io/org/charts"), "web"},
		},
		"an OCI chart uses the repository above it": {
			chart:        v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/org/charts/web"},
			repositories: []string{"oci://ghcr.io/org/charts"},
			want:         ChartRef{client.Named("shop", "oci--ghcr.io-org-charts"), "web"},
		},
		"the longest prefix wins": {
			chart:        v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/org/charts/team/web"},
			repositories: []string{"oci://ghcr.io", "oci://ghcr.io/org/charts/", "oci://ghcr.io/org"},
			want:         ChartRef{client.Named("shop", "oci--ghcr.io-org-charts-"), "team/web"},
		},
		"a prefix ends between segments": {
			chart:        v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/organisation/web"},
			repositories: []string{"oci://ghcr.io/org"},
			want:         ChartRef{client.ByURL("oci://ghcr.io/organisation"), "web"},
		},
		"a repository of another host is no prefix": {
			chart:        v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io.evil.example/org/web"},
			repositories: []string{"oci://ghcr.io"},
			want:         ChartRef{client.ByURL("oci://ghcr.io.evil.example/org"), "web"},
		},
		"a repository that is the chart itself is no prefix": {
			chart:        v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/org/web"},
			repositories: []string{"oci://ghcr.io/org/web"},
			want:         ChartRef{client.ByURL("oci://ghcr.io/org"), "web"},
		},
		"default ports and the case of the host do not matter": {
			chart:        v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://GHCR.io:443/org/web"},
			repositories: []string{"oci://ghcr.io/org"},
			want:         ChartRef{client.Named("shop", "oci--ghcr.io-org"), "web"},
		},
		"an HTTP repository is found by its whole URL": {
			chart:        v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://charts.example.com/stable/"},
			repositories: []string{"https://charts.example.com", "https://charts.example.com/stable"},
			want:         ChartRef{client.Named("shop", "https--charts.example.com-stable"), "web"},
		},
		"an HTTP repository above another is another index": {
			chart:        v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://charts.example.com/stable"},
			repositories: []string{"https://charts.example.com"},
			want:         ChartRef{client.ByURL("https://charts.example.com/stable"), "web"},
		},
		"a repository URL may be a registry": {
			chart:        v1alpha1.ChartSpec{Name: "web", RepositoryURL: "oci://ghcr.io/org"},
			repositories: []string{"oci://ghcr.io"},
			want:         ChartRef{client.Named("shop", "oci--ghcr.io"), "org/web"},
		},
		"ociRepository wins over repositoryURL": {
			chart: v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/web", RepositoryURL: "https://charts.example.com"},
			want:  ChartRef{client.ByURL("oci://ghcr.io"), "web"},
		},
		"a broken HelmRepository is no obstacle": {
			chart:        v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://charts.example.com"},
			repositories: []string{"https://%zz", "https://charts.example.com"},
			want:         ChartRef{client.Named("shop", "https--charts.example.com"), "web"},
		},
		"ociRepository needs oci://":    {chart: v1alpha1.ChartSpec{Name: "web", OCIRepository: "https://ghcr.io/org/web"}, err: "spec.chart.ociRepository must begin with oci://"},
		"ociRepository needs a chart":   {chart: v1alpha1.ChartSpec{Name: "web", OCIRepository: "oci://ghcr.io/"}, err: "must name a chart"},
		"another scheme is refused":     {chart: v1alpha1.ChartSpec{Name: "web", RepositoryURL: "file:///charts"}, err: "spec.chart.repositoryURL: the URL must begin with"},
		"a URL without host is refused": {chart: v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https:///charts"}, err: "no host"},
		"a query is refused":            {chart: v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://charts.example.com?token=s3cret"}, err: "must not have a query"},
		"credentials are refused":       {chart: v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://me:s3cret@charts.example.com"}, err: "must not hold credentials"},
		"garbage is refused":            {chart: v1alpha1.ChartSpec{Name: "web", RepositoryURL: "https://me:s3cret@%zz"}, err: "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref, err := ResolveURL(&c.chart, repositories(c.repositories...))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.NotContains(t, err.Error(), "s3cret")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, ref)
		})
	}
}

func TestSameURL(t *testing.T) {
	t.Parallel()
	assert.True(t, SameURL("https://Charts.example.com:443/a//b/", "https://charts.example.com/a/b"))
	assert.False(t, SameURL("http://charts.example.com", "https://charts.example.com"))
	assert.False(t, SameURL("https://charts.example.com:8443", "https://charts.example.com"))
	assert.False(t, SameURL("::", "::"))
}

func FuzzParseLocation(f *testing.F) {
	for _, seed := range []string{"https://a/b", "oci://A:443//b/../c", "http://u:p@h", "https://[::1]:443/x", "oci://h/%2f", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseLocation(text)
		if err != nil {
			return
		}
		again, err := parseLocation(parsed.String())
		require.NoError(t, err, "%q became %q", text, parsed.String())
		require.Equal(t, parsed.String(), again.String())
		require.False(t, parsed.above(again), "nothing is above itself")
	})
}
