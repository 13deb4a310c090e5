package helm

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestARevisionThatIsThereAlreadyWhenItIsWritten(t *testing.T) {
	record := func(labels map[string]string) func(*fixture) {
		return func(f *fixture) {
			_, err := f.kube.CoreV1().Secrets(f.namespace).Create(f.t.Context(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: recordKey("web", 2), Labels: labels},
			}, metav1.CreateOptions{})
			assert.NoError(f.t, err)
		}
	}
	for name, c := range map[string]struct {
		// before is what happens at the instant before the record arrives; without it, the record arrives twice.
		before func(*fixture)
		check  func(*testing.T, *fixture, Release, error)
	}{
		"is that of who was faster": {
			before: record(map[string]string{labelOwner: recordOwner, labelName: "web", labelVersion: "2", labelStatus: "pending-upgrade"}),
			check: func(t *testing.T, f *fixture, _ Release, err error) {
				require.ErrorIs(t, err, ErrOvertaken)
				assert.Zero(t, wantError(t, err).Revision)
				assert.Equal(t, "old", f.data("web-config")["text"], "nothing was done")
			},
		},
		"is our own, if the answer to the first request was lost": {
			check: func(t *testing.T, f *fixture, rel Release, err error) {
				require.NoError(t, err)
				assert.Equal(t, StatusDeployed, rel.Status)
				assert.Equal(t, rel.ResourceVersion, f.last("web").ResourceVersion)
				assert.Equal(t, "new", f.data("web-config")["text"])
			},
		},
		"is a Secret that nobody would find": {
			before: record(nil),
			check: func(t *testing.T, _ *fixture, _ Release, err error) {
				require.NotErrorIs(t, err, ErrOvertaken, "who looked again would find nothing and try again, for ever")
				assert.Contains(t, wantError(t, err).Message, "Secret sh.helm.release.v1.web.v2 exists")
				assert.Contains(t, wantError(t, err).Message, "delete it")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var armed atomic.Bool
			var f *fixture
			f = newFixtureWith(t, func(config *Config) {
				config.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
					return roundTripper(func(r *http.Request) (*http.Response, error) {
						if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/secrets") || !armed.Swap(false) {
							return next.RoundTrip(r)
						}
						if c.before != nil {
							c.before(f)
							return next.RoundTrip(r)
						}
						body, err := io.ReadAll(r.Body)
						if err != nil {
							return nil, err
						}
						first := r.Clone(r.Context())
						first.Body, r.Body = io.NopCloser(bytes.NewReader(body)), io.NopCloser(bytes.NewReader(body))
						lost, err := next.RoundTrip(first)
						if err != nil {
							return nil, err
						}
						_ = lost.Body.Close()
						return next.RoundTrip(r)
					})
				})
			})
			f.install("web", "1", simpleChart(t, "1.0.0"), map[string]any{"text": "old"})
			armed.Store(true)
			rel, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
				Target: f.target("web", "2"), ChartSource: ChartSource{Chart: simpleChart(t, "1.0.0"), Values: map[string]any{"text": "new"}},
			})
			assert.False(t, armed.Load())
			c.check(t, f, rel, err)
		})
	}
}
