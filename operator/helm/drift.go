package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"helm.sh/helm/v3/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/drift"
)

// driftReads is how many objects of a release are compared at once: enough to hide the way to the API server, too few for its
// fairness to notice.
const driftReads = 4

// DriftOptions are those of Drift.
type DriftOptions struct {
	// Namespace and Name of the release.
	Namespace, Name string
	// Revision and ResourceVersion of the record whose objects are compared, as Last returned them. An empty resource version
	// means any.
	Revision        int
	ResourceVersion string
	// ServiceAccount, "namespace/name", is as whom objects are read and written; the operator when it is empty.
	ServiceAccount string
	// Rules name what may differ.
	Rules []drift.Rule
	// Correct reports whether an object that differs is mended; nil mends none. It is called from several goroutines.
	Correct func(drift.Object) bool
}

// Drift is what a look at the objects of a release found.
type Drift struct {
	// Findings are the objects that differ, by kind, namespace and name.
	Findings []DriftFinding
	// Problems say which objects could not be compared, and why, in order. They hold no values.
	Problems []string
}

// DriftFinding is an object that differs.
type DriftFinding struct {
	drift.Finding
	// Tried says that the object was to be mended.
	Tried bool
	// Problem is why it was not; empty when it was.
	Problem string
}

// Drift compares the objects of a revision with the cluster and mends those that it is told to, by the patch that an upgrade to
// the same revision would send. Hooks, definitions of the crds/ folder and objects that Helm keeps are left alone. It returns
// ErrNotFound when there is no such record, and ErrConflict when the record is not the one that was asked for: look again, then.
//
// It writes no record. When ctx ends it stops between two requests, which harms nothing: the next look finds what is left.
func (c *Client) Drift(ctx context.Context, options DriftOptions) (Drift, error) {
	if err := c.fence(); err != nil {
		return Drift{}, err
	}
	who, err := c.who.get(options.ServiceAccount)
	if err != nil {
		return Drift{}, err
	}
	deployed, err := c.manifestOf(ctx, options)
	if err != nil {
		return Drift{}, err
	}
	looks := make([]driftLook, len(deployed.objects))
	room := make(chan struct{}, driftReads)
	var work sync.WaitGroup
	for i, object := range deployed.objects {
		room <- struct{}{}
		work.Go(func() {
			defer func() { <-room }()
			looks[i] = c.lookAt(ctx, who, options, object)
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return Drift{}, fmt.Errorf("compare the objects of %s/%s with the cluster: %w", options.Namespace, options.Name, context.Cause(ctx))
	}
	return summary(looks, deployed.mask), nil
}

// driftLook is what a look at one object found.
type driftLook struct {
	DriftFinding
	err error
}

// lookAt compares one object and mends it if it is told to.
func (c *Client) lookAt(ctx context.Context, who *identity, options DriftOptions, object *unstructured.Unstructured) driftLook {
	look := driftLook{DriftFinding: DriftFinding{Finding: drift.Finding{Object: drift.NameOf(object)}}}
	if look.err = ctx.Err(); look.err != nil {
		return look
	}
	cluster, namespace, err := c.clusterFor(who, object, options.Namespace)
	if isNoMatch(err) {
		look.State, look.Problem = v1alpha1.DriftMissing, "the cluster does not know the kind "+object.GetKind()
		return look
	}
	if err != nil {
		look.err = fmt.Errorf("%s: the API server did not say what the kind is", look.Object)
		return look
	}
	if object.GetNamespace() != namespace {
		object = object.DeepCopy()
		object.SetNamespace(namespace)
	}
	comparer := drift.Comparer{Manager: fieldManager(), Rules: options.Rules}
	if look.Finding, look.err = comparer.Compare(ctx, cluster, object); look.err != nil || look.State == "" {
		return look
	}
	if options.Correct == nil || look.State == v1alpha1.DriftDeleting || !options.Correct(look.Object) {
		return look
	}
	look.Tried = true
	if err := comparer.Correct(ctx, cluster, look.Finding); err != nil {
		look.Problem = strings.TrimPrefix(err.Error(), look.Object.String()+": ")
	}
	return look
}

// clusterFor returns the client for an object, and the namespace that it has in the cluster.
func (c *Client) clusterFor(who *identity, object *unstructured.Unstructured, fallback string) (drift.Cluster, string, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, "", err
	}
	resource := who.objects.Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return resource, "", nil
	}
	namespace := cmp.Or(object.GetNamespace(), fallback)
	return resource.Namespace(namespace), namespace, nil
}

// summary returns what was found, in order, and without secrets.
func summary(looks []driftLook, secrets *mask) Drift {
	var out Drift
	for _, look := range looks {
		switch {
		case look.err != nil:
			out.Problems = append(out.Problems, look.err.Error())
		case look.State != "":
			for i := range look.Differences {
				difference := &look.Differences[i]
				difference.Want, difference.Have = secrets.text(difference.Want), secrets.text(difference.Have)
			}
			out.Findings = append(out.Findings, look.DriftFinding)
		}
	}
	slices.Sort(out.Problems)
	slices.SortFunc(out.Findings, func(a, b DriftFinding) int {
		return cmp.Or(strings.Compare(a.Object.Kind, b.Object.Kind), strings.Compare(a.Object.Namespace, b.Object.Namespace),
			strings.Compare(a.Object.Name, b.Object.Name), strings.Compare(a.Object.APIVersion, b.Object.APIVersion))
	})
	return out
}

// fieldManager is the one that Helm has when it writes objects.
func fieldManager() string {
	switch {
	case kube.ManagedFieldsManager != "":
		return kube.ManagedFieldsManager
	case len(os.Args[0]) == 0:
		return "unknown"
	}
	return filepath.Base(os.Args[0])
}

// manifestOf returns the objects of a revision, from memory if they are there.
func (c *Client) manifestOf(ctx context.Context, options DriftOptions) (*manifest, error) {
	name := options.Namespace + "/" + options.Name
	if kept := c.manifests.get(name, options.ResourceVersion); kept != nil {
		return kept, nil
	}
	rls, record, err := c.read(ctx, options.Namespace, recordKey(options.Name, options.Revision))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("read revision %d of %s: %w", options.Revision, name, ErrNotFound)
	case err != nil:
		return nil, err
	case options.ResourceVersion != "" && record.ResourceVersion != options.ResourceVersion:
		return nil, fmt.Errorf("read revision %d of %s: %w", options.Revision, name, ErrConflict)
	}
	deployed, err := decodeManifest(rls)
	if err != nil {
		return nil, fmt.Errorf("read revision %d of %s: %w", options.Revision, name, err)
	}
	deployed.resourceVersion = record.ResourceVersion
	c.manifests.put(name, deployed)
	return deployed, nil
}
