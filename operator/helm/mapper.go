package helm

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// mapperRest is the shortest time between two looks at what kinds there are, so that releases of a kind that does not exist cost
// the API server little.
const mapperRest = time.Second

// kindMapper is a REST mapper that asks the cluster again when it does not know a kind: definitions come and go, with the charts of
// this operator or by other hands. The mapper of client-go does so only while its cache is new, and is wrong for ever after.
type kindMapper struct {
	meta.ResettableRESTMapper
	now func() time.Time

	mu sync.Mutex // guards below, and is held while the cluster is asked, so that it is asked once
	// asked is when the cluster was asked last, and times how often.
	asked time.Time
	times int
}

// changed says that there may be kinds now which nobody knew: the next look that finds none asks the cluster, whenever that was
// asked before.
func (m *kindMapper) changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = time.Time{}
}

// look looks for a kind, and once more when the cluster was asked after the first look had failed, by whomever.
func (m *kindMapper) look(find func() error) error {
	m.mu.Lock()
	before := m.times
	m.mu.Unlock()
	err := find()
	if meta.IsNoMatchError(err) && m.again(before) {
		return find()
	}
	return err
}

// again asks the cluster, unless it was asked a moment ago, and reports whether it was asked since it had been asked a number of times.
func (m *kindMapper) again(before int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.now(); m.times == before && (now.Sub(m.asked) >= mapperRest || now.Before(m.asked)) {
		m.Reset()
		m.asked = now
		m.times++
	}
	return m.times != before
}

// RESTMapping implements meta.RESTMapper.
func (m *kindMapper) RESTMapping(kind schema.GroupKind, versions ...string) (mapping *meta.RESTMapping, err error) {
	err = m.look(func() (err error) {
		mapping, err = m.ResettableRESTMapper.RESTMapping(kind, versions...)
		return err
	})
	return mapping, err
}

// RESTMappings implements meta.RESTMapper.
func (m *kindMapper) RESTMappings(kind schema.GroupKind, versions ...string) (mappings []*meta.RESTMapping, err error) {
	err = m.look(func() (err error) {
		mappings, err = m.ResettableRESTMapper.RESTMappings(kind, versions...)
		return err
	})
	return mappings, err
}

// KindFor implements meta.RESTMapper.
func (m *kindMapper) KindFor(resource schema.GroupVersionResource) (kind schema.GroupVersionKind, err error) {
	err = m.look(func() (err error) {
		kind, err = m.ResettableRESTMapper.KindFor(resource)
		return err
	})
	return kind, err
}
