package kube

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestParseObjects(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		names []string
		fails bool
	}{
		"nothing":                           {text: ""},
		"only comments and empty documents": {text: "# a\n---\n---\n# b\n"},
		"several in order": {
			text:  "# head\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n",
			names: []string{"a", "b"},
		},
		"no kind":       {text: "apiVersion: v1\nmetadata: {name: a}\n", fails: true},
		"no name":       {text: "apiVersion: v1\nkind: Namespace\n", fails: true},
		"not YAML":      {text: "a: [", fails: true},
		"not an object": {text: "- a\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := ParseObjects([]byte(test.text))
			require.Equal(t, test.fails, err != nil, "error: %v", err)
			var names []string
			for _, o := range objects {
				names = append(names, o.GetName())
			}
			assert.Equal(t, test.names, names)
		})
	}
}

func FuzzParseObjects(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n"))
	f.Add([]byte("---\n---"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := ParseObjects(data)
		for _, o := range objects {
			if err == nil && (o.GetName() == "" || o.GetKind() == "") {
				t.Error("an object without name or kind was accepted")
			}
		}
	})
}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	objects, err := ParseObjects([]byte("apiVersion: v1\nkind: Thing\nmetadata: {name: a, generation: 2}\n" + text))
	require.NoError(t, err)
	return objects[0]
}

func TestHasCondition(t *testing.T) {
	wanted := HasCondition("Ready", "True", "")
	for name, test := range map[string]struct {
		object  *unstructured.Unstructured
		wanted  Wanted
		missing string
	}{
		"no object":            {nil, wanted, "it does not exist"},
		"no status":            {object(t, ""), wanted, "it has no condition Ready"},
		"malformed conditions": {object(t, "status: {conditions: [1, {type: Ready}]}"), wanted, "Ready=, : "},
		"as wanted":            {object(t, `status: {conditions: [{type: Ready, status: "True", observedGeneration: 2}]}`), wanted, ""},
		"about an older generation": {
			object(t, `status: {conditions: [{type: Ready, status: "True", observedGeneration: 1}]}`), wanted,
			"condition Ready is about generation 1, not 2",
		},
		"another status": {
			object(t, `status: {conditions: [{type: Ready, status: "False", reason: Broken, message: it is}]}`), wanted,
			"Ready=False, Broken: it is",
		},
		"another reason": {
			object(t, `status: {conditions: [{type: Ready, status: "False", reason: Broken}]}`),
			HasCondition("Ready", "False", "RolledBack"), "Ready=False, Broken: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			missing, ok := test.wanted(test.object)
			assert.Equal(t, test.missing == "", ok)
			assert.Equal(t, test.missing, missing)
		})
	}
}

func TestAKubeconfigLeadsToItsServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	require.NoError(t, WriteKubeconfig(path, Access{Server: "https://127.0.0.1:1", CA: []byte("ca"), Token: "t"}))
	config, err := LoadKubeconfig(path)
	require.NoError(t, err)
	assert.Equal(t, "https://127.0.0.1:1", config.Host)
	assert.Equal(t, "t", config.BearerToken)
	assert.Equal(t, []byte("ca"), config.CAData)
}

func TestARefIsWrittenAsPeopleDo(t *testing.T) {
	assert.Equal(t, "Node a", Ref{Kind: "Node", Name: "a"}.String())
	assert.Equal(t, "Pod b/a", Ref{Kind: "Pod", Namespace: "b", Name: "a"}.String())
}
