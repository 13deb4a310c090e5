package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// echoChart is a chart whose only object holds its values.
func echoChart(version string) chart {
	return chart{name: "web", version: version, files: map[string]string{
		"values.yaml": "message: hello\nkept: true\n",
		"templates/configmap.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  values: {{ toYaml .Values | quote }}
  message: {{ .Values.message | quote }}
`,
	}}
}

// handled wants a request to look at a release to be handled, and the release to be as check wants it.
func handled(request string, check func(*v1alpha1.HelmRelease) error) func(*v1alpha1.HelmRelease) error {
	return func(r *v1alpha1.HelmRelease) error {
		if r.Status.HandledReconcile != request {
			return fmt.Errorf("it was last looked at because of %q", r.Status.HandledReconcile)
		}
		return check(r)
	}
}

func TestNoFormOfValuesOrVersionsIsUpgradedAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, versions(echoChart, "0.9.0", "1.2.3-beta.1", "1.2.4", "1.4.0", "1.5.0", "1.6.0+build-1")...).URL)
	deployed := map[string]string{} // chart of each release
	release := func(name, version string, edit func(*v1alpha1.HelmRelease), want string) {
		s.apply(s.release(name, func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = version }, edit))
		deployed[name] = "web-" + want
	}
	for name, values := range map[string]string{
		"numbers": "runAsUser: 1000680000\nlimit: 123456789012\n", "fractions": "ratio: 1.0\nscale: 1e3\n", "dates": "since: 2026-01-02\n",
		"nothing": "labels: {}\nnames: []\n", "comments": "# nothing yet\n", "words": "on: yes\n", "nulls": "kept: null\n",
	} {
		release(name, "", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString(values) }, "1.6.0+build-1")
	}
	for name, c := range map[string]struct{ version, want string }{
		"prerelease": {"1.2.3-beta.1", "1.2.3-beta.1"}, "short": {"1.2", "1.2.4"}, "wildcard": {"1.2.x", "1.2.4"},
		"range": {"1.0.0 - 1.4.9", "1.4.0"}, "either": {"0.9.0 || ~1.2.0", "1.2.4"}, "equal": {"=1.5.0", "1.5.0"},
		"unequal": {"<1.6, !=1.5.0", "1.4.0"}, "latest": {"latest", "1.6.0+build-1"}, "built": {"1.6.0+build-1", "1.6.0+build-1"},
	} {
		release(name, c.version, func(*v1alpha1.HelmRelease) {}, c.want)
	}
	release("reused", "", func(r *v1alpha1.HelmRelease) {
		r.Spec.Values = v1alpha1.ValuesFromString("message: one\nextra: 1\n")
		r.Spec.Upgrade = &v1alpha1.UpgradeSpec{ReuseValues: true}
	}, "1.6.0+build-1")
	for name, chart := range deployed {
		s.until(name, readyAt(chart))
	}

	look := func(request string) {
		kubectl(t, "annotate", "hrel", "--all", "--namespace", s.namespace, "--overwrite", "helm-operator.ketches.cn/reconcile="+request)
	}
	look("again")
	for name := range deployed {
		s.until(name, handled("again", atRevision(1)))
	}

	// Emptied values, and a part of the values over those of before, are one upgrade.
	s.edit("numbers", func(r *v1alpha1.HelmRelease) { r.Spec.Values = nil })
	s.edit("reused", func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("message: two\n") })
	for _, name := range []string{"numbers", "reused"} {
		s.until(name, handled("again", atRevision(2)))
	}
	assert.Equal(t, "two", s.message("reused"))
	look("once-more")
	for _, name := range []string{"numbers", "reused"} {
		s.until(name, handled("once-more", atRevision(2)))
	}
	for name, chart := range deployed {
		assert.Equal(t, chart, s.get(name).Status.HelmRelease.Chart, name)
	}
}
