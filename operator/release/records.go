package release

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/helm"
	"github.com/ketches/helm-operator/operator/values"
)

// seenRecord is the newest record of a release as it was read or written last. It holds no values, which may be large and secret.
type seenRecord struct {
	target  Target
	release helm.Release
	// values is the digest of the values that the revision was deployed with.
	values string
}

func seen(target Target, release *helm.Release) seenRecord {
	record := seenRecord{target: target, release: *release, values: values.Digest(release.Values)}
	record.release.Values = nil
	return record
}

// seenRecords are the newest records of all releases. It is safe for concurrent use.
type seenRecords struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]seenRecord
}

func newSeenRecords() *seenRecords {
	return &seenRecords{byName: map[types.NamespacedName]seenRecord{}}
}

func (s *seenRecords) get(key types.NamespacedName) (seenRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, ok := s.byName[key]
	return record, ok
}

func (s *seenRecords) put(key types.NamespacedName, record seenRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[key] = record
}

func (s *seenRecords) drop(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, key)
}

// newest returns the newest record of a release, and false when there is none. Storage is read unless the cluster is known to hold
// what was seen last: what is known may be late, and then differs from what was seen.
func (p *pass) newest(ctx context.Context, target Target) (seenRecord, bool, error) {
	if p.cfg.NewestRecord != nil {
		resourceVersion, known := p.cfg.NewestRecord(target)
		last, ok := p.seen.get(p.key)
		switch {
		case !ok && !known && p.isNew():
			return seenRecord{}, false, nil // an install asks storage itself before it writes
		case !ok || last.target != target:
		case known && resourceVersion == last.release.ResourceVersion, p.wrote(&last):
			return last, true, nil
		}
	}
	release, found, err := p.cfg.Helm.Last(ctx, target.Namespace, target.Name)
	if err != nil {
		return seenRecord{}, false, fmt.Errorf("read the records of the Helm release %s: %w", target, err)
	}
	if !found {
		p.seen.drop(p.key)
		return seenRecord{}, false, nil
	}
	record := seen(target, &release)
	p.seen.put(p.key, record)
	return record, true, nil
}

// isNew reports that nothing was ever done for the object.
func (p *pass) isNew() bool {
	status := &p.draft.Status
	return status.HelmRelease == nil && status.Operation == nil && len(status.History) == 0 && p.draft.DeletionTimestamp.IsZero()
}

// wrote reports whether a record is what the operation wrote whose outcome this pass takes in: nothing newer can be known yet, and
// a watch that is late is no reason to ask.
func (p *pass) wrote(last *seenRecord) bool {
	return p.outcome != nil && p.outcome.Record != nil && p.outcome.Record.ResourceVersion == last.release.ResourceVersion
}

// Expects reports whether a change of a record of an object's release is no news: an operation of ours runs, or its outcome was
// seen.
func (e *Engine) Expects(key types.NamespacedName, resourceVersion string) bool {
	if _, running := e.cfg.Runner.Running(key); running {
		return true
	}
	last, ok := e.seen.get(key)
	return ok && last.release.ResourceVersion == resourceVersion
}
