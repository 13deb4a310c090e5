package helm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	rspb "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Last returns what the newest record of a release says, and false when the release has no record. It reads the labels of
// all records and the content of one.
func (c *Client) Last(ctx context.Context, namespace, name string) (Release, bool, error) {
	history, err := c.History(ctx, namespace, name)
	if err != nil {
		return Release{}, false, err
	}
	// A record may be pruned between the two requests; the newest one only by an uninstall.
	for _, revision := range history {
		rls, meta, err := c.read(ctx, namespace, recordKey(name, revision.Revision))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return Release{}, false, err
		}
		return toRelease(rls, meta), true, nil
	}
	return Release{}, false, nil
}

// writtenAt returns when an object was written last, by the clock of the API server.
func writtenAt(object *metav1.ObjectMeta) time.Time {
	at := object.CreationTimestamp.Time
	for _, entry := range object.ManagedFields {
		if entry.Time != nil && entry.Time.After(at) {
			at = entry.Time.Time
		}
	}
	return at
}

// History returns what the labels of the records of a release say, newest first; it is empty when there are none.
func (c *Client) History(ctx context.Context, namespace, name string) ([]Revision, error) {
	items, err := c.listRecords(ctx, namespace, map[string]string{labelOwner: recordOwner, labelName: name})
	if err != nil {
		return nil, err
	}
	return revisions(items), nil
}

// revisions returns what the labels of records say, newest first.
func revisions(items []metav1.PartialObjectMetadata) []Revision {
	out := make([]Revision, 0, len(items))
	for i := range items {
		if revision, ok := revisionOf(&items[i]); ok {
			out = append(out, revision)
		}
	}
	slices.SortFunc(out, func(a, b Revision) int { return b.Revision - a.Revision })
	return out
}

// MarkInterrupted turns a pending revision into a failed one that says "interrupted: cause", so that the release can be
// upgraded again. It does nothing when the revision is no longer pending. It returns ErrNotFound when there is no such
// revision, and ErrConflict when somebody wrote it meanwhile: look again, then.
func (c *Client) MarkInterrupted(ctx context.Context, namespace, name string, revision int, cause string) error {
	key := recordKey(name, revision)
	rls, meta, err := c.read(ctx, namespace, key)
	if err != nil {
		return err
	}
	if !Status(rls.Info.Status).Pending() {
		return nil
	}
	rls.Info.Status = rspb.StatusFailed
	rls.Info.Description = clip("interrupted: " + cause)
	secret, err := c.encoder.encode(namespace, key, rls, meta.Labels, 0)
	if err != nil {
		return err
	}
	secret.ResourceVersion = meta.ResourceVersion
	if created, ok := meta.Labels[labelCreated]; ok {
		secret.Labels[labelCreated] = created
	}
	secret.Labels[labelModified] = fmt.Sprint(c.now().Unix())

	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err = c.kube.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err):
		return fmt.Errorf("mark revision %d of %s/%s as interrupted: %w", revision, namespace, name, ErrConflict)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("mark revision %d of %s/%s as interrupted: %w", revision, namespace, name, ErrNotFound)
	default:
		return fmt.Errorf("mark revision %d of %s/%s as interrupted: %w", revision, namespace, name, err)
	}
}
