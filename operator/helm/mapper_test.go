package helm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// staleMapper knows a kind once it was reset after the kind was served.
type staleMapper struct {
	meta.ResettableRESTMapper
	served, knows bool
	resets        int
	during        func() // happens once, during the next look
}

func (s *staleMapper) Reset() { s.resets++; s.knows = s.served }

func (s *staleMapper) RESTMapping(kind schema.GroupKind, _ ...string) (*meta.RESTMapping, error) {
	knows := s.knows
	if do := s.during; do != nil {
		s.during = nil
		do()
	}
	if !knows {
		return nil, &meta.NoKindMatchError{GroupKind: kind}
	}
	return &meta.RESTMapping{}, nil
}

func TestKindsAreLookedForAgain(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stale := &staleMapper{}
	m := &kindMapper{ResettableRESTMapper: stale, now: func() time.Time { return now }}
	widget := schema.GroupKind{Group: "example.com", Kind: "Widget"}

	_, err := m.RESTMapping(widget)
	require.Error(t, err)
	_, err = m.RESTMapping(widget)
	require.Error(t, err)
	assert.Equal(t, 1, stale.resets, "a kind that does not exist costs little")

	stale.served = true
	_, err = m.RESTMapping(widget)
	require.Error(t, err, "it was looked for a moment ago")
	m.changed()
	_, err = m.RESTMapping(widget)
	require.NoError(t, err, "whoever defines kinds says so")

	stale.knows, now = false, now.Add(time.Minute)
	stale.during = func() {
		_, err := m.RESTMapping(widget)
		assert.NoError(t, err)
	}
	_, err = m.RESTMapping(widget)
	require.NoError(t, err, "somebody else has just looked for new kinds")
	assert.Equal(t, 3, stale.resets)
}
