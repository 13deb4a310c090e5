package drift

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// Cluster reads and writes objects of one kind in one namespace. A dynamic.ResourceInterface of client-go is one.
type Cluster interface {
	Get(ctx context.Context, name string, options metav1.GetOptions, subresources ...string) (*unstructured.Unstructured, error)
	Create(ctx context.Context, object *unstructured.Unstructured, options metav1.CreateOptions, subresources ...string) (
		*unstructured.Unstructured, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (
		*unstructured.Unstructured, error)
}

// Object names an object.
type Object struct {
	// APIVersion, such as apps/v1.
	APIVersion string
	// Kind of the object.
	Kind string
	// Namespace of the object; empty when it has none.
	Namespace string
	// Name of the object.
	Name string
}

// String returns "Kind namespace/name".
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// NameOf names an object.
func NameOf(object *unstructured.Unstructured) Object {
	return Object{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(),
	}
}

// Difference is a field that is not as the manifest says.
type Difference struct {
	// Path is a JSON pointer (RFC 6901) to the field; items of lists are counted as in the manifest.
	Path string
	// Want and Have are the values of the manifest and of the cluster as JSON, empty when there is none, when it is no single value or
	// longer than 64 bytes, or when it may be secret.
	Want, Have string
}

// Finding is what a look at one object found.
type Finding struct {
	// Object that was looked at.
	Object Object
	// State of the object in the cluster; empty when it is as the manifest says.
	State v1alpha1.DriftState
	// Differences of an object that is Changed, by path.
	Differences []Difference

	// refused is why the API server does not take the patch that would mend the object.
	refused   error
	want      *unstructured.Unstructured
	patch     []byte
	patchKind types.PatchType
}

// Comparer compares objects with the cluster.
type Comparer struct {
	// Manager is the field manager that the patches have.
	Manager string
	// Rules name what may differ.
	Rules []Rule
}

// Errors that the methods of a Comparer wrap.
var (
	// ErrUnreadable says that an object could not be read.
	ErrUnreadable = errors.New("it could not be read")
	// ErrNotTried says that the API server did not answer the dry run.
	ErrNotTried = errors.New("the patch that would mend it could not be tried")
	// ErrNotMended says that an object could not be mended.
	ErrNotMended = errors.New("it could not be mended")
)

// Compare compares an object, as the manifest says it, with the cluster. It reads once, and tries a patch at most once. Errors
// name the object and the API server's reason, never its text, which may quote values.
func (c Comparer) Compare(ctx context.Context, cluster Cluster, object *unstructured.Unstructured) (Finding, error) {
	finding := Finding{Object: NameOf(object)}
	if c.skips(object) {
		return finding, nil
	}
	live, err := cluster.Get(ctx, object.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if !endsByItself(object) {
			finding.State, finding.want = v1alpha1.DriftMissing, object
		}
		return finding, nil
	case err != nil:
		return finding, explain(finding.Object, "get", ErrUnreadable, err)
	case live.GetDeletionTimestamp() != nil:
		finding.State = v1alpha1.DriftDeleting
		return finding, nil
	case switchedOff(live):
		return finding, nil
	}
	mayDiffer := append(c.ignored(object), scaled(live)...)
	live.SetManagedFields(nil)
	finding.want = settled(object, live, mayDiffer)
	if finding.patch, finding.patchKind, err = patchFor(finding.want, live); err != nil || isEmpty(finding.patch) {
		return finding, err
	}
	after, err := cluster.Patch(ctx, object.GetName(), finding.patchKind, finding.patch, metav1.PatchOptions{
		FieldManager: c.Manager, DryRun: []string{metav1.DryRunAll},
	})
	switch {
	case apierrors.IsInvalid(err): // something that cannot be changed differs, such as the selector of a Deployment
		finding.refused, after = err, finding.want
	case err != nil:
		return finding, explain(finding.Object, "patch", ErrNotTried, err)
	}
	if finding.Differences = differences(finding.want, live, after); len(finding.Differences) > 0 {
		finding.State = v1alpha1.DriftChanged
	}
	return finding, nil
}

// Correct makes an object again or patches it, so that what was found is no more. It does nothing about an object that is being
// deleted.
func (c Comparer) Correct(ctx context.Context, cluster Cluster, finding Finding) error {
	switch finding.State {
	case v1alpha1.DriftMissing:
		_, err := cluster.Create(ctx, finding.want.DeepCopy(), metav1.CreateOptions{FieldManager: c.Manager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return explain(finding.Object, "create", ErrNotMended, err)
		}
	case v1alpha1.DriftChanged:
		if finding.refused != nil {
			return explain(finding.Object, "patch", ErrNotMended, finding.refused)
		}
		_, err := cluster.Patch(ctx, finding.Object.Name, finding.patchKind, finding.patch, metav1.PatchOptions{FieldManager: c.Manager})
		if err != nil {
			return explain(finding.Object, "patch", ErrNotMended, err)
		}
	}
	return nil
}

// refusal is an error of the API server, told without its text.
type refusal struct {
	object Object
	verb   string
	what   error
	cause  error
}

func (r refusal) Error() string {
	reason := "no answer from the API server"
	if word := apierrors.ReasonForError(r.cause); word != metav1.StatusReasonUnknown {
		reason = string(word)
	}
	if apierrors.IsForbidden(r.cause) {
		reason = fmt.Sprintf("Forbidden: no right to %s it, or a policy refuses that", r.verb)
	}
	return fmt.Sprintf("%s: %s (%s)", r.object, r.what, reason)
}

func (r refusal) Unwrap() []error { return []error{r.what, r.cause} }

func explain(object Object, verb string, what, cause error) error {
	return refusal{object: object, verb: verb, what: what, cause: cause}
}
