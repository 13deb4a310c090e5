package readiness

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// Source reads the objects of one cluster as one identity. A namespace is empty for kinds that have none.
type Source interface {
	Get(ctx context.Context, of schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error)
	List(
		ctx context.Context, of schema.GroupVersionResource, namespace string, options metav1.ListOptions,
	) (*unstructured.UnstructuredList, error)
	Watch(
		ctx context.Context, of schema.GroupVersionResource, namespace string, options metav1.ListOptions,
	) (watch.Interface, error)
}

// FromDynamic returns a source that reads through a client.
func FromDynamic(client dynamic.Interface) Source { return dynamicSource{client} }

type dynamicSource struct{ client dynamic.Interface }

func (s dynamicSource) at(of schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return s.client.Resource(of)
	}
	return s.client.Resource(of).Namespace(namespace)
}

// Get reads one object.
func (s dynamicSource) Get(
	ctx context.Context, of schema.GroupVersionResource, namespace, name string,
) (*unstructured.Unstructured, error) {
	return s.at(of, namespace).Get(ctx, name, metav1.GetOptions{})
}

// List reads objects.
func (s dynamicSource) List(
	ctx context.Context, of schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) (*unstructured.UnstructuredList, error) {
	return s.at(of, namespace).List(ctx, options)
}

// Watch begins a watch.
func (s dynamicSource) Watch(
	ctx context.Context, of schema.GroupVersionResource, namespace string, options metav1.ListOptions,
) (watch.Interface, error) {
	return s.at(of, namespace).Watch(ctx, options)
}

// statusCode returns the HTTP status that an API server answered with, 0 when it did not answer.
func statusCode(err error) int32 {
	if answer := apierrors.APIStatus(nil); errors.As(err, &answer) {
		return answer.Status().Code
	}
	return 0
}

// refusesWatch reports whether watching or listing is what the identity may not do, or the API cannot.
func refusesWatch(err error) bool {
	code := statusCode(err)
	return code == http.StatusForbidden || code == http.StatusMethodNotAllowed
}

// tooOld reports whether a watch has to begin with a list.
func tooOld(err error) bool { return apierrors.IsGone(err) || apierrors.IsResourceExpired(err) }

// definite reports whether asking again would be answered the same way. Being unauthorized is not: tokens are renewed.
func definite(err error) bool {
	code := statusCode(err)
	switch code {
	case 0, http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusGone, http.StatusTooManyRequests:
		return false
	default:
		return code < http.StatusInternalServerError || code == http.StatusNotImplemented
	}
}

// cause returns the text of a request's error without its URL.
func cause(err error) string {
	if request := (*url.Error)(nil); errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}

// before reports whether the resource version a is older than b. One that is no number cannot be told.
func before(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// older reports whether a is a state from before b of an object; false when that cannot be told.
func older(a, b *unstructured.Unstructured) bool {
	return a != nil && b != nil && before(a.GetResourceVersion(), b.GetResourceVersion())
}
