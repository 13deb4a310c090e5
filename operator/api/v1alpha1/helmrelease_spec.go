package v1alpha1

// HelmReleaseSpec describes a Helm release.
type HelmReleaseSpec struct {
	// Chart says which chart is deployed.
	Chart ChartSpec `json:"chart"`

	// Release says under which name and where the chart is deployed.
	// +optional
	Release *ReleaseTarget `json:"release,omitempty"`

	// Values for the chart: a string that holds a YAML document, or an object. They win over valuesFrom, except over its
	// entries with a targetPath. A null deletes a default of the chart in the string form only.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	Values *Values `json:"values,omitempty"`

	// ValuesFrom names ConfigMaps and Secrets of the object's namespace with more values, merged in order.
	// +optional
	ValuesFrom []ValuesReference `json:"valuesFrom,omitempty"`

	// Install configures the first deployment.
	// +optional
	Install *InstallSpec `json:"install,omitempty"`

	// Upgrade configures every later deployment.
	// +optional
	Upgrade *UpgradeSpec `json:"upgrade,omitempty"`

	// Uninstall configures what happens when the object is deleted.
	// +optional
	Uninstall *UninstallSpec `json:"uninstall,omitempty"`

	// Rollback configures what happens when an upgrade fails.
	// +optional
	Rollback *RollbackSpec `json:"rollback,omitempty"`

	// Interval at which constraint, values and drift are looked at even when nothing happened. Values below 10s count
	// as 10s.
	// +kubebuilder:default="10m"
	// +optional
	Interval Duration `json:"interval,omitempty"`

	// Suspend leaves the release as it is. Deleting the object still uninstalls it.
	// +kubebuilder:default=false
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// DependsOn names HelmReleases that must be Ready, at their current generation, before this one is deployed.
	// +optional
	DependsOn []DependencyReference `json:"dependsOn,omitempty"`

	// ServiceAccountName is the ServiceAccount of the object's namespace as which the chart's objects are written. By
	// default they are written as the operator.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// DriftDetection says what to do about objects that differ from the release.
	// +optional
	DriftDetection *DriftDetection `json:"driftDetection,omitempty"`

	// Test configures the chart's tests, which run after each install and upgrade.
	// +optional
	Test *TestSpec `json:"test,omitempty"`

	// CRDs says what is done with the chart's crds/ folder. install.skipCRDs wins over it.
	// +optional
	CRDs *CRDsSpec `json:"crds,omitempty"`

	// PostRenderers change the rendered objects, in order, before they are applied. Hooks and the chart's crds/ folder are left
	// as they are, as in Helm 3. A rollback deploys what was recorded, without rendering.
	// +optional
	PostRenderers []PostRenderer `json:"postRenderers,omitempty"`

	// CommonMetadata is added to every object of the release except hooks and the chart's crds/ folder, after the
	// postRenderers. Templates of Pods and selectors stay as they are.
	// +optional
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`

	// DeletionPolicy says what happens to the release when the object is deleted: Delete uninstalls it, Orphan leaves it.
	// +kubebuilder:default=Delete
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// Retry configures the back-off after a failure.
	// +optional
	Retry *RetrySpec `json:"retry,omitempty"`
}

// ChartSpec says which chart is deployed. One of repository, repositoryURL and ociRepository is needed; of several,
// ociRepository wins, then repositoryURL.
type ChartSpec struct {
	// Name of the chart.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Version of the chart: an exact one, a constraint such as "^1.2.0", "~1.2.0", ">=1.0.0, <2.0.0" or "1.2.x",
	// "latest", or empty. The last two mean the newest stable version.
	// +optional
	Version string `json:"version,omitempty"`

	// Digest pins the chart to "sha256:" and 64 hexadecimal digits, of the tarball or of the OCI manifest. It wins over
	// the version.
	// +kubebuilder:validation:Pattern=`^sha256:[a-f0-9]{64}$`
	// +optional
	Digest string `json:"digest,omitempty"`

	// Repository names the HelmRepository that holds the chart.
	// +optional
	Repository *RepositoryReference `json:"repository,omitempty"`

	// RepositoryURL is the URL of the repository that holds the chart. Credentials come from the HelmRepository of the
	// object's namespace whose URL is its longest prefix.
	// +optional
	RepositoryURL string `json:"repositoryURL,omitempty"`

	// OCIRepository is the whole URL of the chart in a registry, such as oci://registry.example.com/charts/app.
	// Credentials are found as for repositoryURL.
	// +optional
	OCIRepository string `json:"ociRepository,omitempty"`
}

// RepositoryReference names a HelmRepository.
type RepositoryReference struct {
	// Name of the HelmRepository.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Namespace of the HelmRepository; the object's own by default.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// ReleaseTarget says under which name and where a chart is deployed.
type ReleaseTarget struct {
	// Name of the Helm release, at most 53 characters; the object's name by default.
	// +optional
	Name string `json:"name,omitempty"`

	// Namespace of the release and of its objects; the object's own by default.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// CreateNamespace creates the namespace when it is missing.
	// +kubebuilder:default=false
	// +optional
	CreateNamespace bool `json:"createNamespace,omitempty"`

	// OnChange says what editing name or namespace does to the release that is deployed: Refuse leaves it and says so,
	// Reinstall uninstalls it first, Orphan leaves it behind.
	// +kubebuilder:default=Refuse
	// +optional
	OnChange OnChangePolicy `json:"onChange,omitempty"`

	// Adopt says whether a Helm release that was made by someone else is taken over.
	// +kubebuilder:default=Never
	// +optional
	Adopt AdoptPolicy `json:"adopt,omitempty"`
}

// OnChangePolicy says what editing the name or namespace of a release does.
// +kubebuilder:validation:Enum=Refuse;Reinstall;Orphan
type OnChangePolicy string

// Policies for an edited release name or namespace.
const (
	OnChangeRefuse    OnChangePolicy = "Refuse"
	OnChangeReinstall OnChangePolicy = "Reinstall"
	OnChangeOrphan    OnChangePolicy = "Orphan"
)

// AdoptPolicy says whether a release made by someone else is taken over.
// +kubebuilder:validation:Enum=Never;Always
type AdoptPolicy string

// Policies for releases made by someone else.
const (
	AdoptNever  AdoptPolicy = "Never"
	AdoptAlways AdoptPolicy = "Always"
)

// DeletionPolicy says what happens to a release when its object is deleted.
// +kubebuilder:validation:Enum=Delete;Orphan
type DeletionPolicy string

// Policies for deletion.
const (
	DeletionPolicyDelete DeletionPolicy = "Delete"
	DeletionPolicyOrphan DeletionPolicy = "Orphan"
)

// ValuesReference names a ConfigMap or Secret with values.
type ValuesReference struct {
	// Kind of the object.
	// +kubebuilder:validation:Enum=ConfigMap;Secret
	Kind string `json:"kind"`

	// Name of the object, in the namespace of the HelmRelease.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Key of the data.
	// +kubebuilder:default=values.yaml
	// +optional
	Key string `json:"key,omitempty"`

	// TargetPath is where the data goes as one value, in the syntax of helm --set. By default the data is a YAML
	// document that is merged. A value with a target path wins over spec.values.
	// +optional
	TargetPath string `json:"targetPath,omitempty"`

	// Optional accepts that the object or the key is missing.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// DependencyReference names a HelmRelease.
type DependencyReference struct {
	// Name of the HelmRelease.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Namespace of the HelmRelease; the object's own by default.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// DriftDetection says what to do about objects that differ from the release.
type DriftDetection struct {
	// Mode: disabled does not look, warn reports, correct mends.
	// +kubebuilder:default=disabled
	// +optional
	Mode DriftMode `json:"mode,omitempty"`

	// Ignore names fields that may differ.
	// +optional
	Ignore []DriftIgnoreRule `json:"ignore,omitempty"`
}

// DriftMode says what to do about drift.
// +kubebuilder:validation:Enum=disabled;warn;correct
type DriftMode string

// Modes of drift detection.
const (
	DriftDisabled DriftMode = "disabled"
	DriftWarn     DriftMode = "warn"
	DriftCorrect  DriftMode = "correct"
)

// DriftIgnoreRule names fields of objects that may differ.
type DriftIgnoreRule struct {
	// Paths are JSON pointers (RFC 6901) to the fields; an empty one means the whole object.
	// +kubebuilder:validation:items:Pattern=`^(/.*)?$`
	Paths []string `json:"paths"`

	// Target selects the objects; all by default.
	// +optional
	Target *ObjectSelector `json:"target,omitempty"`
}

// ObjectSelector selects objects of a release. Every field that is set must match.
type ObjectSelector struct {
	// Group of the API, such as apps.
	// +optional
	Group string `json:"group,omitempty"`

	// Version of the API, such as v1.
	// +optional
	Version string `json:"version,omitempty"`

	// Kind of the object.
	// +optional
	Kind string `json:"kind,omitempty"`

	// Name of the object.
	// +optional
	Name string `json:"name,omitempty"`

	// Namespace of the object.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// LabelSelector on the object's labels, such as app=web.
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`

	// AnnotationSelector on the object's annotations, in the syntax of a label selector.
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`
}

// TestSpec configures the chart's tests.
type TestSpec struct {
	// Enable runs the tests after each install and upgrade.
	// +optional
	Enable bool `json:"enable,omitempty"`

	// Timeout of each test; that of upgrades by default.
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// IgnoreFailures does not let a failed test fail the release.
	// +optional
	IgnoreFailures bool `json:"ignoreFailures,omitempty"`

	// Filters select the tests; all by default.
	// +optional
	Filters []TestFilter `json:"filters,omitempty"`
}

// TestFilter selects a test.
type TestFilter struct {
	// Name of the test.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Exclude leaves the test out instead.
	// +optional
	Exclude bool `json:"exclude,omitempty"`
}

// CRDsSpec says what is done with the chart's crds/ folder.
type CRDsSpec struct {
	// Install policy.
	// +kubebuilder:default=Create
	// +optional
	Install CRDsPolicy `json:"install,omitempty"`

	// Upgrade policy.
	// +kubebuilder:default=Skip
	// +optional
	Upgrade CRDsPolicy `json:"upgrade,omitempty"`
}

// CRDsPolicy says what is done with the chart's crds/ folder: Skip leaves it out, Create adds missing definitions,
// CreateReplace also replaces existing ones.
// +kubebuilder:validation:Enum=Skip;Create;CreateReplace
type CRDsPolicy string

// Policies for custom resource definitions.
const (
	CRDsSkip          CRDsPolicy = "Skip"
	CRDsCreate        CRDsPolicy = "Create"
	CRDsCreateReplace CRDsPolicy = "CreateReplace"
)

// PostRenderer changes the rendered objects.
// +kubebuilder:validation:XValidation:rule="has(self.kustomize)",message="names no renderer: set kustomize or remove the entry"
type PostRenderer struct {
	// Kustomize changes them with patches and image replacements: the patches in order, then the images.
	// +optional
	Kustomize *Kustomize `json:"kustomize,omitempty"`
}

// Kustomize holds patches and image replacements.
type Kustomize struct {
	// Patches, strategic merge or JSON 6902.
	// +optional
	Patches []KustomizePatch `json:"patches,omitempty"`

	// Images to replace.
	// +optional
	Images []KustomizeImage `json:"images,omitempty"`
}

// KustomizePatch is a patch and what it applies to.
type KustomizePatch struct {
	// Patch in YAML or JSON. A list is a JSON 6902 patch, which needs a target; an object is a strategic merge patch.
	// +kubebuilder:validation:MinLength=1
	Patch string `json:"patch"`

	// Target selects the objects; none is no error. Its group, version, kind, name and namespace are regular expressions
	// that must match as a whole, as in Kustomize; an object that names no namespace is in that of the release. Without a
	// target, a strategic merge patch names its object itself, and an object that the chart does not render is an error.
	// +optional
	Target *ObjectSelector `json:"target,omitempty"`
}

// KustomizeImage replaces an image.
// +kubebuilder:validation:XValidation:rule="has(self.newName) || has(self.newTag) || has(self.digest)",message="changes nothing: set newName, newTag or digest, or remove the entry"
type KustomizeImage struct {
	// Name of the image in the chart, without tag. An image that no object has is no error.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// NewName replaces the name.
	// +optional
	NewName string `json:"newName,omitempty"`

	// NewTag replaces the tag, and drops a digest.
	// +optional
	NewTag string `json:"newTag,omitempty"`

	// Digest, "sha256:" and 64 hexadecimal digits, replaces the tag by a digest. With newTag, the image gets both.
	// +kubebuilder:validation:Pattern=`^(sha256:[a-f0-9]{64})?$`
	// +optional
	Digest string `json:"digest,omitempty"`
}

// CommonMetadata is added to objects. It wins over what the chart has under the same key.
// +kubebuilder:validation:XValidation:rule="!has(self.labels) || !('app.kubernetes.io/managed-by' in self.labels)",message="app.kubernetes.io/managed-by belongs to Helm, which knows its objects by it: remove it from labels"
type CommonMetadata struct {
	// Labels to add. Helm's own, app.kubernetes.io/managed-by, is refused.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations to add. Helm's own, meta.helm.sh/..., are refused.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RetrySpec configures the back-off after a failure.
type RetrySpec struct {
	// Limit of tries in a row; not set means no limit.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Limit *int32 `json:"limit,omitempty"`

	// Interval before the first retry; it doubles with each. Values below 1s count as 1s.
	// +kubebuilder:default="1m"
	// +optional
	Interval Duration `json:"interval,omitempty"`

	// MaxInterval is the longest time between two tries.
	// +kubebuilder:default="15m"
	// +optional
	MaxInterval Duration `json:"maxInterval,omitempty"`
}
