package controller

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/release"
)

// Indexes of HelmReleases in the cache.
const (
	// indexSource finds releases by where their chart comes from: repositoryKey, or the two keys below.
	indexSource = "chartSource"
	// indexDeployed finds releases by the Helm release ("namespace/name") that their status names.
	indexDeployed = "deployedRelease"
	// indexTarget finds releases by the Helm release ("namespace/name") that their spec wants.
	indexTarget = "wantedRelease"
	// indexOwner finds releases by the hash that stands on the records of their Helm release.
	indexOwner = "ownerHash"
	// indexDependency finds releases by what they depend on: "namespace/name" of a HelmRelease.
	indexDependency = "dependsOn"
	// indexValues finds releases by the objects that valuesFrom names: valuesKey.
	indexValues = "valuesFrom"
)

// byURL is the key of all releases whose chart is named by a URL, and urlKey of those in a namespace. Which repository
// such a URL means depends on the HelmRepositories of the namespace, so that it cannot be an index.
const byURL = "url"

func urlKey(namespace string) string { return "url:" + namespace }

func repositoryKey(namespace, name string) string { return namespace + "/" + name }

func valuesKey(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for field, extract := range map[string]func(*v1alpha1.HelmRelease) []string{
		indexSource: sourceKeys,
		indexDeployed: func(r *v1alpha1.HelmRelease) []string {
			if deployed := r.Status.HelmRelease; deployed != nil && deployed.Name != "" {
				return []string{release.Target{Namespace: deployed.Namespace, Name: deployed.Name}.String()}
			}
			return nil
		},
		indexTarget: func(r *v1alpha1.HelmRelease) []string { return []string{release.TargetOf(r).String()} },
		indexDependency: func(r *v1alpha1.HelmRelease) []string {
			var keys []string
			for _, key := range release.DependenciesOf(r) {
				keys = append(keys, key.String())
			}
			return keys
		},
		indexValues: func(r *v1alpha1.HelmRelease) []string {
			var keys []string
			for _, ref := range r.Spec.ValuesFrom {
				keys = append(keys, valuesKey(ref.Kind, r.Namespace, ref.Name))
			}
			return keys
		},
		indexOwner: func(r *v1alpha1.HelmRelease) []string { return []string{release.OwnerHash(r.Namespace, r.Name)} },
	} {
		err := indexer.IndexField(ctx, &v1alpha1.HelmRelease{}, field, func(object client.Object) []string {
			r, ok := object.(*v1alpha1.HelmRelease)
			if !ok {
				return nil
			}
			return extract(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func sourceKeys(r *v1alpha1.HelmRelease) []string {
	if namespace, name, ok := release.RepositoryOf(r); ok {
		return []string{repositoryKey(namespace, name)}
	}
	if len(release.SourceFields(&r.Spec.Chart)) > 0 {
		return []string{byURL, urlKey(r.Namespace)}
	}
	return nil
}

func keyOf(object client.Object) types.NamespacedName { return client.ObjectKeyFromObject(object) }
