// Package v1alpha1 holds the HelmRepository and HelmRelease types, the Kubernetes API of Helm Operator.
//
// It depends on apimachinery only, so that anyone can import the types. Additions are optional fields; a field that
// exists keeps its name, type and meaning.
//
// +kubebuilder:object:generate=true
// +groupName=helm-operator.ketches.cn
package v1alpha1
