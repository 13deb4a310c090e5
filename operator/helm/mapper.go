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

	mu    sync.Mutex // guards asked
	asked time.Time
}

// again reports whether the cluster was asked again after a mapping failed.
func (m *kindMapper) again(err error) bool {
	if !meta.IsNoMatchError(err) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.now(); now.Sub(m.asked) >= mapperRest || now.Before(m.asked) {
		m.asked = now
		m.Reset()
		return true
	}
	return false
}

// RESTMapping implements meta.RESTMapper.
func (m *kindMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	mapping, err := m.ResettableRESTMapper.RESTMapping(kind, versions...)
	if m.again(err) {
		return m.ResettableRESTMapper.RESTMapping(kind, versions...)
	}
	return mapping, err
}

// RESTMappings implements meta.RESTMapper.
func (m *kindMapper) RESTMappings(kind schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	mappings, err := m.ResettableRESTMapper.RESTMappings(kind, versions...)
	if m.again(err) {
		return m.ResettableRESTMapper.RESTMappings(kind, versions...)
	}
	return mappings, err
}

// KindFor implements meta.RESTMapper.
func (m *kindMapper) KindFor(resource schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	kind, err := m.ResettableRESTMapper.KindFor(resource)
	if m.again(err) {
		return m.ResettableRESTMapper.KindFor(resource)
	}
	return kind, err
}
