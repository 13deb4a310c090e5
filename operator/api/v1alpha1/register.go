package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the types.
const GroupName = "helm-operator.ketches.cn"

// GroupVersion identifies the types of this package.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// Kinds of the types, as they stand in manifests.
const (
	HelmRepositoryKind = "HelmRepository"
	HelmReleaseKind    = "HelmRelease"
)

// AddToScheme registers the types with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&HelmRepository{}, &HelmRepositoryList{},
		&HelmRelease{}, &HelmReleaseList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
