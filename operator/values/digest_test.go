package values

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDigestTellsValuesApart(t *testing.T) {
	values := []map[string]any{
		nil,
		{"a": nil},
		{"a": ""},
		{"a": "null"},
		{"a": map[string]any{}},
		{"a": []any{}},
		{"a": []any{nil}},
		{"a": false},
		{"a": "false"},
		{"a": true},
		{"a": 0},
		{"a": 1},
		{"a": "1"},
		{"a": 1.5},
		{"a": -1},
		{"a": []any{"b", "c"}},
		{"a": []any{"bc"}},
		{"a": []any{[]any{"b"}, "c"}},
		{"a": "b", "c": "d"},
		{"a": map[string]any{"b": "c"}},
		{"ab": "c"},
		{"a": "bc"},
	}
	seen := map[string]map[string]any{}
	for _, v := range values {
		digest := Digest(v)
		assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, digest)
		other, taken := seen[digest]
		assert.False(t, taken, "%#v and %#v have one digest", v, other)
		seen[digest] = v
	}
}

func TestDigestTakesEqualValuesForEqual(t *testing.T) {
	tests := []struct {
		name string
		a, b map[string]any
	}{
		{"nil and empty", nil, map[string]any{}},
		{"whole numbers of all types", map[string]any{"a": 5432}, map[string]any{"a": float64(5432)}},
		{"int64 and JSON numbers", map[string]any{"a": int64(7)}, map[string]any{"a": json.Number("7")}},
		{"fractions and JSON numbers", map[string]any{"a": 0.5}, map[string]any{"a": json.Number("0.50")}},
		{"exponents", map[string]any{"a": json.Number("1e3")}, map[string]any{"a": 1000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, Digest(tt.a), Digest(tt.b))
		})
	}
}

func TestDigestDoesNotDependOnTheOrderOfMaps(t *testing.T) {
	values := map[string]any{}
	for i := range 100 {
		values[fmt.Sprint("key", i)] = map[string]any{"x": i, "y": fmt.Sprint(i)}
	}
	want := Digest(values)
	for range 10 {
		assert.Equal(t, want, Digest(maps.Clone(values)))
	}
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[null,"x",{"c":1.5}]}`), []byte(`{"b":[null,"x",{"c":1.5}],"a":1}`))
	f.Add([]byte(`{"a":1}`), []byte(`{"a":"1"}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y map[string]any
		if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
			return
		}
		left, err := json.Marshal(x)
		require.NoError(t, err)
		right, err := json.Marshal(y)
		require.NoError(t, err)
		same := string(left) == string(right) || len(x) == 0 && len(y) == 0
		if same != (Digest(x) == Digest(y)) {
			t.Fatalf("%s and %s: equal %v, digests %s and %s", left, right, same, Digest(x), Digest(y))
		}
	})
}
