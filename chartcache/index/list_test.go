package index

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAListHoldsWhatVersionsReturns(t *testing.T) {
	r := fromHelm(t, `apiVersion: v1
entries:
  web:
  - {name: web, version: 1.2.3, appVersion: "7", description: A web server, digest: `+
		`0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, urls: [web-1.2.3.tgz], created: "2026-03-04T05:06:07.8Z"}
  - {name: web, version: 1.3.0-rc.1, description: A web server, digest: odd, deprecated: true}
  - {name: web, version: 1.0.0}
`)
	want, _, err := r.Versions("web")
	require.NoError(t, err)
	require.Len(t, want, 3)
	list, ok, err := r.List("web")
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, r.Close())
	assert.Equal(t, "web", list.Chart())
	require.Equal(t, len(want), list.Len())
	for i, e := range want {
		assert.Equal(t, e, list.Entry(i))
		assert.Equal(t, e.Version, list.Version(i))
	}
}

func TestTheSizeOfAListIsThatOfAllThatItKeepsInMemory(t *testing.T) {
	texts := func(length int) int64 {
		name := build(t, func(b *Builder) error {
			return b.AddTags("web", []string{"1.0.0", "1.1.0"}, func(version string) Entry {
				// Both share the description, and each has a URL of its own.
				return Entry{Description: strings.Repeat("d", length), URLs: []string{version + strings.Repeat("u", length)}}
			})
		})
		list, ok, err := open(t, name).List("web")
		require.NoError(t, err)
		require.True(t, ok)
		return list.SizeBytes()
	}
	const more = 10_000
	assert.InDelta(t, 3*more, texts(more)-texts(0), 100)
	assert.Less(t, texts(0), int64(500))
}

func TestAListOfAChartThatIsNotThereOrDamaged(t *testing.T) {
	name := build(t, func(b *Builder) error { return b.AddTags("web", []string{"1.0.0", "1.1.0"}, none) })
	r := open(t, name)
	_, ok, err := r.List("db")
	require.NoError(t, err)
	assert.False(t, ok)

	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, int64(len(magic)+3))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, _, err = r.List("web")
	assert.ErrorIs(t, err, ErrCorrupt)
}
