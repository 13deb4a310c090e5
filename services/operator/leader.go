package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/ketches/helm-operator/operator/fence"
)

// Times of the leader election, those of Kubernetes' own components: a leader that did not renew its lease for renewDeadline
// writes nothing more, and another one may lead after leaseDuration.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// namespaceFile holds the namespace of a Pod.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// leadership is what this process needs to lead, and to stop writing when it does no more. The zero value is that of a process
// that needs not lead.
type leadership struct {
	lock  resourcelock.Interface
	lease *fence.Lease
}

// newLeadership prepares the leader election. It makes no request.
func newLeadership(config *rest.Config, opts *options, watched scope) (leadership, error) {
	if !opts.leaderElect {
		return leadership{}, nil
	}
	namespace := opts.leaderElectNamespace
	if namespace == "" {
		content, err := os.ReadFile(namespaceFile)
		if errors.Is(err, os.ErrNotExist) {
			return leadership{}, errors.New("elect a leader: outside a cluster, --leader-election-namespace must name the namespace of the Lease")
		}
		if err != nil {
			return leadership{}, fmt.Errorf("elect a leader: read the namespace of the Pod: %w", err)
		}
		namespace = strings.TrimSpace(string(content))
	}
	host, err := os.Hostname()
	if err != nil {
		return leadership{}, fmt.Errorf("elect a leader: read the name of the host: %w", err)
	}
	config = rest.CopyConfig(config)
	// A request must not outlive the time in which it could still help.
	config.Timeout = renewDeadline / 2
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return leadership{}, fmt.Errorf("elect a leader: make the client: %w", err)
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, watched.leaseName(), client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())})
	if err != nil {
		return leadership{}, fmt.Errorf("elect a leader: %w", err)
	}
	lease := fence.NewLease(renewDeadline, nil)
	return leadership{lock: fence.Lock(lock, lease), lease: lease}, nil
}

// fenced returns the configuration for all other clients: what they write is refused unless this process leads.
func (l leadership) fenced(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	if l.lease != nil {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return fence.Transport(next, l.lease.Check) })
	}
	return config
}

// check returns an error when this process may not write; nil for one that needs not lead.
func (l leadership) check() func() error {
	if l.lease == nil {
		return nil
	}
	return l.lease.Check
}
