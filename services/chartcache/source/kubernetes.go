package source

import (
	"context"
	"fmt"
	"sync"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Cluster takes repositories from the HelmRepository objects of a cluster. Its only informer is of HelmRepository.
type Cluster struct {
	// Objects lists and watches HelmRepository objects; see ListWatch.
	Objects cache.ListerWatcher
	// Policy turns objects into specs.
	Policy Policy
	// Catalog takes them.
	Catalog Catalog
	// Logger gets what the informer does at level debug; the catalog tells of repositories.
	Logger zerolog.Logger
}

// Run lists the objects, calls listed once when all of them are in the catalog, and goes on with every change until ctx
// ends. An API server that is away is waited for.
func (c Cluster) Run(ctx context.Context, listed func()) error {
	informer := cache.NewSharedInformer(c.Objects, &v1alpha1.HelmRepository{}, 0)
	// Managed fields are a large part of an object, and nobody here reads them or its status.
	if err := informer.SetTransform(strip); err != nil {
		return fmt.Errorf("prepare to watch HelmRepository objects: %w", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			// ListWatch tells of an API server that is away; what is left is the ordinary end of a watch.
			c.Logger.Debug().Err(err).Msg("watch of HelmRepository objects ended; it is started again")
		}
	}); err != nil {
		return fmt.Errorf("prepare to watch HelmRepository objects: %w", err)
	}
	registration, err := informer.AddEventHandler(c.handler())
	if err != nil {
		return fmt.Errorf("prepare to watch HelmRepository objects: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	// The registration is synced when the handler has had every object of the first list, not only the informer.
	if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		listed()
	}
	<-done
	return nil
}

func (c Cluster) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if r, ok := object.(*v1alpha1.HelmRepository); ok {
				c.Logger.Debug().Str("namespace", r.Namespace).Str("name", r.Name).Msg("HelmRepository seen")
				c.Catalog.Put(c.Policy.Spec(r))
			}
		},
		UpdateFunc: func(before, after any) {
			was, okBefore := before.(*v1alpha1.HelmRepository)
			is, okAfter := after.(*v1alpha1.HelmRepository)
			if !okBefore || !okAfter {
				return
			}
			// An object that was deleted and made again between two lists has another UID, and its generation starts over.
			if was.UID != is.UID || was.Generation != is.Generation {
				c.Catalog.Put(c.Policy.Spec(is))
			}
		},
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			if r, ok := object.(*v1alpha1.HelmRepository); ok {
				c.Catalog.Delete(refOf(r))
			}
		},
	}
}

func refOf(object *v1alpha1.HelmRepository) catalog.Ref {
	return catalog.Ref{Namespace: object.Namespace, Name: object.Name}
}

func strip(object any) (any, error) {
	if r, ok := object.(*v1alpha1.HelmRepository); ok {
		r.ManagedFields = nil
		r.Annotations = nil
		r.Status = v1alpha1.HelmRepositoryStatus{}
	}
	return object, nil
}

// ListWatch lists and watches the HelmRepository objects of all namespaces. The logger gets one line when the API server
// stops answering, and one when it answers again.
func ListWatch(config *rest.Config, log zerolog.Logger) (cache.ListerWatcher, error) {
	client, err := restClient(config, v1alpha1.GroupVersion, "/apis", v1alpha1.AddToScheme)
	if err != nil {
		return nil, fmt.Errorf("create client for HelmRepository objects: %w", err)
	}
	lw := cache.NewListWatchFromClient(client, "helmrepositories", "", fields.Everything())
	// Reflectors retry a refused connection without telling anybody, so it has to be seen here.
	outage := &outage{log: log}
	list, watchFrom := lw.ListWithContextFunc, lw.WatchFuncWithContext
	lw.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		objects, err := list(ctx, options)
		outage.report(ctx, err)
		return objects, err
	}
	lw.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		w, err := watchFrom(ctx, options)
		outage.report(ctx, err)
		return w, err
	}
	return lw, nil
}

// outage logs when requests begin to fail and when they succeed again, and nothing in between.
type outage struct {
	log zerolog.Logger

	mu      sync.Mutex // guards failing
	failing bool
}

func (o *outage) report(ctx context.Context, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil && o.failing:
		o.failing = false
		o.log.Info().Msg("the Kubernetes API server answers again")
	case err != nil && !o.failing && ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err):
		o.failing = true
		o.log.Warn().Err(err).Msg("HelmRepository objects cannot be listed or watched; it is tried again")
	}
}

// ClusterSecrets reads Secrets of a cluster. It needs the verb get on them and no other.
type ClusterSecrets struct{ client rest.Interface }

// NewClusterSecrets prepares a reader of the Secrets of a cluster.
func NewClusterSecrets(config *rest.Config) (ClusterSecrets, error) {
	client, err := restClient(config, corev1.SchemeGroupVersion, "/api", corev1.AddToScheme)
	if err != nil {
		return ClusterSecrets{}, fmt.Errorf("create client for Secrets: %w", err)
	}
	return ClusterSecrets{client: client}, nil
}

// Secret reads one Secret from the API server.
func (c ClusterSecrets) Secret(ctx context.Context, namespace, name string) (Secret, bool, error) {
	var secret corev1.Secret
	err := c.client.Get().Namespace(namespace).Resource("secrets").Name(name).Do(ctx).Into(&secret)
	switch {
	case apierrors.IsNotFound(err):
		return Secret{}, false, nil
	case err != nil:
		return Secret{}, false, fmt.Errorf("get Secret %s: %w", types.NamespacedName{Namespace: namespace, Name: name}, err)
	}
	return Secret{Data: secret.Data}, true, nil
}

// restClient makes a client for one API group; a whole clientset would be most of the binary.
func restClient(config *rest.Config, group schema.GroupVersion, apiPath string, register func(*runtime.Scheme) error) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := register(scheme); err != nil {
		return nil, err
	}
	own := rest.CopyConfig(config)
	own.GroupVersion = &group
	own.APIPath = apiPath
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(own)
}
