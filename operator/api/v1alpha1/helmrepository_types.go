package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HelmRepositorySpec describes a chart repository.
type HelmRepositorySpec struct {
	// URL of the repository: https:// or http:// for one with an index.yaml, oci:// for a registry. It may be edited at
	// any time.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Pattern=`^(https?|oci)://.*`
	URL string `json:"url"`

	// Type of the repository. An oci:// URL is OCI whatever the type says; type oci with an http(s) URL is an error.
	// +kubebuilder:default=helm
	// +optional
	Type RepositoryType `json:"type,omitempty"`

	// Interval between two syncs. Values below 10s count as 10s.
	// +kubebuilder:default="30m"
	// +optional
	Interval Duration `json:"interval,omitempty"`

	// Timeout of one upstream operation, such as reading the index or fetching a chart. Values below 1s count as 1s.
	// +kubebuilder:default="5m"
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// Suspend stops syncs; what is cached stays served. Resuming syncs at once.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Auth holds or names the credentials of the repository.
	// +optional
	Auth *RepositoryAuth `json:"auth,omitempty"`

	// Insecure talks plain HTTP to an OCI registry. It has no effect on other repositories, whose URL says it.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// ValuesConfigMapPolicy says for which charts of this repository a ConfigMap with the default values is kept:
	// disabled for none, on-demand for the chart versions that HelmReleases use, lazy for the newest version of each
	// chart.
	// +kubebuilder:default=disabled
	// +optional
	ValuesConfigMapPolicy ValuesConfigMapPolicy `json:"valuesConfigMapPolicy,omitempty"`

	// ValuesConfigMapRetention is how long such a ConfigMap is kept after it was last current or used.
	// +kubebuilder:default="168h"
	// +optional
	ValuesConfigMapRetention Duration `json:"valuesConfigMapRetention,omitempty"`
}

// RepositoryType is the kind of a repository.
// +kubebuilder:validation:Enum=helm;oci
type RepositoryType string

// Kinds of repositories.
const (
	// RepositoryTypeHelm has an index.yaml.
	RepositoryTypeHelm RepositoryType = "helm"
	// RepositoryTypeOCI is an OCI registry.
	RepositoryTypeOCI RepositoryType = "oci"
)

// ValuesConfigMapPolicy says for which charts a ConfigMap with the default values is kept.
// +kubebuilder:validation:Enum=disabled;on-demand;lazy
type ValuesConfigMapPolicy string

// Policies for ConfigMaps with default values.
const (
	ValuesConfigMapDisabled ValuesConfigMapPolicy = "disabled"
	ValuesConfigMapOnDemand ValuesConfigMapPolicy = "on-demand"
	ValuesConfigMapLazy     ValuesConfigMapPolicy = "lazy"
)

// RepositoryAuth holds or names credentials. The first of secretRef and basic that is set is used.
type RepositoryAuth struct {
	// SecretRef names a Secret with credentials: of type kubernetes.io/dockerconfigjson (the entry of the repository's
	// host), with keys username and password, or with a JSON service-account key (used with the name _json_key).
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`

	// Basic holds or names a user name and a password.
	// +optional
	Basic *BasicAuth `json:"basic,omitempty"`

	// TLS configures transport security.
	// +optional
	TLS *TLSConfig `json:"tls,omitempty"`

	// PassCredentials sends the credentials to other hosts that the index names, too. By default they go to the host
	// of the URL only.
	// +optional
	PassCredentials bool `json:"passCredentials,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Namespace of the Secret; the object's own by default. Another one is refused unless the administrator allows it.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// BasicAuth is a user name and a password, here or in a Secret.
type BasicAuth struct {
	// Username for the repository.
	// +optional
	Username string `json:"username,omitempty"`

	// Password for the repository. Prefer secretRef: whoever may read the object can read this.
	// +optional
	Password string `json:"password,omitempty"`

	// SecretRef names a Secret with keys username and password. It wins over the fields above.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
}

// TLSConfig configures transport security.
type TLSConfig struct {
	// InsecureSkipVerify accepts any server certificate.
	// +optional
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`

	// CAFile is the path of a PEM file with certificate authorities, read by chartcache below a directory that the
	// administrator allowed. They are added to the system's.
	// +optional
	CAFile string `json:"caFile,omitempty"`

	// CertFile is the path of a PEM file with the client certificate, read as caFile is.
	// +optional
	CertFile string `json:"certFile,omitempty"`

	// KeyFile is the path of a PEM file with the key of the client certificate, read as caFile is.
	// +optional
	KeyFile string `json:"keyFile,omitempty"`

	// SecretRef names a Secret with keys ca.crt, tls.crt and tls.key, or caFile, certFile and keyFile. It wins over the
	// paths above.
	// +optional
	SecretRef *SecretReference `json:"secretRef,omitempty"`
}

// HelmRepositoryStatus is what is known of a repository.
type HelmRepositoryStatus struct {
	// Conditions: Ready, Syncing, Failed and Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// ObservedGeneration is the newest generation of the spec that the conditions reflect.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// LastSyncTime is when a sync last changed the revision or the outcome.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`

	// Revision names the content that is served; equal content has an equal revision.
	// +optional
	Revision string `json:"revision,omitempty"`

	// RevisionObservedAt is when upstream was last seen to hold the revision, by the newest report.
	// +optional
	RevisionObservedAt *metav1.MicroTime `json:"revisionObservedAt,omitempty"`

	// StaleSince is since when syncs fail, so that what is served may be out of date.
	// +optional
	StaleSince *metav1.Time `json:"staleSince,omitempty"`

	// Charts lists the newest few versions of at most 100 charts, sorted by name. The whole list is served by
	// chartcache.
	// +optional
	Charts []ChartInfo `json:"charts,omitempty"`

	// Stats are the true figures of the repository.
	// +optional
	Stats *RepositoryStats `json:"stats,omitempty"`
}

// ChartInfo describes a chart.
type ChartInfo struct {
	// Name of the chart.
	Name string `json:"name"`

	// Description of the newest version.
	// +optional
	Description string `json:"description,omitempty"`

	// Versions, newest first.
	// +optional
	Versions []ChartVersionInfo `json:"versions,omitempty"`
}

// ChartVersionInfo describes a version of a chart.
type ChartVersionInfo struct {
	// Version of the chart.
	Version string `json:"version"`

	// AppVersion is the version of the packaged application.
	// +optional
	AppVersion string `json:"appVersion,omitempty"`

	// Created is when the version was published, if the repository says so.
	// +optional
	Created *metav1.Time `json:"created,omitempty"`

	// Digest of the tarball, if it is known.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// RepositoryStats are figures of a repository.
type RepositoryStats struct {
	// TotalCharts is the number of charts.
	// +optional
	TotalCharts int `json:"totalCharts,omitempty"`

	// TotalVersions is the number of chart versions.
	// +optional
	TotalVersions int `json:"totalVersions,omitempty"`

	// LastIndexSize is the size of the index in bytes, uncompressed.
	// +optional
	LastIndexSize int64 `json:"lastIndexSize,omitempty"`
}

// HelmRepository is a chart repository, over HTTP or in an OCI registry.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=hrepo,categories=helm
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Charts",type=integer,JSONPath=`.status.stats.totalCharts`,priority=1
// +kubebuilder:printcolumn:name="Last Sync",type=date,JSONPath=`.status.lastSyncTime`,priority=1
type HelmRepository struct {
	metav1.TypeMeta `json:",inline"`

	// Metadata of the object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes the repository.
	Spec HelmRepositorySpec `json:"spec"`

	// Status is what is known of the repository. It has one writer, so field managers own it as a whole.
	// +optional
	// +structType=atomic
	Status HelmRepositoryStatus `json:"status,omitempty"`
}

// HelmRepositoryList is a list of repositories.
//
// +kubebuilder:object:root=true
type HelmRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HelmRepository `json:"items"`
}
