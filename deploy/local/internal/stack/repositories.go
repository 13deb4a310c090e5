package stack

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/ketches/helm-operator/deploy/local/internal/charts"
	"github.com/ketches/helm-operator/deploy/local/internal/process"
)

// ociPath is where Publisher pushes charts in the registry.
const ociPath = "charts"

func (s *Stack) startCharts() error {
	dir, err := s.run.Folder("charts")
	if err != nil {
		return err
	}
	user, password, _ := strings.Cut(s.cfg.ChartsUser, ":")
	// Not bound to the context of starting: it serves until Close.
	s.charts, err = charts.Listen(context.Background(), dir, user, password)
	if err != nil {
		return err
	}
	s.Info.Charts = ChartsInfo{URL: s.charts.URL, Dir: dir, Username: user, Password: password}
	return nil
}

func (s *Stack) startRegistry(ctx context.Context) error {
	dir, err := s.run.Folder("registry")
	if err != nil {
		return err
	}
	var extra string // of the http section; auth and tls
	scheme, client := "http", &http.Client{Transport: &http.Transport{}}
	s.Info.Registry.PlainHTTP = !s.cfg.RegistryTLS
	if s.cfg.RegistryTLS {
		scheme = "https"
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.authority.Pool(), MinVersion: tls.VersionTLS12}}
		if extra, err = s.registryTLS(dir); err != nil {
			return err
		}
	}
	defer client.CloseIdleConnections()
	auth, err := s.registryAuth(dir)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "config.yaml")
	content := fmt.Sprintf(registryConfig, filepath.Join(dir, "data"), extra, auth)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		return fmt.Errorf("write configuration of registry: %w", err)
	}
	var host string
	_, err = s.launcher.Start(ctx, process.Service{
		Ports: 1, ReadyWithin: time.Minute,
		Spec: func(addresses []string) process.Spec {
			host = addresses[0]
			return process.Spec{
				Name: "registry", Path: filepath.Join(s.cfg.State.Bin(), "registry"), Dir: dir, Args: []string{"serve", config},
				// The address is given here, since it changes from attempt to attempt.
				Env: []string{"REGISTRY_HTTP_ADDR=" + host, "OTEL_TRACES_EXPORTER=none", "REGISTRY_HTTP_SECRET=" + s.cfg.Name},
			}
		},
		Ready: func(ctx context.Context) error {
			return process.Answers(ctx, client, scheme+"://"+host+"/v2/", http.StatusOK, http.StatusUnauthorized)
		},
	})
	s.Info.Registry.Host = host
	return err
}

const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http:
  addr: 127.0.0.1:0
%s
%s
`

// registryTLS makes a certificate and returns the lines of the registry's http section that name it.
func (s *Stack) registryTLS(dir string) (string, error) {
	pair, err := s.authority.Server("registry", "127.0.0.1", "localhost")
	if err != nil {
		return "", err
	}
	certificate, key, ca := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")
	for path, data := range map[string][]byte{certificate: pair.Certificate, key: pair.Key, ca: s.authority.PEM()} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return "", fmt.Errorf("write certificate of registry: %w", err)
		}
	}
	s.Info.Registry.CA = ca
	return fmt.Sprintf("  tls: {certificate: %q, key: %q}", certificate, key), nil
}

// registryAuth writes the password file and returns the auth section that names it.
func (s *Stack) registryAuth(dir string) (string, error) {
	if s.cfg.RegistryUser == "" {
		return "", nil
	}
	user, password, _ := strings.Cut(s.cfg.RegistryUser, ":")
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash password of registry: %w", err)
	}
	path := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(path, []byte(user+":"+string(hash)+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write password of registry: %w", err)
	}
	s.Info.Registry.Username, s.Info.Registry.Password = user, password
	return fmt.Sprintf("auth:\n  htpasswd: {realm: local, path: %q}", path), nil
}

// Publisher publishes charts in this stack.
func (s *Stack) Publisher() (charts.Publisher, error) {
	home, err := s.run.Folder("helm")
	if err != nil {
		return charts.Publisher{}, err
	}
	return s.Info.Publisher(home), nil
}

// Publisher publishes charts in the described stack; home is a folder for helm's own files.
func (i Info) Publisher(home string) charts.Publisher {
	return charts.Publisher{
		Helm: filepath.Join(i.Bin, "helm"), Home: home, Folder: i.Charts.Dir,
		Registry: i.Registry.Host + "/" + ociPath, PlainHTTP: i.Registry.PlainHTTP, CA: i.Registry.CA,
		Username: i.Registry.Username, Password: i.Registry.Password,
	}
}

// OCIURL is the address of the registry's charts as a HelmRepository names it.
func (i Info) OCIURL() string { return "oci://" + i.Registry.Host + "/" + ociPath }
