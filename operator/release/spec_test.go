package release

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

func TestDefaultsOfASpec(t *testing.T) {
	t.Parallel()
	s, problem := readSettings(&v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}})
	require.Nil(t, problem)
	assert.Equal(t, appTarget, s.target)
	assert.Equal(t, 10*time.Minute, s.interval)
	assert.Equal(t, RetryPolicy{Interval: time.Minute, MaxInterval: 15 * time.Minute}, s.retry)
	assert.Equal(t, helm.Waiting{Timeout: 10 * time.Minute, Wait: true, WaitForJobs: true}, s.install.Waiting)
	assert.Equal(t, helm.Waiting{Timeout: 10 * time.Minute, Wait: true, WaitForJobs: true}, s.upgrade.Waiting)
	assert.Equal(t, 10, s.upgrade.MaxHistory)
	assert.True(t, s.upgrade.CleanupOnFail)
	assert.Equal(t, helm.Waiting{Timeout: 5 * time.Minute, Wait: true}, s.rollback.Waiting)
	assert.Equal(t, 10, s.rollback.MaxHistory)
	assert.True(t, s.rollback.CleanupOnFail)
	assert.Equal(t, 5*time.Minute, s.uninstall.Timeout)
}

func TestEveryOptionArrives(t *testing.T) {
	t.Parallel()
	no, unlimited, tries := false, int32(0), int32(4)
	s, problem := readSettings(&v1alpha1.HelmRelease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"},
		Spec: v1alpha1.HelmReleaseSpec{
			Interval: "1s",
			Release:  &v1alpha1.ReleaseTarget{Name: "one", Namespace: "other", CreateNamespace: true},
			Retry:    &v1alpha1.RetrySpec{Limit: &tries, Interval: "2m", MaxInterval: "0s"},
			Install: &v1alpha1.InstallSpec{
				Timeout: "1ms", Wait: &no, WaitForJobs: &no, SkipCRDs: true, Replace: true, DisableHooks: true, TakeOwnership: true,
				DisableSchemaValidation: true,
			},
			Upgrade: &v1alpha1.UpgradeSpec{
				Timeout: "2m", Wait: &no, WaitForJobs: &no, Force: true, ResetValues: true, ReuseValues: true, Recreate: true,
				MaxHistory: &unlimited, CleanupOnFail: &no, DisableHooks: true, TakeOwnership: true, DisableSchemaValidation: true,
			},
			Rollback:  &v1alpha1.RollbackSpec{Timeout: "3m", Wait: &no, CleanupOnFail: &no, Force: true, DisableHooks: true},
			Uninstall: &v1alpha1.UninstallSpec{Timeout: "4m", DisableHooks: true, KeepHistory: true},
		},
	})
	require.Nil(t, problem)
	assert.Equal(t, Target{Namespace: "other", Name: "one"}, s.target)
	assert.Equal(t, minInterval, s.interval, "an absurdly short interval is no hot loop")
	assert.Equal(t, RetryPolicy{Limit: 4, Interval: 2 * time.Minute, MaxInterval: time.Second}, s.retry)
	source := helm.ChartSource{SkipSchemaValidation: true}
	assert.Equal(t, helm.InstallOptions{
		ChartSource: source, Waiting: helm.Waiting{Timeout: time.Second, DisableHooks: true},
		CreateNamespace: true, SkipCRDs: true, Replace: true, TakeOwnership: true,
	}, s.install)
	assert.Equal(t, helm.UpgradeOptions{
		ChartSource: source, Waiting: helm.Waiting{Timeout: 2 * time.Minute, DisableHooks: true},
		Force: true, ResetValues: true, ReuseValues: true, Recreate: true, TakeOwnership: true,
	}, s.upgrade)
	assert.Equal(t, helm.RollbackOptions{Waiting: helm.Waiting{Timeout: 3 * time.Minute, DisableHooks: true}, Force: true}, s.rollback)
	assert.Equal(t, helm.UninstallOptions{Timeout: 4 * time.Minute, DisableHooks: true, KeepHistory: true}, s.uninstall)
}

func TestAWrongSpecIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec    v1alpha1.HelmReleaseSpec
		mention string
	}{
		"a name that is too long":    {v1alpha1.HelmReleaseSpec{Release: &v1alpha1.ReleaseTarget{Name: strings.Repeat("n", 54)}}, "53"},
		"a name that Helm refuses":   {v1alpha1.HelmReleaseSpec{Release: &v1alpha1.ReleaseTarget{Name: "My_App"}}, "My_App"},
		"a namespace that cannot be": {v1alpha1.HelmReleaseSpec{Release: &v1alpha1.ReleaseTarget{Namespace: "a/b"}}, "a/b"},
		"a duration that overflows":  {v1alpha1.HelmReleaseSpec{Interval: "99999999999h"}, "spec.interval"},
		"a timeout that overflows":   {v1alpha1.HelmReleaseSpec{Upgrade: &v1alpha1.UpgradeSpec{Timeout: "99999999999h"}}, "spec.upgrade.timeout"},
		"a path to ignore": {v1alpha1.HelmReleaseSpec{DriftDetection: &v1alpha1.DriftDetection{
			Mode: v1alpha1.DriftWarn, Ignore: []v1alpha1.DriftIgnoreRule{{Paths: []string{"spec.replicas"}}},
		}}, `spec.driftDetection.ignore[0].paths[0]: "spec.replicas" is not a JSON pointer`},
		"post-renderers":  {v1alpha1.HelmReleaseSpec{PostRenderers: []v1alpha1.PostRenderer{{}}}, "spec.postRenderers"},
		"common metadata": {v1alpha1.HelmReleaseSpec{CommonMetadata: &v1alpha1.CommonMetadata{Labels: map[string]string{"app.kubernetes.io/managed-by": "b"}}}, "spec.commonMetadata.labels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problem := readSettings(&v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}, Spec: c.spec})
			require.NotNil(t, problem)
			assert.Equal(t, v1alpha1.ReasonConfigurationError, problem.Reason)
			assert.Contains(t, problem.Message, c.mention)
			assert.True(t, problem.Stalled)
		})
	}
}

func TestPoliciesOfTheSpecReachHelm(t *testing.T) {
	t.Parallel()
	s, problem := readSettings(&v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "app"}, Spec: v1alpha1.HelmReleaseSpec{
		CRDs:    &v1alpha1.CRDsSpec{Install: v1alpha1.CRDsSkip, Upgrade: v1alpha1.CRDsCreateReplace},
		Install: &v1alpha1.InstallSpec{FieldValidation: v1alpha1.FieldValidationStrict},
		Upgrade: &v1alpha1.UpgradeSpec{FieldValidation: v1alpha1.FieldValidationWarn},
	}})
	require.Nil(t, problem)
	assert.Equal(t, helm.CRDsSkip, s.install.CRDs)
	assert.Equal(t, helm.CRDsCreateReplace, s.upgrade.CRDs)
	assert.True(t, s.install.StrictFields)
	assert.False(t, s.upgrade.StrictFields)
}

func TestBadInputIsNamedInReadyAndByAnEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit    func(*v1alpha1.HelmRelease)
		answer  error // of chartcache
		deny    bool
		reason  string
		mention string
	}{
		"no source":                      {edit: func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository = nil }, reason: v1alpha1.ReasonConfigurationError, mention: "repositoryURL"},
		"a repository that is not there": {edit: func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Name = "nowhere" }, reason: v1alpha1.ReasonRepositoryNotFound, mention: "shop/nowhere"},
		"a repository in another namespace that is denied": {
			edit: func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Repository.Namespace = "other" }, deny: true,
			reason: v1alpha1.ReasonConfigurationError, mention: "other",
		},
		"a malformed URL":                               {edit: func(r *v1alpha1.HelmRelease) { r.Spec.Chart.RepositoryURL, r.Spec.Chart.Repository = "ftp://x", nil }, reason: v1alpha1.ReasonConfigurationError, mention: "repositoryURL"},
		"values that are not YAML":                      {edit: func(r *v1alpha1.HelmRelease) { r.Spec.Values = v1alpha1.ValuesFromString("a: b: c") }, reason: v1alpha1.ReasonValuesError, mention: "spec.values"},
		"values that are a list":                        {edit: func(r *v1alpha1.HelmRelease) { r.Spec.Values = &v1alpha1.Values{Raw: []byte(`[1]`)} }, reason: v1alpha1.ReasonValuesError, mention: "spec.values"},
		"an unknown chart":                              {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_CHART_NOT_FOUND, "no such chart"), reason: v1alpha1.ReasonChartNotFound, mention: "chart web of shop/charts"},
		"no version that matches":                       {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_VERSION_NOT_FOUND, "no match"), reason: v1alpha1.ReasonChartNotFound, mention: "^1.0.0"},
		"a malformed constraint":                        {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_CONSTRAINT_INVALID, "no constraint"), reason: v1alpha1.ReasonConfigurationError, mention: "^1.0.0"},
		"a repository that chartcache has not seen yet": {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_FOUND, "unknown"), reason: v1alpha1.ReasonDependencyNotReady, mention: "shop/charts"},
		"a repository that was never synced":            {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_REPOSITORY_NOT_SYNCED, "not synced"), reason: v1alpha1.ReasonDependencyNotReady, mention: "not synced"},
		"a repository that is down":                     {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNREACHABLE, "down"), reason: v1alpha1.ReasonSyncFailed, mention: "down"},
		"credentials that are refused":                  {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, "401"), reason: v1alpha1.ReasonAuthenticationFailed, mention: "401"},
		"credentials that nobody gave": {
			edit: func(r *v1alpha1.HelmRelease) {
				r.Spec.Chart.Repository, r.Spec.Chart.OCIRepository = nil, "oci://private.example.com/charts/web"
			},
			answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_UNAUTHORIZED, "401"), reason: v1alpha1.ReasonAuthenticationFailed,
			mention: "401; no HelmRepository of namespace shop is for this URL: give the credentials in one",
		},
		"a repository that is not there upstream": {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_NOT_FOUND, "404"), reason: v1alpha1.ReasonSyncFailed, mention: "404"},
		"an upstream that fails":                  {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_FAILED, "500"), reason: v1alpha1.ReasonSyncFailed, mention: "500"},
		"garbage instead of an index":             {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, "garbage"), reason: v1alpha1.ReasonSyncFailed, mention: "garbage"},
		"a digest that does not match":            {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH, "digest"), reason: v1alpha1.ReasonSyncFailed, mention: "digest"},
		"a HelmRepository that is wrong":          {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID, "type oci"), reason: v1alpha1.ReasonConfigurationError, mention: "type oci"},
		"chartcache itself is away":               {answer: unreachable(), reason: v1alpha1.ReasonDependencyNotReady, mention: "unreachable"},
		"chartcache has a fault":                  {answer: chartcacheError(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, "disk full"), reason: v1alpha1.ReasonDependencyNotReady, mention: "disk full"},
		"an answer that is no answer":             {answer: errors.New("surprise"), reason: v1alpha1.ReasonDependencyNotReady, mention: "surprise"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if c.edit != nil {
				b.objects.edit(c.edit)
			}
			b.charts.err = c.answer
			b.engine.cfg.DenyCrossNamespace = c.deny

			b.settle()

			b.assertReady(metav1.ConditionFalse, c.reason)
			assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, c.mention)
			events := b.events.take()
			require.Len(t, events, 1)
			assert.Contains(t, events[0], "Warning "+c.reason)
			assert.Contains(t, events[0], c.mention)
			assert.Empty(t, b.helm.done())
			writes := b.objects.writes
			after := b.once()
			assert.Equal(t, writes, b.objects.writes, "the same trouble is not told twice")
			assert.Empty(t, b.events.take())
			assert.Positive(t, after)
		})
	}
}

func TestChartcacheSaysWhenToAskAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts.err = &client.Error{
		Reason: chartcachev1.ErrorReason_ERROR_REASON_UPSTREAM_RATE_LIMITED, Message: "too many requests", RetryAfter: 42 * time.Second,
	}
	b.settle()
	assert.Equal(t, 42*time.Second, b.once())
}

func TestEveryReasonOfChartcacheIsInTheTable(t *testing.T) {
	t.Parallel()
	table := chartReasons()
	for number, name := range chartcachev1.ErrorReason_name {
		switch reason := chartcachev1.ErrorReason(number); reason {
		case chartcachev1.ErrorReason_ERROR_REASON_UNSPECIFIED, chartcachev1.ErrorReason_ERROR_REASON_INTERNAL,
			chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED: // chartcache cannot answer
		default:
			assert.Contains(t, table, reason, name)
		}
	}
}

func TestTheRevisionToRollBackTo(t *testing.T) {
	t.Parallel()
	history := func(statuses ...helm.Status) []helm.Revision { // oldest first
		var list []helm.Revision
		for i, status := range statuses {
			list = append([]helm.Revision{{Revision: i + 1, Status: status}}, list...)
		}
		return list
	}
	failed := func(revision int) []v1alpha1.ReleaseRevision {
		return []v1alpha1.ReleaseRevision{{Revision: revision, Status: "failed"}}
	}
	for name, c := range map[string]struct {
		history []helm.Revision
		known   []v1alpha1.ReleaseRevision
		wanted  int
		want    int
		problem string
	}{
		"the deployed one":                  {history: history("superseded", "deployed", "failed"), want: 2},
		"though a later one is superseded":  {history: history("deployed", "superseded", "failed"), want: 1},
		"else the newest superseded one":    {history: history("superseded", "superseded", "failed"), want: 2},
		"but not one that is known as bad":  {history: history("superseded", "superseded", "failed"), known: failed(2), want: 1},
		"none after a failed first install": {history: history("failed", "failed")},
		"none without history":              {},
		"the one that the spec names":       {history: history("superseded", "deployed", "failed"), wanted: 1, want: 1},
		"not one that is not there":         {history: history("deployed", "failed"), wanted: 9, problem: "revision 9"},
		"not one that failed":               {history: history("failed", "deployed", "failed"), wanted: 1, problem: "revision 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			revision, problem := rollbackTarget(c.history, c.known, c.wanted)
			assert.Equal(t, c.want, revision)
			if c.problem == "" {
				assert.Empty(t, problem)
			} else {
				assert.Contains(t, problem, c.problem)
			}
		})
	}
}

func TestTheHistoryOfTheStatusKeepsWhatIsDeployed(t *testing.T) {
	t.Parallel()
	p := newPass(nil, &v1alpha1.HelmRelease{})
	p.pushHistory(v1alpha1.ReleaseRevision{Revision: 1, Status: "deployed"})
	p.pushHistory(v1alpha1.ReleaseRevision{Revision: 2, Status: "deployed"})
	for revision := 3; revision < 12; revision++ {
		p.pushHistory(v1alpha1.ReleaseRevision{Revision: revision, Status: "failed"})
	}
	var revisions []int
	for _, r := range p.draft.Status.History {
		revisions = append(revisions, r.Revision)
	}
	assert.Equal(t, []int{11, 10, 9, 8, 2}, revisions)
}

func TestChartsArePartedIntoNameAndVersion(t *testing.T) {
	t.Parallel()
	for chart, want := range map[string][2]string{
		"web-1.2.3":                 {"web", "1.2.3"},
		"web-v1.2.3-rc.1":           {"web", "v1.2.3-rc.1"},
		"kube-state-metrics-5.16.0": {"kube-state-metrics", "5.16.0"},
		"s3-2-proxy-0.1.0-a-1.b":    {"s3-2-proxy", "0.1.0-a-1.b"},
		"web":                       {"web", ""},
		"-":                         {"-", ""},
		"web-1":                     {"web-1", ""},
	} {
		name, version := splitChart(chart)
		assert.Equal(t, want, [2]string{name, version}, chart)
	}
}

func FuzzSplitChart(f *testing.F) {
	f.Add("web-1.2.3")
	f.Add("a-v")
	f.Fuzz(func(t *testing.T, chart string) {
		name, version := splitChart(chart)
		if version != "" {
			name += "-" + version
		}
		require.Equal(t, chart, name)
	})
}

func TestTheDesiredDigestCoversWhatIsDeployed(t *testing.T) {
	t.Parallel()
	base := desiredDigest("chart", "values", appTarget, "")
	assert.Equal(t, base, desiredDigest("chart", "values", appTarget, ""))
	assert.NotEqual(t, base, desiredDigest("chart2", "values", appTarget, ""))
	assert.NotEqual(t, base, desiredDigest("chart", "values2", appTarget, ""))
	assert.NotEqual(t, base, desiredDigest("chart", "values", Target{Namespace: "shop", Name: "app2"}, ""))
	assert.NotEqual(t, base, desiredDigest("chart", "values", Target{Namespace: "shop2", Name: "app"}, ""))
	assert.LessOrEqual(t, len(OwnerHash(strings.Repeat("n", 63), strings.Repeat("n", 253))), 63)
	assert.NotEqual(t, OwnerHash("a", "b"), OwnerHash("b", "a"))
}
