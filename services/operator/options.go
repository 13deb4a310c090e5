package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ketches/helm-operator/services/internal/logging"
	"github.com/ketches/helm-operator/services/internal/tlsfiles"
)

// options are the flags.
type options struct {
	chartcacheAddress string
	chartcacheTLS     tlsfiles.ClientOptions
	kubeconfig        string

	metricsAddress string
	probeAddress   string

	leaderElect          bool
	leaderElectNamespace string

	watchNamespaces []string
	watchSelector   string

	concurrentReconciles           int
	concurrentOperations           int
	maxOperations                  int
	denyCrossNamespaceRepositories bool

	logging logging.Options
}

func (o *options) addFlags(set *pflag.FlagSet) {
	set.StringVar(&o.chartcacheAddress, "chartcache-address", "chartcache:9090", "Address of chartcache's gRPC server: host:port, balanced over all addresses that the host resolves to, or a gRPC target such as unix:///run/chartcache.sock. In plaintext, unless one of the TLS flags below is given.")
	o.chartcacheTLS.Names = tlsfiles.FlagNames{
		CA: "chartcache-ca-file", Cert: "chartcache-tls-cert-file", Key: "chartcache-tls-key-file", ServerName: "chartcache-server-name",
	}
	o.chartcacheTLS.AddFlags(set)
	set.StringVar(&o.kubeconfig, "kubeconfig", "", "Path of a kubeconfig file. Without it, the account of the Pod, or the files that kubectl uses.")

	set.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "Address of /metrics; 0 turns it off.")
	set.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz; 0 turns them off.")

	set.BoolVar(&o.leaderElect, "leader-elect", false, "Work only while holding a Lease, so that of several replicas one works and the others stand by. Without it, there must be one replica only.")
	set.StringVar(&o.leaderElectNamespace, "leader-election-namespace", "", "Namespace of the Lease. Without it, the namespace of the Pod; needed outside a cluster.")

	set.StringSliceVar(&o.watchNamespaces, "watch-namespaces", nil, "Namespaces whose HelmReleases and HelmRepositories are reconciled, separated by commas. Without it, all. Objects of other namespaces do not exist for this operator.")
	set.StringVar(&o.watchSelector, "watch-label-selector", "", "Label selector of the HelmReleases that are reconciled, such as team=a,shard!=2. Without it, all. Operators with different selectors, or different namespaces, work side by side: each has a Lease of its own. Change the labels of a HelmRelease only while no operation of it runs.")

	set.IntVar(&o.concurrentReconciles, "concurrent-reconciles", 8, "Number of objects of each kind that are reconciled at the same time. One of them may wait for chartcache, which may wait for an upstream.")
	set.IntVar(&o.concurrentOperations, "concurrent-operations", 16, "Number of Helm operations that render and apply at the same time. Those that wait for readiness do not count.")
	set.IntVar(&o.maxOperations, "max-operations", 1000, "Number of Helm operations that are under way at the same time, those that wait for readiness included.")
	set.BoolVar(&o.denyCrossNamespaceRepositories, "deny-cross-namespace-repositories", false, "Refuse a HelmRelease that names a HelmRepository of another namespace.")

	o.logging.AddFlags(set)
}

// check says what is wrong with the flags, all of it.
func (o *options) check() error {
	var wrong []error
	if o.chartcacheAddress == "" {
		wrong = append(wrong, errors.New("--chartcache-address must not be empty"))
	}
	if err := o.chartcacheTLS.Check(); err != nil {
		wrong = append(wrong, err)
	}
	if _, err := labels.Parse(o.watchSelector); err != nil {
		wrong = append(wrong, fmt.Errorf("--watch-label-selector: %w", err))
	}
	for _, namespace := range o.watchNamespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			wrong = append(wrong, fmt.Errorf("--watch-namespaces: %q is not a valid name of a namespace", namespace))
		}
	}
	for _, positive := range []struct {
		flag  string
		value int
	}{
		{"concurrent-reconciles", o.concurrentReconciles},
		{"concurrent-operations", o.concurrentOperations},
		{"max-operations", o.maxOperations},
	} {
		if positive.value <= 0 {
			wrong = append(wrong, fmt.Errorf("--%s must be more than 0", positive.flag))
		}
	}
	return errors.Join(wrong...)
}

// scope says what this operator looks at.
type scope struct {
	namespaces []string
	selector   labels.Selector
}

// scope returns what the flags, which were checked, say.
func (o *options) scope() (scope, error) {
	selector, err := labels.Parse(o.watchSelector)
	if err != nil {
		return scope{}, fmt.Errorf("--watch-label-selector: %w", err)
	}
	namespaces := slices.Clone(o.watchNamespaces)
	slices.Sort(namespaces)
	return scope{namespaces: slices.Compact(namespaces), selector: selector}, nil
}

// leaseName returns the name of the Lease of the operators of a scope. Those of other scopes work beside them.
func (s scope) leaseName() string {
	if len(s.namespaces) == 0 && s.selector.Empty() {
		return leaderElectionID
	}
	sum := sha256.Sum256([]byte(strings.Join(s.namespaces, ",") + "/" + s.selector.String()))
	return leaderElectionID + "-" + hex.EncodeToString(sum[:5])
}
