package index

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Whoever may name a URL could name one that is not for him, and read the answer in the error.
func TestAnAnswerThatIsNoIndexIsNotQuoted(t *testing.T) {
	for name, text := range map[string]string{
		"a word":                        "hunter2",
		"lines":                         "user\nhunter2\n",
		"a web page":                    "<html><body>hunter2</body></html>",
		"keys in JSON":                  `{"AccessKeyId": "hunter2", "SecretAccessKey": "hunter2"}`,
		"a name in JSON":                `{"hunter2": {"a": 1}}`,
		"broken JSON":                   `{"apiVersion": "v1", "entries": {"hunter2": [hunter2`,
		"a list in JSON":                `["hunter2"]`,
		"YAML that is broken":           "apiVersion: v1\nentries:\n  hunter2: [\n  \thunter2: }\n",
		"a tab":                         "apiVersion: v1\n\thunter2: hunter2\n",
		"a merge of what is not there":  "apiVersion: v1\n<<: *hunter2\n",
		"a tag that nobody knows":       "apiVersion: v1\nentries: !hunter2 hunter2\n",
		"entries that are something":    "apiVersion: v1\nentries: hunter2\n",
		"entries that are a list":       "apiVersion: v1\nentries:\n- hunter2\n",
		"an API version that is none":   "apiVersion: [hunter2]\nentries: {}\n",
		"no API version, but something": "hunter2: hunter2\n",
		"a number that is none":         "apiVersion: v1\ngenerated: !!int hunter2\n",
	} {
		t.Run(name, func(t *testing.T) {
			err := ReadHelm(strings.NewReader(text), nil, NewBuilder(io.Discard))
			require.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, cacheerr.ReasonOf(err))
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}
