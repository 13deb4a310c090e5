package release

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// ChartRef is where a chart comes from.
type ChartRef struct {
	// Source is the repository.
	Source client.Source
	// Chart is the name there; for OCI the path below the repository's URL.
	Chart string
}

// String returns "chart of source".
func (r ChartRef) String() string { return fmt.Sprintf("chart %s of %s", r.Chart, r.Source) }

// SourceFields lists the fields of a chart that name a source, in order of precedence.
func SourceFields(chart *v1alpha1.ChartSpec) []string {
	var fields []string
	if chart.OCIRepository != "" {
		fields = append(fields, "ociRepository")
	}
	if chart.RepositoryURL != "" {
		fields = append(fields, "repositoryURL")
	}
	if chart.Repository != nil {
		fields = append(fields, "repository")
	}
	return fields
}

// RepositoryOf returns the HelmRepository that a chart names by reference; false when it is named by a URL or not at all.
func RepositoryOf(release *v1alpha1.HelmRelease) (namespace, name string, ok bool) {
	chart := &release.Spec.Chart
	if chart.OCIRepository != "" || chart.RepositoryURL != "" || chart.Repository == nil {
		return "", "", false
	}
	namespace = chart.Repository.Namespace
	if namespace == "" {
		namespace = release.Namespace
	}
	return namespace, chart.Repository.Name, true
}

// ResolveURL finds the source of a chart that is named by a URL: the HelmRepository of the release's own namespace whose
// URL is the longest prefix of it by path segments, so that private charts need no credentials in the release, or else
// the URL, anonymously. An index.yaml speaks for its own URL only, so HTTP repositories match whole.
func ResolveURL(chart *v1alpha1.ChartSpec, repositories []v1alpha1.HelmRepository) (ChartRef, error) {
	field, text := "spec.chart.ociRepository", chart.OCIRepository
	if text == "" {
		field, text = "spec.chart.repositoryURL", chart.RepositoryURL
	}
	wanted, err := parseLocation(text)
	if err != nil {
		return ChartRef{}, fmt.Errorf("%s: %w", field, err)
	}
	switch {
	case chart.OCIRepository != "" && !wanted.oci():
		return ChartRef{}, fmt.Errorf("%s must begin with oci://", field)
	case chart.OCIRepository != "" && len(wanted.path) == 0:
		return ChartRef{}, fmt.Errorf("%s must name a chart below the registry", field)
	case chart.OCIRepository == "" && wanted.oci():
		wanted.path = append(wanted.path, segments(chart.Name)...)
	}
	if !wanted.oci() {
		return resolveHTTP(chart, wanted, repositories), nil
	}
	return resolveOCI(wanted, repositories), nil
}

// SameURL reports whether two repository URLs mean the same.
func SameURL(a, b string) bool {
	left, errLeft := parseLocation(a)
	right, errRight := parseLocation(b)
	return errLeft == nil && errRight == nil && left.String() == right.String()
}

func resolveHTTP(chart *v1alpha1.ChartSpec, wanted location, repositories []v1alpha1.HelmRepository) ChartRef {
	for i := range repositories {
		have, err := parseLocation(repositories[i].Spec.URL)
		if err == nil && have.String() == wanted.String() {
			return ChartRef{Source: client.Named(repositories[i].Namespace, repositories[i].Name), Chart: chart.Name}
		}
	}
	return ChartRef{Source: client.ByURL(wanted.String()), Chart: chart.Name}
}

func resolveOCI(wanted location, repositories []v1alpha1.HelmRepository) ChartRef {
	best, bestLength := ChartRef{}, -1
	for i := range repositories {
		have, err := parseLocation(repositories[i].Spec.URL)
		if err != nil || len(have.path) <= bestLength || !have.above(wanted) {
			continue
		}
		bestLength = len(have.path)
		best = ChartRef{
			Source: client.Named(repositories[i].Namespace, repositories[i].Name),
			Chart:  strings.Join(wanted.path[len(have.path):], "/"),
		}
	}
	if bestLength >= 0 {
		return best
	}
	last := len(wanted.path) - 1
	parent := location{scheme: wanted.scheme, host: wanted.host, path: wanted.path[:last]}
	return ChartRef{Source: client.ByURL(parent.String()), Chart: wanted.path[last]}
}

// location is a repository URL in parts that can be compared.
type location struct {
	scheme string
	host   string // lower case, without the scheme's default port
	path   []string
}

func (l location) oci() bool { return l.scheme == "oci" }

// above reports whether another location is a path below this one.
func (l location) above(other location) bool {
	if l.scheme != other.scheme || l.host != other.host || len(l.path) >= len(other.path) {
		return false
	}
	for i, segment := range l.path {
		if other.path[i] != segment {
			return false
		}
	}
	return true
}

// String returns the URL.
func (l location) String() string {
	text := l.scheme + "://" + l.host
	if len(l.path) > 0 {
		text += "/" + strings.Join(l.path, "/")
	}
	return text
}

// parseLocation reads a repository URL. Its errors do not repeat the URL, which may hold credentials.
func parseLocation(text string) (location, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return location{}, fmt.Errorf("the URL is malformed")
	}
	scheme := strings.ToLower(parsed.Scheme)
	port := map[string]string{"http": "80", "https": "443", "oci": "443"}[scheme]
	switch {
	case port == "":
		return location{}, fmt.Errorf("the URL must begin with https://, http:// or oci://")
	case parsed.Hostname() == "":
		return location{}, fmt.Errorf("the URL names no host")
	case parsed.User != nil:
		return location{}, fmt.Errorf("the URL must not hold credentials; put them into a HelmRepository of the same namespace")
	case parsed.RawQuery != "" || parsed.Fragment != "":
		return location{}, fmt.Errorf("the URL must not have a query or a fragment")
	}
	host := strings.ToLower(parsed.Host)
	host = strings.TrimSuffix(strings.TrimSuffix(host, ":"+port), ":")
	return location{scheme: scheme, host: host, path: segments(parsed.EscapedPath())}, nil
}

// segments splits a path and drops empty segments.
func segments(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
