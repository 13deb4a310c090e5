package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/repo"
)

// smallChart is the chart of the release figures; smallObjects is how many objects it has.
const (
	smallChart   = "small"
	smallObjects = 4
)

// smallTemplates are four objects that are ready as soon as their controllers have seen them; with replicas and a node that
// does not exist, the Deployment waits for ever.
func smallTemplates() map[string]string {
	return map[string]string{
		"templates/serviceaccount.yaml": `apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}
  labels: {version: {{ .Chart.Version | quote }}}
`,
		"templates/service.yaml": `apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
  labels: {version: {{ .Chart.Version | quote }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{port: 80}]
`,
		"templates/ingress.yaml": `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .Release.Name }}
  labels: {version: {{ .Chart.Version | quote }}}
spec:
  rules:
    - host: {{ .Release.Name }}.example.invalid
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: {{ .Release.Name }}, port: {number: 80}}}}]
`,
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}, version: {{ .Chart.Version | quote }}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      nodeSelector: {example.invalid/node: nowhere}
      containers:
        - {name: web, image: "example.invalid/web:1"}
`,
	}
}

// chartServer is a chart repository on loopback.
type chartServer struct {
	url, folder string
	server      *http.Server
	ended       chan error
}

// serveCharts serves a folder of charts.
func serveCharts(ctx context.Context, folder string) (*chartServer, error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &chartServer{
		url: "http://" + listener.Addr().String(), folder: folder, ended: make(chan error, 1),
		server: &http.Server{Handler: http.FileServer(http.Dir(folder)), ReadHeaderTimeout: time.Minute},
	}
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *chartServer) stop() error {
	err := s.server.Close()
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// publish adds a version of the small chart.
func (s *chartServer) publish(version string) error {
	c := &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: smallChart, Version: version, Description: "four small objects"},
		Raw:      []*chart.File{{Name: chartutil.ValuesfileName, Data: []byte("replicas: 0\n")}},
		Values:   map[string]any{"replicas": 0},
	}
	for name, text := range smallTemplates() {
		c.Templates = append(c.Templates, &chart.File{Name: name, Data: []byte(text)})
	}
	if _, err := chartutil.Save(c, s.folder); err != nil {
		return fmt.Errorf("save chart %s %s: %w", smallChart, version, err)
	}
	index, err := repo.IndexDirectory(s.folder, s.url)
	if err != nil {
		return fmt.Errorf("index the charts: %w", err)
	}
	index.SortEntries()
	return index.WriteFile(filepath.Join(s.folder, "index.yaml"), 0o600)
}
