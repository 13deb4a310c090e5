// Package kube is the little of a Kubernetes client that the local stack needs: apply manifests, wait for objects, write
// kubeconfigs.
//
// It depends on client-go's dynamic client. It must never know the project's own types: what it reads of them, it reads as
// anybody with kubectl would.
package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// fieldManager owns the fields that Apply sets.
const fieldManager = "helm-operator-local"

// Ref names one object, or, without Name, all of one kind.
type Ref struct {
	APIVersion, Kind, Namespace, Name string
}

// String is the reference as people write it.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Client reaches one API server. Safe for concurrent use.
type Client struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// NewClient returns a client without client-side rate limit: the API server guards itself.
func NewClient(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make discovery client: %w", err)
	}
	return &Client{dynamic: objects, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds))}, nil
}

// resource finds where objects of this kind live, asking the server again when it did not know the kind a while ago.
func (c *Client) resource(ref Ref) (dynamic.ResourceInterface, error) {
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("find kind %s of %s: %w", ref.Kind, ref.APIVersion, err)
	}
	objects := c.dynamic.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return objects.Namespace(ref.Namespace), nil
	}
	return objects, nil
}

func refOf(o *unstructured.Unstructured) Ref {
	return Ref{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Apply makes or changes objects, in order, by server-side apply. The server checks them strictly: a field that it does not
// know is an error.
func (c *Client) Apply(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		resource, err := c.resource(refOf(o))
		if err != nil {
			return err
		}
		data, err := o.MarshalJSON()
		if err != nil {
			return fmt.Errorf("encode %s: %w", refOf(o), err)
		}
		force := true
		if _, err := resource.Patch(ctx, o.GetName(), "application/apply-patch+yaml", data, metav1.PatchOptions{
			FieldManager: fieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict,
		}); err != nil {
			return fmt.Errorf("apply %s: %w", refOf(o), err)
		}
	}
	return nil
}

// Merge changes an object by a JSON merge patch.
func (c *Client) Merge(ctx context.Context, ref Ref, patch []byte) error {
	resource, err := c.resource(ref)
	if err != nil {
		return err
	}
	if _, err := resource.Patch(ctx, ref.Name, "application/merge-patch+json", patch, metav1.PatchOptions{
		FieldManager: fieldManager, FieldValidation: metav1.FieldValidationStrict,
	}); err != nil {
		return fmt.Errorf("change %s: %w", ref, err)
	}
	return nil
}

// Delete deletes an object and does not wait until it is gone. One that is gone already is no error.
func (c *Client) Delete(ctx context.Context, ref Ref) error {
	resource, err := c.resource(ref)
	if err != nil {
		return err
	}
	if err := resource.Delete(ctx, ref.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", ref, err)
	}
	return nil
}

// Get returns an object, or nil when there is none.
func (c *Client) Get(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	resource, err := c.resource(ref)
	if err != nil {
		return nil, err
	}
	o, err := resource.Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get %s: %w", ref, err)
	}
	return o, nil
}

// List returns all objects of ref's kind and namespace that match a field selector; an empty one matches all.
func (c *Client) List(ctx context.Context, ref Ref, fieldSelector string) ([]unstructured.Unstructured, error) {
	resource, err := c.resource(ref)
	if err != nil {
		return nil, err
	}
	list, err := resource.List(ctx, metav1.ListOptions{FieldSelector: fieldSelector})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", ref, err)
	}
	return list.Items, nil
}

// Wanted says whether an object, nil if there is none, is as it should be, and if not, what is missing.
type Wanted func(o *unstructured.Unstructured) (missing string, ok bool)

// Exists wants an object to exist.
func Exists(o *unstructured.Unstructured) (string, bool) { return "it does not exist", o != nil }

// Gone wants an object not to exist.
func Gone(o *unstructured.Unstructured) (string, bool) { return "it still exists", o == nil }

// WaitFor looks at an object five times a second until it is as wanted. When ctx ends first, the error says what was missing.
// Passing errors of the API server are waited out too.
func (c *Client) WaitFor(ctx context.Context, ref Ref, wanted Wanted) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	missing := "it was never seen"
	for {
		o, err := c.Get(ctx, ref)
		if err == nil {
			var ok bool
			if missing, ok = wanted(o); ok {
				return nil
			}
		} else if ctx.Err() == nil {
			missing = err.Error()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s", ref, context.Cause(ctx), missing)
		case <-tick.C:
		}
	}
}

// Token asks for a token of a ServiceAccount.
func (c *Client) Token(ctx context.Context, namespace, account string, lifetime time.Duration) (string, error) {
	ref := Ref{APIVersion: "v1", Kind: "ServiceAccount", Namespace: namespace, Name: account}
	resource, err := c.resource(ref)
	if err != nil {
		return "", err
	}
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1",
		"kind":       "TokenRequest",
		"metadata":   map[string]any{"name": account, "namespace": namespace},
		"spec":       map[string]any{"expirationSeconds": int64(lifetime.Seconds())},
	}}
	answer, err := resource.Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return "", fmt.Errorf("ask for token of %s: %w", ref, err)
	}
	token, found, err := unstructured.NestedString(answer.Object, "status", "token")
	if err != nil || !found {
		return "", errors.Join(fmt.Errorf("ask for token of %s: answer has none", ref), err)
	}
	return token, nil
}
