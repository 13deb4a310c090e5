package helm

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ketches/helm-operator/operator/internal/readiness"
)

// identity is who reads and writes the objects of releases: the operator, or a ServiceAccount. Records are always those of the
// operator, and so is what is known about kinds.
type identity struct {
	rest *rest.Config
	kube kubernetes.Interface
	// objects sends no warnings to the log.
	objects dynamic.Interface
	// hub keeps the watches of waits.
	hub *readiness.Hub
}

// identities makes identities, once for each ServiceAccount. They hold no connection of their own: client-go shares it.
type identities struct {
	base        *rest.Config
	log         logr.Logger
	grace, poll time.Duration

	mu        sync.Mutex // guards byAccount
	byAccount map[string]*identity
}

// get returns the identity of a ServiceAccount, "namespace/name", or of the operator when it is empty.
func (s *identities) get(account string) (*identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byAccount[account]; known != nil {
		return known, nil
	}
	conf := rest.CopyConfig(s.base)
	if account != "" {
		namespace, name, _ := strings.Cut(account, "/")
		conf.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":" + name}
	}
	made, err := newIdentity(conf, readiness.Config{Log: s.log, Grace: s.grace, Poll: s.poll})
	if err != nil {
		return nil, err
	}
	if s.byAccount == nil {
		s.byAccount = map[string]*identity{}
	}
	s.byAccount[account] = made
	return made, nil
}

func newIdentity(conf *rest.Config, waits readiness.Config) (*identity, error) {
	httpClient, err := rest.HTTPClientFor(conf)
	if err != nil {
		return nil, fmt.Errorf("helm client: make the HTTP client: %w", err)
	}
	// The built-in types, records above all, cost less so. Manifests stay JSON, and so do custom resources.
	typed := rest.CopyConfig(conf)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	id := &identity{rest: conf}
	if id.kube, err = kubernetes.NewForConfigAndClient(typed, httpClient); err != nil {
		return nil, fmt.Errorf("helm client: make the Kubernetes client: %w", err)
	}
	watched, err := dynamic.NewForConfigAndClient(conf, httpClient)
	if err != nil {
		return nil, fmt.Errorf("helm client: make the client for waits: %w", err)
	}
	quiet := rest.CopyConfig(conf)
	quiet.WarningHandlerWithContext = rest.NoWarnings{}
	if id.objects, err = dynamic.NewForConfigAndClient(quiet, httpClient); err != nil {
		return nil, fmt.Errorf("helm client: make the client for objects: %w", err)
	}
	waits.Source = readiness.FromDynamic(watched)
	if id.hub, err = readiness.New(waits); err != nil {
		return nil, fmt.Errorf("helm client: %w", err)
	}
	return id, nil
}
