package controller

import (
	"context"
	"strconv"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// Labels that Helm gives the Secrets in which it keeps the records of its releases.
const (
	recordOwnerLabel   = "owner"
	recordOwner        = "helm"
	recordNameLabel    = "name"
	recordVersionLabel = "version"
)

// indexRecord finds release records by their Helm release: "namespace/name".
const indexRecord = "helmRelease"

// RecordLabels are the labels of a release record that the controllers look at. A cache may drop all others, and all labels of
// other Secrets.
func RecordLabels() []string {
	return []string{recordOwnerLabel, recordNameLabel, recordVersionLabel, v1alpha1.OwnerLabel}
}

// secretMetadata is what the caches hold of Secrets.
func secretMetadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kindSecret))
	return object
}

func addRecordIndex(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, secretMetadata(), indexRecord, func(object client.Object) []string {
		if target, ok := targetOfRecord(object); ok {
			return []string{target.String()}
		}
		return nil
	})
}

// targetOfRecord returns the Helm release that a record is of; false for other Secrets.
func targetOfRecord(object client.Object) (release.Target, bool) {
	labels := object.GetLabels()
	if labels[recordOwnerLabel] != recordOwner || labels[recordNameLabel] == "" {
		return release.Target{}, false
	}
	return release.Target{Namespace: object.GetNamespace(), Name: labels[recordNameLabel]}, true
}

// records knows the release records of the cluster, by their metadata. It may be late.
type records struct {
	cache cache.Cache
	log   logr.Logger
}

// newest returns the resource version of the newest record of a Helm release, and false when none is known.
func (r records) newest(target release.Target) (resourceVersion string, known bool) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kindSecret + "List"))
	// Reads of a cache make no request; without an end, they cannot be cut off.
	err := r.cache.List(context.Background(), list, client.MatchingFields{indexRecord: target.String()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		r.log.Error(err, "Look for the records of a Helm release", "release", target.String())
		return "", false
	}
	newest := -1
	for i := range list.Items {
		revision, err := strconv.Atoi(list.Items[i].Labels[recordVersionLabel])
		if err == nil && revision > newest {
			newest, resourceVersion = revision, list.Items[i].ResourceVersion
		}
	}
	return resourceVersion, newest >= 0
}

// ownersOf finds the HelmReleases of the release that a record is of: those that deployed it, made it, or want to, and wait for
// somebody else to leave it. Of those that know what it holds, only gone, which no watch tells twice, are news.
func (r references) ownersOf(ctx context.Context, object client.Object, gone bool) []reconcile.Request {
	target, ok := targetOfRecord(object)
	if !ok {
		return nil
	}
	found := r.find(ctx, indexDeployed, target.String())
	found = append(found, r.find(ctx, indexTarget, target.String())...)
	if hash := object.GetLabels()[v1alpha1.OwnerLabel]; hash != "" {
		found = append(found, r.find(ctx, indexOwner, hash)...)
	}
	var news []reconcile.Request
	for _, request := range found {
		if gone || !r.expects(request.NamespacedName, object.GetResourceVersion()) {
			news = append(news, request)
		}
	}
	return news
}

// recordsHandler looks at the owners of release records that change.
func (r references) recordsHandler() handler.Funcs {
	enqueue := func(queue workqueue.TypedRateLimitingInterface[reconcile.Request], requests []reconcile.Request) {
		for _, request := range requests {
			queue.Add(request)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(queue, r.ownersOf(ctx, e.Object, false))
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(queue, r.ownersOf(ctx, e.ObjectNew, false))
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(queue, r.ownersOf(ctx, e.Object, true))
		},
	}
}
