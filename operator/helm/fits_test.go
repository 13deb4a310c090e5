package helm

import (
	"encoding/base64"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rspb "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// noise returns text that does not compress well.
func noise(n int) string {
	out := make([]byte, n)
	state := uint32(1)
	for i := range out {
		state = state*1664525 + 1013904223
		out[i] = byte(state >> 24)
	}
	return string(out)
}

// hasDefinition reports whether the cluster has the definition of a test.
func (f *fixture) hasDefinition(group string) bool {
	err := f.kube.CoreV1().RESTClient().Get().
		AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets." + group).Do(f.t.Context()).Error()
	if err != nil {
		require.True(f.t, apierrors.IsNotFound(err), "%v", err)
	}
	return err == nil
}

func TestARecordThatDoesNotFitIsRefusedBeforeAnythingIsApplied(t *testing.T) {
	f := newFixture(t)
	f.helm.encoder.limit = 64 << 10 // as the real one, only that large charts need not be made
	group := f.namespace + ".example.com"
	inChart := chartFiles{"files/noise.bin": noise(64 << 10), "templates/config.yaml": configMap}
	inManifests := chartFiles{"files/noise.txt": noise(24 << 10), "templates/config.yaml": configMap, "templates/noise.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: noise}
binaryData: {noise: {{ .Files.Get "files/noise.txt" | b64enc }}}
`}
	inHooks := chartFiles{"files/noise.txt": inManifests["files/noise.txt"], "templates/config.yaml": configMap, "templates/hook.yaml": strings.Replace(
		inManifests["templates/noise.yaml"], "name: noise", `name: noise, annotations: {"helm.sh/hook": pre-install}`, 1)}
	withDefinition := chartFiles{"files/noise.bin": inChart["files/noise.bin"], "templates/config.yaml": configMap, "crds/widget.yaml": definition(group, "large")}

	for name, test := range map[string]struct {
		files        chartFiles
		policy       CRDPolicy
		newNamespace bool
	}{
		"by files of the chart":                  {files: inChart},
		"by its manifests":                       {files: inManifests},
		"by its hooks":                           {files: inHooks},
		"where the namespace is missing":         {files: inChart, newNamespace: true},
		"by manifests in a namespace to be made": {files: inManifests, newNamespace: true},
		"where definitions are to be created":    {files: withDefinition},
		"where definitions are to be replaced":   {files: withDefinition, policy: CRDsCreateReplace},
		"where both are to be made":              {files: withDefinition, newNamespace: true},
	} {
		t.Run(name, func(t *testing.T) {
			target := f.target("web", "1")
			if test.newNamespace {
				target.Namespace += "-new"
			}
			_, err := f.helm.Install(t.Context(), InstallOptions{
				Target:          target,
				ChartSource:     ChartSource{Chart: tarball(t, "large", "1.0.0", test.files), CRDs: test.policy},
				CreateNamespace: true,
			})
			failure := wantError(t, err)
			require.ErrorIs(t, err, ErrRecordTooLarge)
			assert.Equal(t, StageStorage, failure.Stage)
			assert.Zero(t, failure.Revision)
			assert.Regexp(t, `^the release record is too large: chart, values and manifests take \d{5} bytes compressed, and the Secret `+
				`that records them holds 49152: leave files that no template needs out of the chart, shorten the values, or split the chart$`,
				failure.Message)
			assert.Nil(t, f.data("web-config"))
			assert.Nil(t, f.data("noise"))
			assert.False(t, f.hasDefinition(group))
			_, err = f.kube.CoreV1().Namespaces().Get(t.Context(), f.namespace+"-new", metav1.GetOptions{})
			assert.True(t, apierrors.IsNotFound(err), "%v", err)
		})
	}

	f.install("web", "2", simpleChart(t, "1.0.0"), nil)
	for _, files := range []chartFiles{inChart, inManifests, withDefinition} {
		_, err := f.helm.Upgrade(t.Context(), UpgradeOptions{
			Target:      f.target("web", "3"),
			ChartSource: ChartSource{Chart: tarball(t, "simple", "1.1.0", files), CRDs: CRDsCreate, Values: map[string]any{"text": "new"}},
		})
		failure := wantError(t, err)
		require.ErrorIs(t, err, ErrRecordTooLarge)
		assert.Zero(t, failure.Revision)
		assert.Equal(t, "default", f.data("web-config")["text"])
		assert.Nil(t, f.data("noise"))
		assert.False(t, f.hasDefinition(group))
		last := f.last("web")
		assert.Equal(t, 1, last.Revision)
		assert.Equal(t, StatusDeployed, last.Status, "the revision before is what it was")
	}
}

func TestARevisionThatJustFitsCanBeToldWhyItFailed(t *testing.T) {
	rls := &rspb.Release{Name: "web", Info: &rspb.Info{}}
	encoder := &recordEncoder{limit: 64 << 10}
	// As large as a record may be when it is written first.
	text := base64.StdEncoding.EncodeToString([]byte(noise(64 << 10)))
	size := sort.Search(len(text), func(n int) bool {
		rls.Manifest = text[:n]
		_, err := encoder.data(rls, recordReserve)
		return err != nil
	}) - 1
	rls.Manifest = text[:size]
	rls.Info.Status = rspb.StatusFailed
	for i := range 300 {
		rls.Info.Description += fmt.Sprintf("Deployment shop-%x: 0 of %d available; ", i*7919, i%9+1)
	}
	_, err := encoder.encode("ns", "key", rls, nil, 0)
	require.NoError(t, err)
	_, err = encoder.data(rls, recordReserve)
	assert.ErrorIs(t, err, ErrRecordTooLarge)
}
