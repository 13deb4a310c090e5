package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestKubectlShowsColumnsAndEvents(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	url := newChartRepository(t, echoChart("1.0.0")).URL
	s.repository("charts", url)
	s.apply(s.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.Chart.Version = "^1.0.0" }))
	s.until("app", ready)
	get := func(args ...string) string {
		return kubectl(t, append([]string{"get", "--namespace", s.namespace}, args...)...)
	}

	assert.Regexp(t, `^NAME +URL +READY +STATUS +AGE\ncharts +`+url+` +True +Repository synced successfully, found 1 charts +\d+s\n$`, get("hrepo"))
	assert.Regexp(t, `^NAME +URL +READY +STATUS +AGE +CHARTS +LAST SYNC\n.* 1 +\d+s\n$`, get("hrepo", "-o", "wide"))
	assert.Regexp(t, `^NAME +CHART +VERSION +REVISION +READY +STATUS +AGE\napp +web +\^1\.0\.0 +1 +True +Release is ready +\d+s\n$`, get("hrel"))
	assert.Regexp(t, `^NAME +CHART .* AGE +DEPLOYED +APP VERSION +LATEST\napp .*s +web-1\.0\.0 +1 *\n$`, get("hrel", "-o", "wide"))
	both := get("helm")
	assert.Contains(t, both, "helmrepository.helm-operator.ketches.cn/charts")
	assert.Contains(t, both, "helmrelease.helm-operator.ketches.cn/app")
	kubectl(t, "wait", "--namespace", s.namespace, "--for=condition=Ready", "hrepo/charts", "hrel/app", "--timeout=60s")

	for object, reason := range map[string]string{"app": v1alpha1.ReasonInstallCompleted, "charts": v1alpha1.ReasonSyncCompleted} {
		s.event(object, "Normal", reason)
		assert.Contains(t, get("events", "--field-selector", "involvedObject.name="+object), reason)
	}
}
