package helm

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// dying is a process that ends as soon as it has changed a record that it had made: nothing leaves it after that.
type dying struct {
	record string
	armed  atomic.Bool
	dead   atomic.Bool
}

func (d *dying) use(config *Config) {
	config.REST = rest.CopyConfig(config.REST)
	config.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if d.dead.Load() {
				return nil, errUnreachable
			}
			response, err := next.RoundTrip(r)
			if d.armed.Load() && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/secrets/"+d.record) {
				d.dead.Store(true)
			}
			return response, err
		})
	})
}

// failedUpgrade makes a failed revision that leaves a ConfigMap of its own and shares none with others.
func (f *fixture) failedUpgrade(operation, leaves string) {
	f.t.Helper()
	_, err := f.helm.Upgrade(f.t.Context(), UpgradeOptions{
		Target: f.target("web", operation),
		ChartSource: ChartSource{Chart: tarball(f.t, "simple", "2.0.0", chartFiles{
			"values.yaml":           "text: default\n",
			"templates/config.yaml": configMap,
			"templates/extra.yaml":  strings.Replace(configMap, "-config", "-"+leaves, 1),
			"templates/web.yaml":    deployment,
		})},
		Waiting: Waiting{Wait: true, Timeout: 200 * time.Millisecond},
	})
	require.ErrorIs(f.t, err, ErrTimeout)
	require.NotNil(f.t, f.data("web-"+leaves), "without cleanup it stays")
}

func TestAProcessThatDiesOnceARevisionIsDeployedLeavesNothingOfFailedOnes(t *testing.T) {
	tests := []struct {
		name string
		last string // the record that says "deployed"
		act  func(*fixture) (Release, error)
	}{
		{"after an upgrade", "sh.helm.release.v1.web.v4", func(f *fixture) (Release, error) {
			return f.helm.Upgrade(f.t.Context(), UpgradeOptions{
				Target: f.target("web", "4"), ChartSource: ChartSource{Chart: simpleChart(f.t, "1.0.1")},
			})
		}},
		{"after a rollback", "sh.helm.release.v1.web.v4", func(f *fixture) (Release, error) {
			return f.helm.Rollback(f.t.Context(), RollbackOptions{Target: f.target("web", "4"), ToRevision: 1})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &dying{record: tt.last}
			f := newFixtureWith(t, d.use)
			f.install("web", "1", simpleChart(t, "1.0.0"), nil)
			f.failedUpgrade("2", "first")
			f.failedUpgrade("3", "second")
			d.armed.Store(true)

			rel, err := tt.act(f)
			require.NoError(t, err)
			assert.Equal(t, StatusDeployed, rel.Status)
			require.True(t, d.dead.Load(), "the process was stopped")
			assert.Nil(t, f.data("web-first"))
			assert.Nil(t, f.data("web-second"))
			assert.NotNil(t, f.data("web-config"))
		})
	}
}

func TestLeftoversThatCannotBeReadAreNotWhyARollbackFails(t *testing.T) {
	f := newFixture(t)
	op := f.helm.begin(t.Context(), kindRollback, f.target("web", "1"), nil)
	op.aside(func() {
		op.deleteLeftovers([]string{"apiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: a}\n"}, nil)
	})
	assert.NoError(t, op.cause)
	assert.Empty(t, op.stage)
}
