package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/services/internal/localstack"
)

// scrapeTick is how often what Prometheus has is looked at; it scrapes every second.
const scrapeTick = 200 * time.Millisecond

// fragileChart is webChart without a workload, and with an object that the API server refuses where the values say so.
func fragileChart(version string) chart {
	return chart{name: "web", version: version, files: map[string]string{
		"values.yaml": "broken: 0\n",
		"templates/configmap.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {broken: {{ .Values.broken | quote }}}
`,
		"templates/service.yaml": `{{ if .Values.broken }}
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {ports: [{port: 100000}]}
{{ end }}
`,
	}}
}

func broken(times int) *v1alpha1.Values {
	return v1alpha1.ValuesFromString(fmt.Sprintf("broken: %d\n", times))
}

// keepValues sets for which charts of a repository ConfigMaps with default values are kept.
func (s *story) keepValues(repository string, policy v1alpha1.ValuesConfigMapPolicy) {
	s.Helper()
	object := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: repository}}
	patch := fmt.Appendf(nil, `{"spec":{"valuesConfigMapPolicy":%q}}`, policy)
	require.NoError(s, s.Patch(s.ctx, object, client.RawPatch(types.MergePatchType, patch)))
}

// documentedQueries are those of the page about metrics, in its order.
func documentedQueries(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	var queries []string
	for _, block := range regexp.MustCompile("(?s)```promql\n(.*?)\n```").FindAllStringSubmatch(string(page), -1) {
		queries = append(queries, block[1])
	}
	return queries
}

// workAndTrouble makes releases and repositories that succeed, fail and are rolled back, in a story of its own.
func workAndTrouble(t *testing.T) *story {
	t.Helper()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, fragileChart("1.0.0")).URL)
	s.keepValues("charts", v1alpha1.ValuesConfigMapLazy)
	lost := newChartRepository(t)
	lost.misbehave(status(http.StatusUnauthorized))
	s.repository("lost", lost.URL)

	s.apply(s.release("good"))
	s.apply(s.release("bad", func(r *v1alpha1.HelmRelease) { r.Spec.Values = broken(1) }))
	s.apply(s.release("unlucky", func(r *v1alpha1.HelmRelease) { r.Spec.Rollback = &v1alpha1.RollbackSpec{Enabled: true} }))
	s.until("good", ready)
	s.until("bad", notReady(v1alpha1.ReasonInstallFailed))
	s.until("unlucky", ready)
	s.repositoryUntil("lost", metav1.ConditionFalse, v1alpha1.ReasonAuthenticationFailed)
	return s
}

func TestPrometheusAnswersEveryDocumentedQueryAndRaisesEveryAlert(t *testing.T) {
	t.Parallel()
	p := newPrometheus(t, map[string]*localstack.Service{
		"helm-operator-metrics": suite.operator, "chartcache-metrics": suite.chartcache,
	})
	s := workAndTrouble(t)
	object := map[string]string{"namespace": "ketches", "exported_namespace": s.namespace}
	with := func(pairs ...string) map[string]string {
		labels := map[string]string{}
		for name, value := range object {
			labels[name] = value
		}
		for i := 0; i < len(pairs); i += 2 {
			labels[pairs[i]] = pairs[i+1]
		}
		return labels
	}
	positive := func(value float64) bool { return value > 0 }
	// Prometheus has seen the release before it is rolled back for the first time, so that every rollback is an increase.
	p.until("helm_release_rollbacks_total", with("release", "unlucky", "status", "success"), func(v float64) bool { return v == 0 })
	for times := range 4 {
		s.edit("unlucky", func(r *v1alpha1.HelmRelease) { r.Spec.Values = broken(times + 1) })
		s.until("unlucky", notReady(v1alpha1.ReasonRolledBack))
	}

	queries := documentedQueries(t)
	require.Len(t, queries, 4)
	p.until(queries[0], nil, func(rate float64) bool { return rate > 0 && rate < 1 })
	for _, operation := range []string{"upgrade", "rollback"} {
		p.until(queries[1], map[string]string{"operation": operation}, func(v float64) bool { return v > 0 && v <= 600 })
	}
	rollbacks := p.until(queries[2], map[string]string{"release": "unlucky", "status": "success"}, func(v float64) bool { return v > 3 })
	assert.Less(t, rollbacks, 6.)
	p.until(queries[3], nil, positive)
	// The same for the objects of this story alone, to the number.
	own := fmt.Sprintf(`{exported_namespace=%q,status="deployed"}`, s.namespace)
	p.until("count(helm_release_info"+own+")", nil, func(v float64) bool { return v == 2 })

	pending := p.alert("pending", with("alertname", "HelmRepositorySyncFailing", "repository", "lost", "error_type", "Auth"))
	assert.Contains(t, pending.Annotations["description"], "HelmRepository "+s.namespace+"/lost ")
	firing := p.alert("firing", with("alertname", "HelmReleaseOperationFailing", "release", "bad", "operation", "install"))
	assert.Contains(t, firing.Annotations["description"], "HelmRelease "+s.namespace+"/bad ")
	firing = p.alert("firing", with("alertname", "HelmReleaseRollsBackAgainAndAgain", "release", "unlucky"))
	assert.Contains(t, firing.Annotations["description"], "HelmRelease "+s.namespace+"/unlucky ")
	p.alert("pending", with("alertname", "HelmReleaseNotDeployed", "release", "bad", "status", "failed"))

	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	require.NoError(t, p.get("rules", &rules))
	require.Len(t, rules.Groups, 1)
	require.Len(t, rules.Groups[0].Rules, 5)
	for _, rule := range rules.Groups[0].Rules {
		assert.Equal(t, "ok", rule.Health, "%s: %s", rule.Name, rule.LastError)
	}
}

func TestTheShippedAlertsFireWhenTheyShouldAndNotBefore(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"check", "rules", "--lint", "all", "--lint-fatal", rulesFile}, {"test", "rules", "testdata/alerts.yaml"}} {
		output, err := exec.Command(prometheusTool(t, "promtool"), args...).CombinedOutput()
		assert.NoError(t, err, "promtool %s: %s", strings.Join(args, " "), output)
	}
}

// promised is what is promised of a metric.
type promised struct {
	kind    dto.MetricType
	labels  []string
	buckets []float64
}

// promises are the metrics of the original project, by name.
func promises() map[string]promised {
	const counter, gauge, histogram = dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_HISTOGRAM
	syncs := []float64{.1, .5, 1, 5, 10, 30, 60, 120}
	operations := []float64{1, 5, 10, 30, 60, 120, 300, 600}
	reconciles := []float64{.01, .05, .1, .5, 1, 5, 10}
	return map[string]promised{
		"helm_repository_sync_duration_seconds":    {histogram, []string{"namespace", "repository", "type"}, syncs},
		"helm_repository_sync_total":               {counter, []string{"namespace", "repository", "status", "type"}, nil},
		"helm_repository_sync_errors_total":        {counter, []string{"error_type", "namespace", "repository"}, nil},
		"helm_repository_charts_discovered":        {gauge, []string{"namespace", "repository"}, nil},
		"helm_release_operation_duration_seconds":  {histogram, []string{"namespace", "operation", "release"}, operations},
		"helm_release_operation_total":             {counter, []string{"namespace", "operation", "release", "status"}, nil},
		"helm_release_operation_errors_total":      {counter, []string{"error_type", "namespace", "operation", "release"}, nil},
		"helm_release_rollbacks_total":             {counter, []string{"namespace", "release", "status"}, nil},
		"helm_release_info":                        {gauge, []string{"chart", "namespace", "release", "status", "version"}, nil},
		"helm_chart_configmaps_generated_total":    {counter, []string{"chart", "namespace", "repository"}, nil},
		"helm_chart_configmaps_cleaned_total":      {counter, []string{"namespace", "repository"}, nil},
		"helm_operator_reconcile_total":            {counter, []string{"controller", "result"}, nil},
		"helm_operator_reconcile_duration_seconds": {histogram, []string{"controller"}, reconciles},
	}
}

// families reads what a service exports.
func families(t *testing.T, service *localstack.Service) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, service)))
	require.NoError(t, err)
	return all
}

// kept is what a family keeps of a promise.
func kept(family *dto.MetricFamily) promised {
	got := promised{kind: family.GetType()}
	metric := family.GetMetric()[0]
	for _, label := range metric.GetLabel() {
		got.labels = append(got.labels, label.GetName())
	}
	slices.Sort(got.labels)
	for _, bucket := range metric.GetHistogram().GetBucket() {
		got.buckets = append(got.buckets, bucket.GetUpperBound())
	}
	if len(got.buckets) > 0 {
		got.buckets = got.buckets[:len(got.buckets)-1] // without the infinite one
	}
	return got
}

func TestEveryMetricOfTheOriginalIsThereAsLongAsItsObject(t *testing.T) {
	t.Parallel()
	s := workAndTrouble(t)
	charts := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "charts"}}
	s.edit("unlucky", func(r *v1alpha1.HelmRelease) { r.Spec.Values = broken(1) })
	s.until("unlucky", notReady(v1alpha1.ReasonRolledBack))
	// Its ConfigMap is made, and then removed.
	require.Eventually(t, func() bool {
		return strings.Contains(scrape(t, suite.operator), fmt.Sprintf(`helm_chart_configmaps_generated_total{chart="web",namespace=%q`, s.namespace))
	}, patience, scrapeTick)
	s.keepValues("charts", v1alpha1.ValuesConfigMapDisabled)
	require.Eventually(t, func() bool {
		return strings.Contains(scrape(t, suite.operator), fmt.Sprintf(`helm_chart_configmaps_cleaned_total{namespace=%q`, s.namespace))
	}, patience, scrapeTick)

	exported := [2]map[string]*dto.MetricFamily{families(t, suite.chartcache), families(t, suite.operator)}
	for name, want := range promises() {
		by := 1
		if strings.HasPrefix(name, "helm_repository_") {
			by = 0
		}
		if family := exported[by][name]; assert.NotNil(t, family, name) {
			assert.Equal(t, want, kept(family), name)
		}
		assert.Nil(t, exported[1-by][name], "%s is exported by one service only", name)
	}

	require.NoError(t, s.DeleteAllOf(s.ctx, &v1alpha1.HelmRelease{}, client.InNamespace(s.namespace)))
	for _, name := range []string{"good", "bad", "unlucky"} {
		s.gone(&v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
	}
	require.NoError(t, s.DeleteAllOf(s.ctx, &v1alpha1.HelmRepository{}, client.InNamespace(s.namespace)))
	s.gone(charts)
	for _, service := range []*localstack.Service{suite.operator, suite.chartcache} {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.NotContains(c, scrape(t, service), fmt.Sprintf("namespace=%q", s.namespace))
		}, patience, scrapeTick, "%s keeps series", service.Name)
	}
}
