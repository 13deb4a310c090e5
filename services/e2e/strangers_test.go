package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Two teams call their repositories alike, and their charts and files are called alike, too.
func TestRepositoriesOfOneNameInTwoNamespacesAreStrangers(t *testing.T) {
	t.Parallel()
	one, two := newStory(t), newStory(t)
	saying := func(text, version string) chart { return echoChart(version).with("values.yaml", "message: "+text+"\n") }
	servers := map[*story]*chartRepository{
		one: newChartRepository(t, saying("one", "1.0.0")), two: newChartRepository(t, saying("two", "1.0.0")),
	}
	for s, server := range servers {
		s.repository("charts", server.URL)
		s.apply(s.release("app"))
	}
	one.until("app", ready)
	two.until("app", ready)
	assert.Equal(t, "one", one.message("app"))
	assert.Equal(t, "two", two.message("app"))

	// The end of one is no end of the other.
	gone := &v1alpha1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: one.namespace, Name: "charts"}}
	require.NoError(t, one.Delete(one.ctx, gone))
	one.gone(gone)
	servers[two].publish(t, saying("two, too", "1.1.0"))
	two.until("app", readyAt("web-1.1.0"))
	assert.Equal(t, "two, too", two.message("app"))
	one.apply(one.release("late"))
	one.until("late", notReady(v1alpha1.ReasonRepositoryNotFound))
	assert.Equal(t, "one", one.message("app"), "what was installed stays")
}
