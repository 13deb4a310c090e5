package helm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	rspb "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelabels "k8s.io/apimachinery/pkg/labels"
)

// errStub refuses to write back a record that was not read.
var errStub = errors.New("the record was listed by its labels only and cannot be written")

// records is Helm's storage for one operation: a driver.Driver over Secrets.
//
// It differs from Helm's own in what it reads and in what it refuses. A query reads the newest record and those that are
// deployed; of the others it returns stubs with name, revision and status, made from labels, because that is all Helm
// looks at. A write carries the resource version that was read. Nothing is written once the operation is fenced. The
// records that the operation creates get its labels, and no values in their descriptions.
type records struct {
	op *operation

	// mu guards the fields below.
	mu sync.Mutex
	// stored is the metadata of records as this operation last saw them, by key.
	stored map[string]metav1.ObjectMeta
	// stubs are the releases that were made from labels.
	stubs map[*rspb.Release]struct{}
	// listed is the metadata of all records of the release, nil when nobody has asked or something was written since: Helm
	// asks several times before it writes.
	listed []metav1.PartialObjectMetadata
	// whole are the records that were read since then, as they were.
	whole map[string]*rspb.Release
	// lastErr is the last failure to write; Helm only logs some of them.
	lastErr error
}

var _ driver.Driver = (*records)(nil)

func newRecords(op *operation) *records {
	return &records{op: op, stored: map[string]metav1.ObjectMeta{}, stubs: map[*rspb.Release]struct{}{}}
}

// Name returns the name of the storage that Helm puts into messages.
func (r *records) Name() string { return driver.SecretsDriverName }

// history returns what the labels of the release's records say, newest first.
func (r *records) history() ([]Revision, error) {
	items, err := r.list()
	if err != nil {
		return nil, err
	}
	return revisions(items), nil
}

// list returns the metadata of all records of the release.
func (r *records) list() ([]metav1.PartialObjectMetadata, error) {
	r.mu.Lock()
	items := r.listed
	r.mu.Unlock()
	if items != nil {
		return items, nil
	}
	items, err := r.op.client.listRecords(detached(r.op.ctx), r.op.target.Namespace,
		map[string]string{labelOwner: recordOwner, labelName: r.op.target.Name})
	if err != nil {
		return nil, err
	}
	if items == nil {
		items = []metav1.PartialObjectMetadata{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed = items
	return items, nil
}

// forget drops what was read: something is about to be written.
func (r *records) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed, r.whole = nil, nil
}

// keep remembers a record that was read, and kept returns it; nil when it was not. Helm changes what it gets, so both
// copy what it changes.
func (r *records) keep(key string, rls *rspb.Release) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole == nil {
		r.whole = map[string]*rspb.Release{}
	}
	r.whole[key] = copyRelease(rls)
}

func (r *records) kept(key string) *rspb.Release {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rls := r.whole[key]; rls != nil {
		return copyRelease(rls)
	}
	return nil
}

// copyRelease returns a copy with an Info and labels of its own.
func copyRelease(rls *rspb.Release) *rspb.Release {
	out, info := *rls, *rls.Info
	out.Info, out.Labels = &info, maps.Clone(rls.Labels)
	return &out
}

// Get reads one record.
func (r *records) Get(key string) (*rspb.Release, error) {
	if rls := r.kept(key); rls != nil {
		return rls, nil
	}
	rls, meta, err := r.op.client.read(detached(r.op.ctx), r.op.target.Namespace, key)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil, driver.ErrReleaseNotFound
		}
		return nil, r.op.failed(StageStorage, err)
	}
	r.remember(key, meta)
	r.op.mask.learn(rls.Config)
	rls.Labels = withoutSystemLabels(meta.Labels)
	r.keep(key, rls)
	return rls, nil
}

// List reads all records of the namespace. No action that this package runs calls it.
func (r *records) List(filter func(*rspb.Release) bool) ([]*rspb.Release, error) {
	items, err := r.op.client.listRecords(detached(r.op.ctx), r.op.target.Namespace, map[string]string{labelOwner: recordOwner})
	if err != nil {
		return nil, err
	}
	var out []*rspb.Release
	for i := range items {
		rls, err := r.Get(items[i].Name)
		if errors.Is(err, driver.ErrReleaseNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if filter(rls) {
			out = append(out, rls)
		}
	}
	return out, nil
}

// Query returns the records with the labels: the newest one and those that are deployed in full, the others as stubs.
func (r *records) Query(labels map[string]string) ([]*rspb.Release, error) {
	all, err := r.list()
	if err != nil {
		return nil, r.op.failed(StageStorage, err)
	}
	selector := kubelabels.SelectorFromSet(labels)
	items := slices.DeleteFunc(slices.Clone(all), func(item metav1.PartialObjectMetadata) bool {
		return !selector.Matches(kubelabels.Set(item.Labels))
	})
	newest := 0
	for i := range items {
		if revision, ok := revisionOf(&items[i]); ok {
			newest = max(newest, revision.Revision)
		}
	}
	var out []*rspb.Release
	for i := range items {
		revision, ok := revisionOf(&items[i])
		if !ok {
			continue
		}
		if revision.Revision != newest && revision.Status != StatusDeployed {
			out = append(out, r.stub(labels[labelName], revision))
			continue
		}
		rls, err := r.Get(items[i].Name)
		if errors.Is(err, driver.ErrReleaseNotFound) {
			continue // deleted since it was listed
		}
		if err != nil {
			return nil, err
		}
		out = append(out, rls)
	}
	if len(out) == 0 {
		return nil, driver.ErrReleaseNotFound
	}
	return out, nil
}

func (r *records) stub(name string, revision Revision) *rspb.Release {
	rls := &rspb.Release{
		Name:      name,
		Namespace: r.op.target.Namespace,
		Version:   revision.Revision,
		Info:      &rspb.Info{Status: rspb.Status(revision.Status)},
		Labels:    revision.Labels,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stubs[rls] = struct{}{}
	return rls
}

// Create writes a new record.
func (r *records) Create(key string, rls *rspb.Release) error {
	if err := r.op.refused(); err != nil {
		return err
	}
	r.forget()
	labels := r.stamped(rls, true)
	secret, err := r.op.client.encoder.encode(r.op.target.Namespace, key, r.safe(rls, true), labels, recordReserve)
	if err != nil {
		return r.failed(err)
	}
	secret.Labels[labelCreated] = strconv.FormatInt(r.op.client.now().Unix(), 10)

	ctx, cancel := context.WithTimeout(detached(r.op.ctx), requestTimeout)
	defer cancel()
	made, err := r.op.client.kube.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		if made, err = r.taken(key, rls); err != nil {
			return r.failed(err)
		}
	case apierrors.IsNotFound(err):
		// The only thing that a new Secret can miss is its namespace.
		return r.failed(fmt.Errorf("%w: %s", ErrNamespaceNotFound, secret.Namespace))
	case err != nil:
		return r.failed(fmt.Errorf("write revision %d: %w", rls.Version, err))
	}
	r.remember(key, made.ObjectMeta)
	r.op.persisted(r.safe(rls, true), made.ResourceVersion, true)
	return nil
}

// taken returns the record that is where a new one was to be made, if this operation made it: the answer to the request may have been
// lost, and the request repeated. Otherwise it says whose it is.
func (r *records) taken(key string, rls *rspb.Release) (*corev1.Secret, error) {
	ctx, cancel := context.WithTimeout(detached(r.op.ctx), requestTimeout)
	defer cancel()
	found, err := r.op.client.kube.CoreV1().Secrets(r.op.target.Namespace).Get(ctx, key, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("write revision %d: it exists, and cannot be read: %w", rls.Version, err)
	}
	revision, isRecord := revisionOf(found)
	switch {
	case err == nil && isRecord && r.op.made(found.Labels):
		return found, nil
	case err == nil && (!isRecord || revision.Revision != rls.Version || found.Labels[labelName] != rls.Name):
		// Nobody sees such a record, so whoever looked again would try again, for ever.
		return nil, fmt.Errorf("write revision %d: Secret %s exists, and its labels are not those of a record of the release; delete it",
			rls.Version, key)
	default:
		return nil, fmt.Errorf("write revision %d: %w: %w", rls.Version, ErrOvertaken, driver.ErrReleaseExists)
	}
}

// made reports whether a record has the labels that this operation writes.
func (op *operation) made(labels map[string]string) bool {
	for name, value := range op.target.Labels {
		if labels[name] != value {
			return false
		}
	}
	return len(op.target.Labels) > 0
}

// Update writes a record that this operation has read or created.
func (r *records) Update(key string, rls *rspb.Release) error {
	if err := r.op.refused(); err != nil {
		return err
	}
	r.forget()
	r.mu.Lock()
	_, isStub := r.stubs[rls]
	before, known := r.stored[key]
	r.mu.Unlock()
	if isStub || !known {
		return r.failed(fmt.Errorf("update revision %d: %w", rls.Version, errStub))
	}
	mine := rls.Version == r.op.revision || r.op.kind == kindUninstall
	secret, err := r.op.client.encoder.encode(r.op.target.Namespace, key, r.safe(rls, mine), r.stamped(rls, mine), 0)
	if err != nil {
		return r.failed(err)
	}
	secret.ResourceVersion = before.ResourceVersion
	if created, ok := before.Labels[labelCreated]; ok {
		secret.Labels[labelCreated] = created
	}
	secret.Labels[labelModified] = strconv.FormatInt(r.op.client.now().Unix(), 10)

	ctx, cancel := context.WithTimeout(detached(r.op.ctx), requestTimeout)
	defer cancel()
	written, err := r.op.client.kube.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return r.failed(fmt.Errorf("update revision %d: %w: %w", rls.Version, ErrConflict, err))
	case err != nil:
		return r.failed(fmt.Errorf("update revision %d: %w", rls.Version, err))
	}
	r.remember(key, written.ObjectMeta)
	r.op.persisted(r.safe(rls, mine), written.ResourceVersion, false)
	return nil
}

// Delete deletes a record. One that is gone already is fine: Helm would stop pruning or uninstalling there. Helm does not
// use the release that other drivers return.
func (r *records) Delete(key string) (*rspb.Release, error) {
	if err := r.op.refused(); err != nil {
		return nil, err
	}
	r.forget()
	ctx, cancel := context.WithTimeout(detached(r.op.ctx), requestTimeout)
	defer cancel()
	err := r.op.client.kube.CoreV1().Secrets(r.op.target.Namespace).Delete(ctx, key, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, r.failed(fmt.Errorf("delete record %s: %w", key, err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.stored, key)
	return nil, nil
}

// stamped returns the labels for a record; those of the operation win when it is one that the operation writes.
func (r *records) stamped(rls *rspb.Release, mine bool) map[string]string {
	labels := withoutSystemLabels(rls.Labels)
	if mine {
		maps.Copy(labels, r.op.target.Labels)
	}
	return labels
}

// safe returns the release with values masked in its description, which ends up in statuses.
func (r *records) safe(rls *rspb.Release, mine bool) *rspb.Release {
	if !mine {
		return rls
	}
	info := *rls.Info
	info.Description = r.op.mask.text(info.Description)
	out := *rls
	out.Info = &info
	return &out
}

// metadata returns the metadata of a record as this operation last saw it.
func (r *records) metadata(rls *rspb.Release) metav1.ObjectMeta {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored[recordKey(rls.Name, rls.Version)]
}

func (r *records) remember(key string, meta metav1.ObjectMeta) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored[key] = meta
}

func (r *records) failed(err error) error {
	r.mu.Lock()
	r.lastErr = err
	r.mu.Unlock()
	return r.op.failed(StageStorage, err)
}

// writeError returns the last failure to write.
func (r *records) writeError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastErr
}

// read reads one record. It returns ErrNotFound when there is none.
func (c *Client) read(ctx context.Context, namespace, key string) (*rspb.Release, metav1.ObjectMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	secret, err := c.kube.CoreV1().Secrets(namespace).Get(ctx, key, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, metav1.ObjectMeta{}, fmt.Errorf("read record %s: %w", key, ErrNotFound)
	case err != nil:
		return nil, metav1.ObjectMeta{}, fmt.Errorf("read record %s: %w", key, err)
	}
	rls, err := decodeSecret(secret)
	return rls, secret.ObjectMeta, err
}

func decodeSecret(secret *corev1.Secret) (*rspb.Release, error) {
	rls, err := decodeRecord(secret.Data[recordData])
	if err != nil {
		return nil, fmt.Errorf("read record %s: %w", secret.Name, err)
	}
	return rls, nil
}

// listRecords lists the metadata of records with the labels.
func (c *Client) listRecords(
	ctx context.Context, namespace string, labels map[string]string,
) ([]metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	selector := kubelabels.SelectorFromSet(labels)
	list, err := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace).
		List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, fmt.Errorf("list the release records in namespace %s: %w", namespace, err)
	}
	return slices.DeleteFunc(list.Items, func(item metav1.PartialObjectMetadata) bool {
		return item.Labels[labelOwner] != recordOwner
	}), nil
}
