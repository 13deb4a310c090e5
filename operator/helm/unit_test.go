package helm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rspb "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
)

func TestMaskHidesValues(t *testing.T) {
	tests := []struct {
		name    string
		values  map[string]any
		message string
		want    string
	}{
		{"a value", map[string]any{"a": "blueberry"}, "Invalid value: \"blueberry\": no", "Invalid value: \"***\": no"},
		{"a value inside a word stays", map[string]any{"a": "blueberry"}, "Deployment web-blueberry", "Deployment web-blueberry"},
		{"a short value stays", map[string]any{"a": "web"}, "container web", "container web"},
		{"a secret inside a word", map[string]any{"password": "blue"}, "pre-blue-post", "pre-***-post"},
		{"a secret that is a number", map[string]any{"pinToken": 4711}, "bad pin 4711", "bad pin ***"},
		{"a secret below a key that says so", map[string]any{"auth": map[string]any{"x": []any{"blue"}}}, "is blue", "is ***"},
		{"a secret in base64", map[string]any{"password": "blue"}, "data Ymx1ZQ== bad", "data *** bad"},
		{"a line of a text", map[string]any{"pem": "BEGIN\nabcdefgh\nEND"}, "got abcdefgh", "got ***"},
		{"a quoted text", map[string]any{"a": "say \"hi\" twice"}, `got "say \"hi\" twice"`, `got "***"`},
		{"the longer of two", map[string]any{"a": "blueberry", "b": "blueberry pie"}, "a blueberry pie", "a ***"},
		{"names of the release stay", map[string]any{"a": "my-release"}, "release my-release", "release my-release"},
		{"messages are one line", nil, "a\n\t* b\n\n", "a * b"},
		{"all occurrences", map[string]any{"a": "blueberry"}, "blueberry blueberryx blueberry", "*** blueberryx ***"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMask("my-release")
			m.learn(tt.values)
			assert.Equal(t, tt.want, m.text(tt.message))
		})
	}

	t.Run("data of Secrets that the chart made", func(t *testing.T) {
		m := newMask()
		m.learnSecret(&unstructured.Unstructured{Object: map[string]any{
			"kind": "Secret",
			"data": map[string]any{"a": base64.StdEncoding.EncodeToString([]byte("generated"))},
		}})
		assert.Equal(t, "got *** and ***", m.text("got generated and Z2VuZXJhdGVk"))
	})
	t.Run("long messages are cut between characters", func(t *testing.T) {
		got := newMask().text(strings.Repeat("ü", maxMessage))
		assert.LessOrEqual(t, len(got), maxMessage)
		assert.True(t, utf8.ValidString(got))
		assert.True(t, strings.HasSuffix(got, "..."))
	})
}

func FuzzMask(f *testing.F) {
	f.Add("blueberry", "a blueberry", "blue")
	f.Add("a\nb\nlonger line", "got longer line", "x")
	f.Add("\"quoted\"", `"\"quoted\""`, "***")
	f.Fuzz(func(t *testing.T, plain, message, secret string) {
		m := newMask()
		m.learn(map[string]any{"plain": plain, "password": secret})
		got := m.text(message)
		require.LessOrEqual(t, len(got), maxMessage)
		// What the mask and the cut write themselves may look like a secret of stars and dots.
		if secret = oneLine(secret); len(secret) >= maskedSecretLength && !strings.ContainsAny(secret, "*.") {
			require.NotContains(t, got, secret)
		}
	})
}

func TestDescribePutsListsIntoOneLine(t *testing.T) {
	inner := utilerrors.NewAggregate([]error{errors.New("a"), errors.New("b")})
	assert.Equal(t, "apply: a; b", describe(fmt.Errorf("apply: %w", inner)))
	assert.Equal(t, "plain", describe(errors.New("plain")))
	assert.Empty(t, describe(nil))
}

func TestRecordsAreReadAndWrittenAsHelmDoes(t *testing.T) {
	rls := &rspb.Release{
		Name: "web", Namespace: "ns", Version: 3, Manifest: "kind: x",
		Info: &rspb.Info{Status: rspb.StatusDeployed, Description: "done"},
	}
	secret, err := new(recordEncoder).encode("ns", recordKey("web", 3), rls, map[string]string{"op": "1", "status": "lies"}, 0)
	require.NoError(t, err)
	assert.Equal(t, "sh.helm.release.v1.web.v3", secret.Name)
	assert.Equal(t, corev1.SecretType("helm.sh/release.v1"), secret.Type)
	assert.Equal(t, map[string]string{
		"owner": "helm", "name": "web", "version": "3", "status": "deployed", "op": "1",
	}, secret.Labels)

	got, err := decodeRecord(secret.Data["release"])
	require.NoError(t, err)
	assert.Equal(t, rls, got)

	t.Run("records from before compression are read", func(t *testing.T) {
		plain := base64.StdEncoding.EncodeToString([]byte(`{"name":"web","version":1,"info":{"status":"deployed"}}`))
		got, err := decodeRecord([]byte(plain))
		require.NoError(t, err)
		assert.Equal(t, 1, got.Version)
	})
	t.Run("a record without an outcome is of unknown status", func(t *testing.T) {
		got, err := decodeRecord([]byte(base64.StdEncoding.EncodeToString([]byte(`{"name":"web"}`))))
		require.NoError(t, err)
		assert.Equal(t, rspb.StatusUnknown, got.Info.Status)
	})
	t.Run("a record that unpacks to too much is refused", func(t *testing.T) {
		var buf bytes.Buffer
		zipper := gzip.NewWriter(&buf)
		_, err := zipper.Write(bytes.Repeat([]byte{' '}, 1000))
		require.NoError(t, err)
		require.NoError(t, zipper.Close())
		_, err = unzip(buf.Bytes(), 999)
		assert.ErrorContains(t, err, "more than 999 bytes")
		_, err = unzip(buf.Bytes(), 1000)
		assert.NoError(t, err)
	})
	t.Run("errors do not quote a record", func(t *testing.T) {
		_, err := decodeRecord([]byte(base64.StdEncoding.EncodeToString([]byte(`{"name":5,"config":"hunter22"}`))))
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter22")
	})
}

func TestRevisionOfIgnoresWhatIsNoRecord(t *testing.T) {
	tests := []struct {
		name   string
		labels map[string]string
		want   bool
	}{
		{"a record", map[string]string{"owner": "helm", "version": "2", "status": "deployed"}, true},
		{"no labels", nil, false},
		{"another owner", map[string]string{"owner": "me", "version": "2"}, false},
		{"no number", map[string]string{"owner": "helm", "version": "two"}, false},
		{"revision 0", map[string]string{"owner": "helm", "version": "0"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, ok := revisionOf(&metav1.ObjectMeta{Labels: tt.labels})
			assert.Equal(t, tt.want, ok)
		})
	}
}

func FuzzDecodeRecord(f *testing.F) {
	secret, err := new(recordEncoder).encode("ns", "key", &rspb.Release{Name: "web", Version: 1, Info: &rspb.Info{Status: rspb.StatusFailed}}, nil, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(secret.Data["release"])
	f.Add([]byte("e30="))
	f.Add([]byte("H4sI"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rls, err := decodeRecord(data)
		if err == nil && rls.Info == nil {
			t.Fatal("a record without info")
		}
		if err == nil {
			_ = toRelease(rls, metav1.ObjectMeta{})
		}
	})
}

func TestSchemaProblems(t *testing.T) {
	tests := []struct {
		name   string
		schema string
		values map[string]any
		want   []string
	}{
		{"values that match", `{"properties":{"a":{"type":"string"}}}`, map[string]any{"a": "x"}, nil},
		{
			"each rule names the place and not the value",
			`{"additionalProperties":false,"properties":{
				"e":{"enum":["x","y"]},"min":{"minimum":3},"max":{"maximum":3},"f":{"format":"email"},
				"s":{"minLength":9},"l":{"items":{"type":"integer"}},"n":{"not":{}}}}`,
			map[string]any{
				"e": "hunter22", "min": 1.0, "max": 9.0, "s": "hunter22", "l": []any{"hunter22"}, "extra": "hunter22", "n": "hunter22",
			},
			[]string{
				"(top level) must not have extra",
				"e must be one of [x y]",
				"l.0 must be of type integer, not string",
				"max must be at most 3",
				"min must be at least 3",
				"n is not allowed",
				"s must have at least 9 characters",
			},
		},
		{"no JSON", `{`, nil, []string{"values.schema.json is not JSON"}},
		{"references inside the schema", `{"$ref":"#/$defs/x","$defs":{"x":{"required":["a"]}}}`, nil, []string{"(top level) lacks a"}},
		{"references to files are not followed", `{"$ref":"file:///etc/hostname"}`, nil, []string{errReference.Error()}},
		{"references to URLs are not followed", `{"$ref":"http://127.0.0.1:1/schema.json"}`, nil, []string{errReference.Error()}},
		{"unknown URNs allow anything", `{"$ref":"urn:example:x"}`, map[string]any{"a": "b"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := validate([]byte(tt.schema), tt.values)
			assert.Equal(t, tt.want, got)
			assert.NotContains(t, strings.Join(got, " "), "hunter22")
		})
	}
}

func FuzzSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":1}}}`), "x")
	f.Add([]byte(`{"$ref":"file:///etc/passwd"}`), "x")
	f.Add([]byte(`{"$ref":"#"}`), "x")
	f.Fuzz(func(t *testing.T, schema []byte, value string) {
		validate(schema, map[string]any{"a": value})
	})
}

func TestStatuses(t *testing.T) {
	assert.True(t, StatusPendingRollback.Pending())
	assert.False(t, StatusUninstalling.Pending(), "an uninstall is finished by uninstalling again")
	assert.True(t, StatusSuperseded.Good())
	assert.False(t, StatusFailed.Good())
}

func TestConfigIsCopiedForEachCaller(t *testing.T) {
	g := &getter{rest: &rest.Config{Host: "https://a.example.com"}, namespace: "ns"}
	first, err := g.ToRESTConfig()
	require.NoError(t, err)
	first.Host = "changed"
	second, err := g.ToRESTConfig()
	require.NoError(t, err)
	assert.Equal(t, "https://a.example.com", second.Host)
	namespace, _, err := g.ToRawKubeConfigLoader().Namespace()
	require.NoError(t, err)
	assert.Equal(t, "ns", namespace)
}

func TestNewNeedsACluster(t *testing.T) {
	_, err := New(Config{})
	assert.Error(t, err)
	client, err := New(Config{REST: &rest.Config{Host: "http://127.0.0.1:1", QPS: 5}})
	require.NoError(t, err)
	assert.InDelta(t, -1, client.who.base.QPS, 0, "the API server limits the rate, not the client")
}

func TestWarningsAreKeptOnce(t *testing.T) {
	w := &warnings{}
	for range 3 {
		w.HandleWarningHeaderWithContext(context.Background(), warningCode, "", "deprecated")
	}
	w.HandleWarningHeaderWithContext(context.Background(), 100, "", "another code")
	for i := range 2 * warningsKept {
		w.HandleWarningHeaderWithContext(context.Background(), warningCode, "", fmt.Sprint("w", i))
	}
	got := w.list()
	assert.Len(t, got, warningsKept)
	assert.Equal(t, "deprecated", got[0])
}

func TestFencedOperationWritesNothing(t *testing.T) {
	// Nothing listens there: a request would fail in another way than the fence does.
	client, err := New(Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancelCause(context.Background())
	op := client.begin(ctx, kindUpgrade, Target{Name: "web", Namespace: "ns"}, nil)
	cancel(errors.New("superseded"))
	require.ErrorIs(t, op.interrupt(), errInterrupted)

	rls := &rspb.Release{Name: "web", Version: 1, Info: &rspb.Info{}}
	_, deleteErrs := op.kube.Delete(nil)
	_, policyErrs := op.kube.DeleteWithPropagationPolicy(nil, metav1.DeletePropagationBackground)
	_, createErr := op.kube.Create(nil)
	result, updateErr := op.kube.Update(nil, nil, false)
	merged, mergeErr := op.kube.UpdateThreeWayMerge(nil, nil, false)
	_, removeErr := op.records.Delete("key")
	for name, err := range map[string]error{
		"Create": createErr, "Update": updateErr, "UpdateThreeWayMerge": mergeErr,
		"Delete": errors.Join(deleteErrs...), "DeleteWithPropagationPolicy": errors.Join(policyErrs...),
		"Wait": op.kube.Wait(nil, time.Second), "WaitWithJobs": op.kube.WaitWithJobs(nil, time.Second),
		"WatchUntilReady": op.kube.WatchUntilReady(nil, time.Second), "WaitForDelete": op.kube.WaitForDelete(nil, time.Second),
		"records.Create": op.records.Create("key", rls), "records.Update": op.records.Update("key", rls), "records.Delete": removeErr,
	} {
		assert.ErrorIs(t, err, errInterrupted, name)
	}
	assert.NotNil(t, result, "Helm reads the result of an update that failed")
	assert.NotNil(t, merged)
	failure := op.error(errors.New("from Helm"), 0)
	assert.True(t, failure.Interrupted())
	assert.Contains(t, failure.Message, "superseded")
}
