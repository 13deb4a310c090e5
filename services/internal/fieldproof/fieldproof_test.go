package fieldproof

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type metadata struct {
	Labels map[string]string `json:"labels,omitempty"`
}

type nested struct {
	Names []string `json:"names"`
	On    *bool    `json:"on,omitempty"`
}

type example struct {
	metadata `json:",inline"`
	Nested   *nested         `json:"nested,omitempty"`
	List     []nested        `json:"list,omitempty"`
	Raw      json.RawMessage `json:"raw,omitempty"`
}

func TestFieldsAreNamedByTheirPaths(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"labels", "list[].names", "list[].on", "nested.names", "nested.on", "raw"}, Fields(reflect.TypeFor[example]()))
}

func TestFieldsWithoutProofAndProofsWithoutTestAreFound(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "some_test.go"), []byte(`package some
func TestThatWorks(t *testing.T) { t.Fail() }
func TestThatSkips(t *testing.T) { t.Skip("later"); t.Fail() }
func TestThatIsEmpty(t *testing.T) {}
func (s suite) TestThatIsAMethod(t *testing.T) { t.Fail() }
`), 0o600))
	proofs := map[string][]string{
		"labels": {".: TestThatWorks"}, "raw": {".: TestThatWorks", ".: TestThatIsGone"}, "list[].on": {".: TestThatSkips"},
		"nested.on": {".: TestThatIsEmpty"}, "nested.names": {".: TestThatIsAMethod"}, "gone": {".: TestThatWorks"},
	}
	findings, err := Findings(folder, reflect.TypeFor[example](), proofs)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"field list[].names: no test proves that it works; write one and name it in the table",
		"field gone: there is no such field; take it out of the table",
		"field list[].on: there is no test TestThatSkips in .",
		"field nested.names: there is no test TestThatIsAMethod in .",
		"field nested.on: there is no test TestThatIsEmpty in .",
		"field raw: there is no test TestThatIsGone in .",
	}, findings)

	for proof, want := range map[string]string{"TestThatWorks": "is not of the form", "nowhere: TestThatWorks": "there are no tests in"} {
		_, err = Findings(folder, reflect.TypeFor[example](), map[string][]string{"raw": {proof}})
		assert.ErrorContains(t, err, want)
	}
}
