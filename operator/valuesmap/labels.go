package valuesmap

import (
	"strings"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Labels of the ConfigMaps, beside those of Kubernetes.
const (
	OwnedLabel      = "ketches.cn/owned"
	RepositoryLabel = v1alpha1.GroupName + "/repository"
	ChartLabel      = v1alpha1.GroupName + "/chart"
	VersionLabel    = v1alpha1.GroupName + "/version"

	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
)

// Annotations of the ConfigMaps. Those that name things do it exactly, while label values are made valid.
const (
	RepositoryAnnotation = v1alpha1.GroupName + "/repository"
	ChartAnnotation      = v1alpha1.GroupName + "/chart-name"
	VersionAnnotation    = v1alpha1.GroupName + "/chart-version"
	// DigestAnnotation is the digest of the chart's tarball that the values are from.
	DigestAnnotation = v1alpha1.GroupName + "/chart-digest"
	// UnusedAnnotation says since when (RFC 3339) a ConfigMap is neither current nor used. It is there only then.
	UnusedAnnotation = v1alpha1.GroupName + "/unused-since"
)

// maxLabel is the longest value of a label.
const maxLabel = 63

// IsOurs reports whether an object has the labels of our ConfigMaps, also as the original project set them.
func IsOurs(labels map[string]string) bool {
	_, repository := labels[RepositoryLabel]
	_, chart := labels[ChartLabel]
	return labels[OwnedLabel] == "true" && repository && chart
}

// Labels returns the labels of the ConfigMap of a chart version.
func Labels(repository string, chart Chart) map[string]string {
	return map[string]string{
		OwnedLabel:      "true",
		RepositoryLabel: labelValue(repository),
		ChartLabel:      labelValue(chart.Name),
		VersionLabel:    labelValue(chart.Version),
		nameLabel:       "helm-operator",
		componentLabel:  "chart-values",
	}
}

// Annotations returns the annotations of the ConfigMap of a chart version with a digest.
func Annotations(repository string, chart Chart, digest string) map[string]string {
	return map[string]string{
		RepositoryAnnotation: repository,
		ChartAnnotation:      chart.Name,
		VersionAnnotation:    chart.Version,
		DigestAnnotation:     digest,
	}
}

// ChartOf returns the chart version that a ConfigMap of the repository says that it is of; the zero Chart when it says that it is of
// another repository. Annotations that do not go with its name were edited, and those of the original project have none: then labels
// say it.
func (n *Namer) ChartOf(name string, labels, annotations map[string]string) Chart {
	exact := Chart{Name: annotations[ChartAnnotation], Version: annotations[VersionAnnotation]}
	switch {
	case annotations[RepositoryAnnotation] == n.repository && n.Could(name, exact):
		return exact
	case labels[RepositoryLabel] == labelValue(n.repository):
		return Chart{Name: labels[ChartLabel], Version: labels[VersionLabel]}
	}
	return Chart{}
}

// labelValue makes a text fit for the value of a label: an underscore for a plus, as Helm writes versions, a hyphen for whatever
// else is not allowed, letters and digits at the ends, at most 63 characters. It may be empty.
func labelValue(text string) string {
	valid := strings.Map(func(r rune) rune {
		switch {
		case isAlphanumeric(r), r == '-', r == '_', r == '.':
			return r
		case r == '+':
			return '_'
		default:
			return '-'
		}
	}, text)
	if len(valid) > maxLabel {
		valid = valid[:maxLabel]
	}
	return strings.TrimFunc(valid, func(r rune) bool { return !isAlphanumeric(r) })
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
