package valuesmap

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestTheNameOfAConfigMapIsPlainUnlessItCouldBeThatOfAnotherChart(t *testing.T) {
	long := strings.Repeat("a", 240)
	for name, test := range map[string]struct {
		repository string
		siblings   []string
		chart      Chart
		want       string // with * for a hash
	}{
		"an ordinary version":               {"charts", nil, Chart{"web", "1.2.3"}, "helm-values-charts-web-1-2-3"},
		"hyphens everywhere":                {"bitnami-optimized", nil, Chart{"ingress-nginx", "4.0.13"}, "helm-values-bitnami-optimized-ingress-nginx-4-0-13"},
		"a v in front":                      {"charts", nil, Chart{"web", "v1.2.3"}, "helm-values-charts-web-v1-2-3"},
		"a prerelease":                      {"charts", nil, Chart{"web", "1.2.3-rc.1"}, "helm-values-charts-web-1-2-3-rc-1"},
		"a prerelease with a hyphen":        {"charts", nil, Chart{"web", "1.2.3-rc-1"}, "helm-values-charts-web-1-2-3-rc-1-*"},
		"build metadata":                    {"charts", nil, Chart{"web", "1.2.3+build"}, "helm-values-charts-web-1-2-3-build-*"},
		"a prerelease in capitals":          {"charts", nil, Chart{"web", "1.2.3-RC1"}, "helm-values-charts-web-1-2-3-rc1-*"},
		"a version without three numbers":   {"charts", nil, Chart{"web", "1.2"}, "helm-values-charts-web-1-2-*"},
		"a chart in capitals":               {"charts", nil, Chart{"Web", "1.2.3"}, "helm-values-charts-web-1-2-3-*"},
		"an underscore":                     {"charts", nil, Chart{"my_web", "1.2.3"}, "helm-values-charts-my-web-1-2-3-*"},
		"runs of hyphens":                   {"charts", nil, Chart{"my--web", "1.2.3"}, "helm-values-charts-my-web-1-2-3-*"},
		"a path in a registry":              {"charts", nil, Chart{"team/web", "1.2.3"}, "helm-values-charts-team-web-1-2-3-*"},
		"a dot in the repository":           {"my.charts", nil, Chart{"web", "1.2.3"}, "helm-values-my-charts-web-1-2-3-*"},
		"a number at the end of the name":   {"charts", nil, Chart{"web-1", "2.3.4"}, "helm-values-charts-web-1-2-3-4"},
		"the same as a prerelease":          {"charts", nil, Chart{"web", "1.2.3-4"}, "helm-values-charts-web-1-2-3-4-*"},
		"a version at the end of the name":  {"charts", nil, Chart{"web-1-2-3-a", "1.0.0"}, "helm-values-charts-web-1-2-3-a-1-0-0-*"},
		"numbers and a prerelease":          {"charts", nil, Chart{"web-2", "1.0.0-rc1"}, "helm-values-charts-web-2-1-0-0-rc1"},
		"a repository that is a beginning":  {"a", []string{"a", "a-b"}, Chart{"b-c", "1.2.3"}, "helm-values-a-b-c-1-2-3"},
		"one that has such a beginning":     {"a-b", []string{"a", "a-b"}, Chart{"c", "1.2.3"}, "helm-values-a-b-c-1-2-3-*"},
		"a sibling with a like name only":   {"ab-c", []string{"a", "ab-c", "x"}, Chart{"c", "1.2.3"}, "helm-values-ab-c-c-1-2-3"},
		"a prerelease that looks like ours": {"charts", nil, Chart{"web", "1.2.3-0123456789abcdef"}, "helm-values-charts-web-1-2-3-0123456789abcdef-*"},
		"too long":                          {"charts", nil, Chart{long, "1.2.3"}, "helm-values-charts-" + long[:217] + "-*"},
		"nothing that can be in a name":     {"charts", nil, Chart{"äö", "+"}, "helm-values-charts-*"},
	} {
		t.Run(name, func(t *testing.T) {
			got := NewNamer(test.repository, test.siblings).Name(test.chart)
			if want, hashed := strings.CutSuffix(test.want, "*"); hashed {
				require.Len(t, got, len(want)+hashDigits)
				assert.Equal(t, want, got[:len(want)])
			} else {
				assert.Equal(t, test.want, got)
			}
			assert.Empty(t, validation.IsDNS1123Subdomain(got))
		})
	}
}

func TestAConfigMapIsOfTheChartThatItSaysUnlessThatDoesNotGoWithItsName(t *testing.T) {
	web, odd := Chart{"web", "1.2.3"}, Chart{"team/my_web", "1.2.3+build"}
	namer := NewNamer("my.charts", []string{"my.charts", "my"})
	labels := func(chart Chart, edits ...string) map[string]string { return edited(Labels("my.charts", chart), edits) }
	annotations := func(chart Chart, edits ...string) map[string]string {
		return edited(Annotations("my.charts", chart, "sha256:1"), edits)
	}
	for name, test := range map[string]struct {
		name                string
		labels, annotations map[string]string
		want                Chart
		could               bool
	}{
		"one of ours":                      {namer.Name(web), labels(web), annotations(web), web, true},
		"one whose name needs a hash":      {namer.Name(odd), labels(odd), annotations(odd), odd, true},
		"one of the original project":      {"helm-values-my-charts-web-1-2-3", labels(web), nil, web, true},
		"with an edited label":             {namer.Name(odd), labels(odd, VersionLabel, "2"), annotations(odd), odd, true},
		"with an edited annotation":        {namer.Name(web), labels(web), annotations(web, VersionAnnotation, "2"), web, true},
		"with a deleted one":               {namer.Name(web), labels(web), annotations(web, RepositoryAnnotation, ""), web, true},
		"with both edited":                 {namer.Name(web), labels(web, ChartLabel, "db"), annotations(web, ChartAnnotation, "db"), Chart{"db", "1.2.3"}, false},
		"a copy under another name":        {"helm-values-anything", labels(web), annotations(web), web, false},
		"a copy for another repository":    {namer.Name(web), labels(web, RepositoryLabel, "others"), annotations(web, RepositoryAnnotation, "others"), Chart{}, false},
		"without anything that says chart": {namer.Name(web), labels(web, ChartLabel, ""), nil, Chart{"", "1.2.3"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, namer.ChartOf(test.name, test.labels, test.annotations))
			assert.Equal(t, test.could, namer.Could(test.name, test.want))
		})
	}
}

// edited changes a map by pairs of keys and values; an empty value deletes.
func edited(m map[string]string, edits []string) map[string]string {
	for pair := range slices.Chunk(edits, 2) {
		if m[pair[0]] = pair[1]; pair[1] == "" {
			delete(m, pair[0])
		}
	}
	return m
}

// Whatever other repositories come and go, a ConfigMap stays one of ours.
func TestANameThatWasGivenBesideOtherRepositoriesIsStillOneOfOurs(t *testing.T) {
	long := Chart{strings.Repeat("a", 240), "1.2.3"}
	for _, chart := range []Chart{{"web", "1.2.3"}, {"my_web", "1.2.3+build"}, long} {
		alone, beside := NewNamer("a-b", nil), NewNamer("a-b", []string{"a"})
		assert.True(t, alone.Could(beside.Name(chart), chart))
		assert.True(t, beside.Could(alone.Name(chart), chart))
		assert.False(t, NewNamer("a", nil).Could(beside.Name(chart), chart))
	}
}

// The alphabet is small and mean, so that texts that differ in what a name cannot hold, or in where a part ends, are common.
func TestTwoChartsOfANamespaceNeverHaveTheSameName(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	text := func(parts int, from ...string) string {
		var b strings.Builder
		for range 1 + random.IntN(parts) {
			b.WriteString(pick(from...))
		}
		return b.String()
	}
	repositories := []string{"a", "a-a", "a-1", "a.a", "a-a-a", "b", "a-b", "a-1-1-1"}
	type key struct {
		repository string
		chart      Chart
	}
	namers := map[string]*Namer{}
	for _, repository := range repositories {
		namers[repository] = NewNamer(repository, repositories)
	}
	seen := map[string]key{}
	plain := 0
	for range 40_000 {
		k := key{pick(repositories...), Chart{
			Name:    text(3, "a", "b", "a-b", "A", "-", "_", "1", "-1", "/", ".", "a-1-1-1"),
			Version: pick("", "", "v") + pick("1.1.1", "1.2.1", text(2, "1", "1.1", "1.1.1")) + pick("", ".1.1", "-1", "-a", "-a-1", "-a.1", "+a", "+a.1", "-A", "-1.1"),
		}}
		name := namers[k.repository].Name(k.chart)
		if before, ok := seen[name]; ok {
			require.Equal(t, before, k, "both are called %s", name)
		}
		seen[name] = k
		seen[name] = k
		if namers[k.repository].isPlain(name, k.chart) {
			plain++
		}
	}
	require.Greater(t, plain, 500, "the test must not be about hashes only")
}

func FuzzName(f *testing.F) {
	f.Add("a", "b-c", "1.2.3", "a-b", "c", "1.2.3")
	f.Add("a", "web-1", "2.3.4", "a", "web", "1.2.3-4")
	f.Fuzz(func(t *testing.T, repositoryA, chartA, versionA, repositoryB, chartB, versionB string) {
		if len(validation.IsDNS1123Subdomain(repositoryA)) > 0 || len(validation.IsDNS1123Subdomain(repositoryB)) > 0 {
			return // the API server refuses such names
		}
		siblings := []string{repositoryA, repositoryB}
		a := NewNamer(repositoryA, siblings).Name(Chart{chartA, versionA})
		b := NewNamer(repositoryB, siblings).Name(Chart{chartB, versionB})
		same := repositoryA == repositoryB && chartA == chartB && versionA == versionB
		assert.Equal(t, same, a == b, "%s and %s", a, b)
		assert.Empty(t, validation.IsDNS1123Subdomain(a))
		for _, value := range Labels(repositoryA, Chart{chartA, versionA}) {
			assert.Empty(t, validation.IsValidLabelValue(value))
		}
	})
}

func TestLabelsAreValidAndAnnotationsExact(t *testing.T) {
	for name, test := range map[string]struct {
		chart          Chart
		label, version string
	}{
		"ordinary":       {Chart{"web", "1.2.3"}, "web", "1.2.3"},
		"build metadata": {Chart{"web", "1.2.3+x"}, "web", "1.2.3_x"},
		"a path":         {Chart{"team/web", "1.0.0"}, "team-web", "1.0.0"},
		"too long":       {Chart{strings.Repeat("a", 62) + "-b", "1.0.0-" + strings.Repeat("b", 70)}, strings.Repeat("a", 62), "1.0.0-" + strings.Repeat("b", 57)},
		"nothing valid":  {Chart{"__", "+"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			labels := Labels("charts", test.chart)
			assert.Equal(t, map[string]string{
				"ketches.cn/owned": "true", "helm-operator.ketches.cn/repository": "charts",
				"helm-operator.ketches.cn/chart": test.label, "helm-operator.ketches.cn/version": test.version,
				"app.kubernetes.io/name": "helm-operator", "app.kubernetes.io/component": "chart-values",
			}, labels)
			for key, value := range labels {
				assert.Empty(t, validation.IsValidLabelValue(value), key)
			}
			annotations := Annotations("charts", test.chart, "sha256:1")
			assert.Equal(t, map[string]string{
				"helm-operator.ketches.cn/repository": "charts", "helm-operator.ketches.cn/chart-name": test.chart.Name,
				"helm-operator.ketches.cn/chart-version": test.chart.Version, "helm-operator.ketches.cn/chart-digest": "sha256:1",
			}, annotations)
			assert.True(t, IsOurs(labels))
			namer := NewNamer("charts", nil)
			assert.Equal(t, test.chart, namer.ChartOf(namer.Name(test.chart), labels, annotations))
		})
	}
	ofTheOriginal := map[string]string{
		OwnedLabel: "true", RepositoryLabel: "charts", ChartLabel: "web", VersionLabel: "1.2.3",
	}
	assert.True(t, IsOurs(ofTheOriginal))
	assert.False(t, IsOurs(map[string]string{OwnedLabel: "true"}))
	assert.False(t, IsOurs(map[string]string{RepositoryLabel: "charts", ChartLabel: "web"}))
}
