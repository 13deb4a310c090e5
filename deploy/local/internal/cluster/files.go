package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/ketches/helm-operator/deploy/local/internal/pki"
)

// serviceRange is a /16 because the usual /24 is used up by 254 Services, which a benchmark has in no time.
const (
	serviceRange   = "10.0.0.0/16"
	firstServiceIP = "10.0.0.1"
)

const schedulerConfigTemplate = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
clientConnection:
  kubeconfig: %q
  qps: 500
  burst: 1000
`

// files are the certificates and keys of a control plane, as files and, where needed, in memory.
type files struct {
	dir       string
	admin     pki.Pair
	tlsConfig *tls.Config
}

// writeFiles makes all certificates and keys. Everything lies in dir/pki, readable by its owner only.
func writeFiles(dir string, authority *pki.Authority) (files, error) {
	f := files{dir: filepath.Join(dir, "pki")}
	server, err1 := authority.Server("kube-apiserver", "127.0.0.1", "localhost", firstServiceIP,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	admin, err2 := authority.Client("local-admin", "system:masters")
	tokens, err3 := pki.SigningKey()
	if err := errors.Join(err1, err2, err3); err != nil {
		return files{}, err
	}
	f.admin = admin
	certificate, err := tls.X509KeyPair(admin.Certificate, admin.Key)
	if err != nil {
		return files{}, fmt.Errorf("load administrator's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	f.tlsConfig = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}

	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return files{}, fmt.Errorf("make certificate folder: %w", err)
	}
	for name, data := range map[string][]byte{
		"ca.crt":        authority.PEM(),
		"apiserver.crt": server.Certificate,
		"apiserver.key": server.Key,
		"tokens.pub":    tokens.Certificate,
		"tokens.key":    tokens.Key,
	} {
		if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
			return files{}, fmt.Errorf("write %s: %w", name, err)
		}
	}
	return f, nil
}

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

func (f files) adminTransport() *http.Transport { return &http.Transport{TLSClientConfig: f.tlsConfig} }

func (f files) apiServerArgs(address, etcd string) []string {
	host, port, _ := net.SplitHostPort(address) // made by net.JoinHostPort
	return []string{
		"--bind-address=" + host, "--secure-port=" + port,
		"--etcd-servers=" + etcd,
		"--tls-cert-file=" + f.path("apiserver.crt"), "--tls-private-key-file=" + f.path("apiserver.key"),
		"--client-ca-file=" + f.path("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + f.path("tokens.pub"), "--service-account-signing-key-file=" + f.path("tokens.key"),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=" + serviceRange,
		// The API server refuses to publish a loopback address as endpoint of the Service "kubernetes"; nobody uses it here.
		"--endpoint-reconciler-type=none",
	}
}

func (f files) controllerManagerArgs(kubeconfig string) []string {
	args := []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--secure-port=0",
		"--root-ca-file=" + f.path("ca.crt"),
		"--service-account-private-key-file=" + f.path("tokens.key"),
		// The default of 20 requests per second is what every benchmark would measure.
		"--kube-api-qps=500", "--kube-api-burst=1000",
		// A machine that was suspended or is overloaded must not lose its nodes, and with them all Pods.
		"--node-monitor-grace-period=5m",
	}
	for _, controller := range []string{"deployment", "replicaset", "statefulset", "daemonset", "job", "cron-job", "endpoint",
		"service-endpoint", "namespace", "gc", "serviceaccount-token"} {
		args = append(args, "--concurrent-"+controller+"-syncs=20")
	}
	return args
}
