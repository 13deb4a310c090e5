package values

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

func TestComposeReadsBothForms(t *testing.T) {
	tests := []struct {
		name string
		spec *v1alpha1.Values
		want map[string]any
	}{
		{"nothing set is an empty map", nil, map[string]any{}},
		{"no raw text is an empty map", &v1alpha1.Values{}, map[string]any{}},
		{"a null is an empty map", &v1alpha1.Values{Raw: []byte("null")}, map[string]any{}},
		{"an empty string is an empty map", v1alpha1.ValuesFromString(""), map[string]any{}},
		{"a string with comments only is an empty map", v1alpha1.ValuesFromString("# nothing yet\n"), map[string]any{}},
		{"a document that is null is an empty map", v1alpha1.ValuesFromString("null"), map[string]any{}},
		{
			"a string is read as YAML",
			v1alpha1.ValuesFromString("replicas: 2\nimage:\n  tag: \"1.10\"\n"),
			map[string]any{"replicas": float64(2), "image": map[string]any{"tag": "1.10"}},
		},
		{
			"an object means the same as its YAML",
			&v1alpha1.Values{Raw: []byte(`{"replicas":2,"image":{"tag":"1.10"}}`)},
			map[string]any{"replicas": float64(2), "image": map[string]any{"tag": "1.10"}},
		},
		{
			"a null in a string stays, to delete a default",
			v1alpha1.ValuesFromString("resources: null\n"),
			map[string]any{"resources": nil},
		},
		{
			"words that YAML 1.1 takes for booleans are booleans, as in helm -f",
			v1alpha1.ValuesFromString("a: yes\nb: \"yes\"\n"),
			map[string]any{"a": true, "b": "yes"},
		},
		{
			"anchors are resolved",
			v1alpha1.ValuesFromString("a: &x {k: v}\nb: *x\n"),
			map[string]any{"a": map[string]any{"k": "v"}, "b": map[string]any{"k": "v"}},
		},
		{
			"an object with escapes that only JSON knows is read",
			&v1alpha1.Values{Raw: []byte(`{"smile":"\ud83d\ude00"}`)},
			map[string]any{"smile": "😀"},
		},
		{
			"a string may hold JSON",
			v1alpha1.ValuesFromString(`{"a": [1, "2"]}`),
			map[string]any{"a": []any{float64(1), "2"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Compose(t.Context(), tt.spec, nil, nil)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestComposeSaysWhatIsWrongWithoutQuotingIt(t *testing.T) {
	const secret = "hunter22"
	tests := []struct {
		name     string
		spec     *v1alpha1.Values
		line     int
		contains string
	}{
		{"a number", &v1alpha1.Values{Raw: []byte("5")}, 0, "must be an object"},
		{"a list", &v1alpha1.Values{Raw: []byte(`["hunter22"]`)}, 0, "must be an object"},
		{"a boolean", &v1alpha1.Values{Raw: []byte("true")}, 0, "must be an object"},
		{"a string with a list", v1alpha1.ValuesFromString("- hunter22\n"), 0, "must be a YAML map"},
		{"a string with one word", v1alpha1.ValuesFromString(secret), 0, "must be a YAML map"},
		{"a string with broken YAML", v1alpha1.ValuesFromString("a: 1\npassword: hunter22: x\n"), 2, "not valid YAML"},
		{"tabs for indentation", v1alpha1.ValuesFromString("a:\n\tpassword: hunter22\n"), 2, "tabs"},
		{"an alias to nothing", v1alpha1.ValuesFromString("a: *hunter22\n"), 0, "not valid YAML"},
		{"truncated JSON", &v1alpha1.Values{Raw: []byte(`{"a": "hunter22`)}, 0, "not valid YAML"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compose(t.Context(), tt.spec, nil, nil)
			var invalid *Error
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, "spec.values", invalid.Where)
			assert.Contains(t, err.Error(), tt.contains)
			assert.NotContains(t, err.Error(), secret)
			if tt.line > 0 {
				assert.Equal(t, tt.line, invalid.Line)
			}
		})
	}
}

// objects is a Source with fixed objects, by kind and name.
type objects map[string]map[string]string

func (o objects) Get(_ context.Context, kind, name string) (map[string][]byte, bool, error) {
	if name == "unreadable" {
		return nil, false, errUnreadable
	}
	data, found := o[kind+"/"+name]
	out := map[string][]byte{}
	for key, value := range data {
		out[key] = []byte(value)
	}
	return out, found, nil
}

var errUnreadable = errors.New("connection refused")

func TestComposeMergesReferencesInOrder(t *testing.T) {
	source := objects{
		"ConfigMap/base":  {"values.yaml": "a: base\nlist: [1, 2]\nnested: {x: 1, y: 1}\n"},
		"Secret/override": {"other.yaml": "a: override\nlist: [3]\nnested: {y: 2}\n"},
		"Secret/db":       {"password": "0123", "port": "5432", "on": "TRUE", "quoted": `"5432"`, "none": "null"},
	}
	tests := []struct {
		name string
		spec string
		refs []v1alpha1.ValuesReference
		want string
	}{
		{
			"later references win, maps are merged, lists are replaced", "",
			[]v1alpha1.ValuesReference{{Kind: "ConfigMap", Name: "base"}, {Kind: "Secret", Name: "override", Key: "other.yaml"}},
			"a: override\nlist: [3]\nnested: {x: 1, y: 2}\n",
		},
		{
			"values win over references", "a: spec\nnested: {x: 9}\n",
			[]v1alpha1.ValuesReference{{Kind: "ConfigMap", Name: "base"}},
			"a: spec\nlist: [1, 2]\nnested: {x: 9, y: 1}\n",
		},
		{
			"a null in values stays, to delete a chart's default", "a: null\n",
			[]v1alpha1.ValuesReference{{Kind: "ConfigMap", Name: "base"}},
			"a: null\nlist: [1, 2]\nnested: {x: 1, y: 1}\n",
		},
		{
			"a target path wins over values, wherever it stands", "db: {password: spec, user: u}\n",
			[]v1alpha1.ValuesReference{{Kind: "Secret", Name: "db", Key: "password", TargetPath: "db.password"}},
			"db: {password: \"0123\", user: u}\n",
		},
		{
			"target paths type their values as helm --set does", "",
			[]v1alpha1.ValuesReference{
				{Kind: "Secret", Name: "db", Key: "port", TargetPath: "ports[1].number"},
				{Kind: "Secret", Name: "db", Key: "on", TargetPath: `labels.example\.com/on`},
				{Kind: "Secret", Name: "db", Key: "quoted", TargetPath: "text"},
				{Kind: "Secret", Name: "db", Key: "none", TargetPath: "gone"},
			},
			"ports: [null, {number: 5432}]\nlabels: {example.com/on: true}\ntext: \"5432\"\ngone: null\n",
		},
		{
			"missing objects and keys are skipped when optional", "a: spec\n",
			[]v1alpha1.ValuesReference{
				{Kind: "ConfigMap", Name: "absent", Optional: true},
				{Kind: "Secret", Name: "db", Key: "absent", TargetPath: "x", Optional: true},
			},
			"a: spec\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Compose(t.Context(), v1alpha1.ValuesFromString(tt.spec), tt.refs, source)
			require.NoError(t, err)
			want := map[string]any{}
			require.NoError(t, yaml.Unmarshal([]byte(tt.want), &want))
			// JSON makes one type of all numbers.
			assert.Equal(t, plain(t, want), plain(t, got))
		})
	}
}

func plain(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := json.Marshal(values)
	require.NoError(t, err)
	return string(text)
}

func TestComposeNamesTheReferenceThatIsWrong(t *testing.T) {
	source := objects{"Secret/db": {"values.yaml": "password: hunter22: x\n", "password": "hunter22", "binary": "\xffhunter22"}}
	tests := []struct {
		name     string
		ref      v1alpha1.ValuesReference
		contains string
	}{
		{"a missing object", v1alpha1.ValuesReference{Kind: "ConfigMap", Name: "absent"}, "ConfigMap absent, key values.yaml"},
		{"a missing key", v1alpha1.ValuesReference{Kind: "Secret", Name: "db", Key: "absent"}, "no such key"},
		{"broken YAML", v1alpha1.ValuesReference{Kind: "Secret", Name: "db"}, "key values.yaml): is not valid YAML"},
		{
			"a broken path",
			v1alpha1.ValuesReference{Kind: "Secret", Name: "db", Key: "password", TargetPath: "a..b"},
			"empty key",
		},
		{
			"bytes that are no text",
			v1alpha1.ValuesReference{Kind: "Secret", Name: "db", Key: "binary", TargetPath: "a.b"},
			"is not UTF-8 text",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compose(t.Context(), nil, []v1alpha1.ValuesReference{tt.ref}, source)
			var invalid *Error
			require.ErrorAs(t, err, &invalid)
			assert.Contains(t, invalid.Error(), "spec.valuesFrom[0]")
			assert.Contains(t, invalid.Error(), tt.contains)
			assert.NotContains(t, invalid.Error(), "hunter22")
		})
	}

	t.Run("a source that fails is not an error of the values", func(t *testing.T) {
		_, err := Compose(t.Context(), nil, []v1alpha1.ValuesReference{{Kind: "Secret", Name: "unreadable"}}, source)
		require.ErrorIs(t, err, errUnreadable)
		var invalid *Error
		assert.NotErrorAs(t, err, &invalid)
	})

	t.Run("references without a source are an error", func(t *testing.T) {
		_, err := Compose(t.Context(), nil, []v1alpha1.ValuesReference{{Kind: "Secret", Name: "db"}}, nil)
		var invalid *Error
		assert.ErrorAs(t, err, &invalid)
	})
}

func TestParsePath(t *testing.T) {
	tests := []struct {
		path string
		want []step
	}{
		{"a", []step{{key: "a"}}},
		{"a.b", []step{{key: "a"}, {key: "b"}}},
		{"a[0]", []step{{key: "a"}, {index: 0, isIndex: true}}},
		{"a[1][2].b", []step{{key: "a"}, {index: 1, isIndex: true}, {index: 2, isIndex: true}, {key: "b"}}},
		{`a\.b.c`, []step{{key: "a.b"}, {key: "c"}}},
		{`a\[0\]`, []step{{key: "a[0]"}}},
		{"", nil},
		{".", nil},
		{"a.", nil},
		{".a", nil},
		{"[0]", nil},
		{"a[", nil},
		{"a[x]", nil},
		{"a[-1]", nil},
		{"a[65537]", nil},
		{"a[0]b", nil},
		{`a[0]\b`, nil},
		{`a[0]\b.c`, nil},
		{`a\`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			got, err := parsePath(tt.path)
			if tt.want == nil {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func FuzzCompose(f *testing.F) {
	for _, seed := range []string{
		"", "a: 1", "a:\n  - b: null\n", "- x", "{", "a: &x [1]\nb: *x", "a: 0x10\nb: 1e3\nc: .inf", "\ta: 1", `{"a":"\ud83d"}`, "? [k]\n: v",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want := map[string]any{}
		wantErr := yaml.Unmarshal([]byte(text), &want)
		got, err := Compose(context.Background(), v1alpha1.ValuesFromString(text), nil, nil)
		// A JSON string cannot hold bytes that are not UTF-8, so that the document that arrives is another one.
		if strings.ToValidUTF8(text, "") != text {
			return
		}
		if wantErr != nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.NotNil(t, got)
		if want == nil {
			want = map[string]any{}
		}
		require.Equal(t, want, got, "must read what helm -f reads")
		require.Equal(t, Digest(want), Digest(got))
	})
}

func FuzzTargetPath(f *testing.F) {
	for _, seed := range []string{"a", "a.b[0].c", `a\.b`, "a[", "[0]", "a[0][1]", "a.[1]"} {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, path, value string) {
		values := map[string]any{"a": map[string]any{"b": []any{"x"}}}
		steps, err := parsePath(path)
		if err != nil {
			return
		}
		size := 1
		for _, s := range steps {
			size *= s.index + 1
		}
		if size > maxIndex || size < 0 {
			return // only large
		}
		require.NoError(t, target{path: path, value: value}.set(values))
		var at any = values
		for _, s := range steps {
			if s.isIndex {
				list, ok := at.([]any)
				require.True(t, ok)
				at = list[s.index]
				continue
			}
			table, ok := at.(map[string]any)
			require.True(t, ok)
			at = table[s.key]
		}
		require.Equal(t, typed(value), at)
	})
}
