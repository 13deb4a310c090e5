package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HelmRelease is a chart that is deployed and kept as described.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=hrel,categories=helm
// +kubebuilder:printcolumn:name="Chart",type=string,JSONPath=`.spec.chart.name`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.chart.version`
// +kubebuilder:printcolumn:name="Revision",type=integer,JSONPath=`.status.helmRelease.revision`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Deployed",type=string,JSONPath=`.status.helmRelease.chart`,priority=1
// +kubebuilder:printcolumn:name="App Version",type=string,JSONPath=`.status.helmRelease.appVersion`,priority=1
// +kubebuilder:printcolumn:name="Latest",type=string,JSONPath=`.status.latestVersion`,priority=1
type HelmRelease struct {
	metav1.TypeMeta `json:",inline"`

	// Metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes the release.
	// +optional
	Spec HelmReleaseSpec `json:"spec,omitempty"`

	// Status is what is known of the release. It has one writer, so field managers own it as a whole.
	// +optional
	// +structType=atomic
	Status HelmReleaseStatus `json:"status,omitempty"`
}

// HelmReleaseList is a list of releases.
//
// +kubebuilder:object:root=true
type HelmReleaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HelmRelease `json:"items"`
}
