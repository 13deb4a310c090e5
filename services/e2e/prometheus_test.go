package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/services/internal/localstack"
)

// rulesFile holds the alerts that are shipped.
const rulesFile = "../../deploy/alerts/ketches.rules.yaml"

// prometheus is a real Prometheus.
type prometheus struct {
	*testing.T

	url string
}

// prometheusTool is the path of a program of Prometheus.
func prometheusTool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../.tools/bin/" + name)
	require.NoError(t, err)
	require.FileExists(t, path, "build it with `make prometheus`")
	return path
}

// newPrometheus starts a Prometheus that has the shipped rules and scrapes services, by the name of the Service of each, as a
// ServiceMonitor makes it do: namespace and service are those of the Service.
func newPrometheus(t *testing.T, services map[string]*localstack.Service) *prometheus {
	t.Helper()
	rules, err := filepath.Abs(rulesFile)
	require.NoError(t, err)
	jobs := []any{}
	for name, service := range services {
		jobs = append(jobs, map[string]any{"job_name": name, "static_configs": []any{map[string]any{
			"targets": []string{service.Metrics},
			"labels":  map[string]string{"namespace": "ketches", "service": name, "endpoint": "metrics"},
		}}})
	}
	config, err := json.Marshal(map[string]any{ // which is YAML
		"global":         map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{rules},
		"scrape_configs": jobs,
	})
	require.NoError(t, err)
	folder := t.TempDir()
	file := filepath.Join(folder, "prometheus.yaml")
	require.NoError(t, os.WriteFile(file, config, 0o600))

	listener, err := net.Listen("tcp", "127.0.0.1:0") // another process could take it in between; Prometheus reports that
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	log, err := os.Create(filepath.Join(folder, "prometheus.log"))
	require.NoError(t, err)
	process := exec.Command(prometheusTool(t, "prometheus"), "--config.file", file, "--web.listen-address", address,
		"--storage.tsdb.path", filepath.Join(folder, "data"), "--log.level", "warn")
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		assert.NoError(t, process.Process.Kill())
		_ = process.Wait() // it was killed
		assert.NoError(t, log.Close())
		if said, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("--- prometheus ---\n%s", said)
		}
	})
	p := &prometheus{T: t, url: "http://" + address}
	require.Eventually(t, func() bool {
		response, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		return assert.NoError(t, response.Body.Close()) && response.StatusCode == http.StatusOK
	}, patience, scrapeTick)
	return p
}

// get reads the data of an answer of the HTTP API.
func (p *prometheus) get(path string, into any) error {
	response, err := http.Get(p.url + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          json.RawMessage
	}{}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// sample of a query's answer.
type promSample struct {
	labels map[string]string
	value  float64
}

// query runs a query now. Samples that are no number are left out.
func (p *prometheus) query(text string) ([]promSample, error) {
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	if err := p.get("query?query="+url.QueryEscape(text), &data); err != nil {
		return nil, err
	}
	var samples []promSample
	for _, result := range data.Result {
		text, _ := result.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		if !math.IsNaN(value) {
			samples = append(samples, promSample{labels: result.Metric, value: value})
		}
	}
	return samples, nil
}

// until waits until a query has a sample with labels and returns the value of that one.
func (p *prometheus) until(query string, labels map[string]string, accept func(float64) bool) float64 {
	p.Helper()
	var found float64
	require.EventuallyWithT(p, func(c *assert.CollectT) {
		samples, err := p.query(query)
		require.NoError(c, err)
		for _, sample := range samples {
			found = sample.value
			if subset(labels, sample.labels) && accept(found) {
				return
			}
		}
		assert.Fail(c, "no such sample", "%s has %v, none with %v that fits", query, samples, labels)
	}, patience, scrapeTick)
	return found
}

// subset reports whether a set of labels has all of another.
func subset(of, labels map[string]string) bool {
	for name, value := range of {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// promAlert is an alert that waits or fires.
type promAlert struct {
	Labels, Annotations map[string]string
	State               string
}

// alert waits until an alert with labels is in a state and returns it.
func (p *prometheus) alert(state string, labels map[string]string) promAlert {
	p.Helper()
	var data struct{ Alerts []promAlert }
	var found promAlert
	require.EventuallyWithT(p, func(c *assert.CollectT) {
		require.NoError(c, p.get("alerts", &data))
		for _, alert := range data.Alerts {
			if found = alert; subset(labels, alert.Labels) && alert.State == state {
				return
			}
		}
		assert.Fail(c, "no such alert", "there are %v, none with %v that is %s", data.Alerts, labels, state)
	}, patience, scrapeTick)
	return found
}
