package valuesmap

import (
	"path"
	"slices"
	"strings"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// helmUninstalled is the state of a Helm release whose history is kept while nothing of it is deployed.
const helmUninstalled = "uninstalled"

// VersionsOf returns the versions of a chart that a HelmRelease uses: the one that should be deployed, and the one that is.
// chart is where the spec finds it in its repository; a deployed chart of another name is not from there.
func VersionsOf(release *v1alpha1.HelmRelease, chart string) []string {
	var versions []string
	status := &release.Status
	if status.ChartVersion != "" {
		versions = append(versions, status.ChartVersion)
	}
	if deployed := status.HelmRelease; deployed != nil && deployed.Status != helmUninstalled {
		version, ok := strings.CutPrefix(deployed.Chart, path.Base(chart)+"-")
		if ok && version != "" && !slices.ContainsFunc(versions, func(have string) bool { return sameVersion(have, version) }) {
			versions = append(versions, version)
		}
	}
	return versions
}

// sameVersion compares versions as repositories and Chart.yaml may spell them: a leading v is optional.
func sameVersion(a, b string) bool {
	return strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v")
}
