package helm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rspb "helm.sh/helm/v3/pkg/release"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/drift"
)

// requestLog notes the requests for objects of a kind of path.
type requestLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *requestLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		line := request.Method
		if request.URL.Query().Get("dryRun") != "" {
			line += " (dry run)"
		}
		l.mu.Lock()
		l.lines = append(l.lines, line+" "+request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:])
		l.mu.Unlock()
		return next.RoundTrip(request)
	})
}

// take returns the requests since the last time, in order of the alphabet.
func (l *requestLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	slices.Sort(lines)
	return lines
}

// driftChart has one object of each kind that drift tells apart.
func driftChart(t *testing.T) []byte {
	return tarball(t, "drifting", "1.0.0", chartFiles{
		"values.yaml":           "text: default\npassword: hunter2hunter2\n",
		"templates/config.yaml": configMap + "  login: user:{{ .Values.password }}\n",
		"templates/web.yaml": strings.Replace(deployment, "image: example.com/web}",
			`image: example.com/web, resources: {limits: {cpu: "1000m"}}}`, 1),
		"templates/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}-login}\n" +
			"stringData: {password: {{ .Values.password }}}\n",
		"templates/kept.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-kept, " +
			"annotations: {helm.sh/resource-policy: keep}}\ndata: {a: b}\n",
	})
}

// drifting is a release of driftChart, and its requests.
type drifting struct {
	*fixture
	log    *requestLog
	record Release
}

func newDrifting(t *testing.T) *drifting {
	t.Helper()
	log := &requestLog{}
	f := newFixtureWith(t, func(config *Config) { config.REST.Wrap(log.wrap) })
	record, err := f.helm.Install(t.Context(), InstallOptions{
		Target: f.target("web", "1"), ChartSource: ChartSource{Chart: driftChart(t)},
	})
	require.NoError(t, err)
	d := &drifting{fixture: f, log: log, record: record}
	d.look(nil, nil) // what it knows of the cluster and of the record it knows from now on
	log.take()
	return d
}

func (d *drifting) options() DriftOptions {
	return DriftOptions{Namespace: d.namespace, Name: "web", Revision: 1, ResourceVersion: d.record.ResourceVersion}
}

func (d *drifting) look(rules []v1alpha1.DriftIgnoreRule, correct func(drift.Object) bool) Drift {
	d.t.Helper()
	options := d.options()
	var err error
	options.Rules, err = drift.ParseRules(rules)
	require.NoError(d.t, err)
	options.Correct = correct
	found, err := d.helm.Drift(d.t.Context(), options)
	require.NoError(d.t, err)
	require.Empty(d.t, found.Problems)
	return found
}

func (d *drifting) patchConfig(patch string) {
	d.t.Helper()
	_, err := d.kube.CoreV1().ConfigMaps(d.namespace).
		Patch(d.t.Context(), "web-config", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(d.t, err)
}

func (d *drifting) patchWeb(patch string) {
	d.t.Helper()
	_, err := d.kube.AppsV1().Deployments(d.namespace).
		Patch(d.t.Context(), "web-web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(d.t, err)
}

// scale does what an autoscaler does.
func (d *drifting) scale(replicas int32) {
	d.t.Helper()
	_, err := d.kube.AppsV1().Deployments(d.namespace).UpdateScale(d.t.Context(), "web-web", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: "web-web", Namespace: d.namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
	}, metav1.UpdateOptions{FieldManager: "autoscaler"})
	require.NoError(d.t, err)
}

// list returns what differs as "Kind name state: paths".
func (d Drift) list() []string {
	var lines []string
	for _, finding := range d.Findings {
		line := finding.Object.Kind + " " + finding.Object.Name + " " + string(finding.State)
		for _, difference := range finding.Differences {
			line += " " + difference.Path
		}
		lines = append(lines, line)
	}
	return lines
}

func always(drift.Object) bool { return true }

func TestAReleaseAsItWasAppliedHasNoDriftAndCostsReadsOnly(t *testing.T) {
	d := newDrifting(t)
	// Labels and fields of others, and an autoscaler's replicas, are no drift.
	d.patchConfig(`{"metadata":{"labels":{"team":"a"},"annotations":{"x":"y"}},"data":{"more":"z"}}`)
	d.scale(7)
	d.log.take()

	found := d.look(nil, always)

	assert.Empty(t, found.list())
	assert.Equal(t, []string{
		"GET web-config", "GET web-login", "GET web-web",
		"PATCH (dry run) web-web", // 1000m, which the server spells 1
	}, d.log.take())
}

func TestDriftIsReportedAndMended(t *testing.T) {
	tests := map[string]struct {
		change func(d *drifting)
		rules  []v1alpha1.DriftIgnoreRule
		want   []string
		writes []string
	}{
		"an edited field": {
			change: func(d *drifting) { d.patchConfig(`{"data":{"text":"other"}}`) },
			want:   []string{"ConfigMap web-config Changed /data/text"},
			writes: []string{"PATCH web-config"},
		},
		"a removed label of Helm": {
			change: func(d *drifting) { d.patchConfig(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`) },
			want:   []string{"ConfigMap web-config Changed /metadata/labels"},
			writes: []string{"PATCH web-config"},
		},
		"a deleted object": {
			change: func(d *drifting) {
				require.NoError(d.t, d.kube.CoreV1().ConfigMaps(d.namespace).Delete(d.t.Context(), "web-config", metav1.DeleteOptions{}))
			},
			want:   []string{"ConfigMap web-config Missing"},
			writes: []string{"POST configmaps"},
		},
		"a changed Secret": {
			change: func(d *drifting) {
				_, err := d.kube.CoreV1().Secrets(d.namespace).Patch(d.t.Context(), "web-login", types.MergePatchType,
					[]byte(`{"stringData":{"password":"changed"}}`), metav1.PatchOptions{})
				require.NoError(d.t, err)
			},
			want:   []string{"Secret web-login Changed /data/password"},
			writes: []string{"PATCH web-login"},
		},
		"an image, while an autoscaler has set the replicas": {
			change: func(d *drifting) {
				d.scale(7)
				d.patchWeb(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"example.com/other"}]}}}}`)
			},
			want:   []string{"Deployment web-web Changed /spec/template/spec/containers/0/image"},
			writes: []string{"PATCH web-web"},
		},
		"what a rule names": {
			change: func(d *drifting) {
				d.patchConfig(`{"data":{"text":"other"}}`)
				d.patchWeb(`{"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"2"}}}]}}}}`)
			},
			rules: []v1alpha1.DriftIgnoreRule{
				{Paths: []string{""}, Target: &v1alpha1.ObjectSelector{Kind: "ConfigMap"}},
				{Paths: []string{"/spec/replicas"}},
			},
			want:   []string{"Deployment web-web Changed /spec/template/spec/containers/0/resources/limits/cpu"},
			writes: []string{"PATCH web-web"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDrifting(t)
			test.change(d)
			replicas := d.replicas()
			d.log.take()

			assert.Equal(t, test.want, d.look(test.rules, nil).list())
			assert.Empty(t, writes(d.log.take()), "a look writes nothing")

			found := d.look(test.rules, always)
			require.Len(t, found.Findings, 1)
			assert.True(t, found.Findings[0].Tried)
			assert.Empty(t, found.Findings[0].Problem)
			assert.Equal(t, test.writes, writes(d.log.take()), "exactly the object that differs is written")

			assert.Empty(t, d.look(test.rules, always).list())
			assert.Empty(t, writes(d.log.take()))
			assert.Equal(t, replicas, d.replicas(), "replicas are not touched")
		})
	}
}

func (d *drifting) replicas() int32 {
	d.t.Helper()
	web, err := d.kube.AppsV1().Deployments(d.namespace).Get(d.t.Context(), "web-web", metav1.GetOptions{})
	require.NoError(d.t, err)
	return *web.Spec.Replicas
}

// writes returns those requests that change something.
func writes(requests []string) []string {
	return slices.DeleteFunc(requests, func(line string) bool {
		return strings.HasPrefix(line, "GET ") || strings.Contains(line, "dry run")
	})
}

func TestSecretsOfTheReleaseAreMaskedWhereverTheyStand(t *testing.T) {
	d := newDrifting(t)
	d.patchConfig(`{"data":{"text":"hunter2hunter2","login":"user:other"}}`)
	d.patchWeb(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"me"}}}`)

	found := d.look(nil, nil)

	require.Equal(t, []string{
		"ConfigMap web-config Changed /data/login /data/text", "Deployment web-web Changed /metadata/labels/app.kubernetes.io~1managed-by",
	}, found.list())
	assert.Equal(t, drift.Difference{Path: "/data/login", Want: `"user:***"`, Have: `"user:other"`}, found.Findings[0].Differences[0])
	assert.Equal(t, drift.Difference{Path: "/data/text", Want: `"default"`, Have: `"***"`}, found.Findings[0].Differences[1])
	assert.Equal(t, `"me"`, found.Findings[1].Differences[0].Have)
}

func TestOnlyObjectsThatMayBeMendedAre(t *testing.T) {
	d := newDrifting(t)
	d.patchConfig(`{"data":{"text":"other"}}`)
	d.patchWeb(`{"spec":{"replicas":4}}`)

	found := d.look(nil, func(object drift.Object) bool { return object.Kind == "Deployment" })

	require.Len(t, found.Findings, 2)
	assert.False(t, found.Findings[0].Tried)
	assert.True(t, found.Findings[1].Tried)
	assert.Equal(t, "other", d.data("web-config")["text"])
	assert.EqualValues(t, 1, d.replicas())
}

func TestALookThatCannotReadSaysWhatAndThatItMayBeTriedAgain(t *testing.T) {
	d := newDrifting(t)
	options := d.options()

	options.ResourceVersion = "1"
	_, err := d.helm.Drift(t.Context(), options)
	require.ErrorIs(t, err, ErrConflict)
	options.Revision = 9
	_, err = d.helm.Drift(t.Context(), options)
	require.ErrorIs(t, err, ErrNotFound)

	stopped, stop := context.WithCancelCause(t.Context())
	cause := errors.New("the operator is shutting down")
	stop(cause)
	_, err = d.helm.Drift(stopped, d.options())
	require.ErrorIs(t, err, cause)

	lost := errors.New("no longer the leader")
	fenced := newFixtureWith(t, func(config *Config) { config.Fence = func() error { return lost } })
	_, err = fenced.helm.Drift(t.Context(), d.options())
	require.ErrorIs(t, err, lost)

	blind := newFixtureWith(t, func(config *Config) {
		config.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(request *http.Request) (*http.Response, error) {
				if strings.HasSuffix(request.URL.Path, "/web-web") {
					return nil, errors.New("connection refused")
				}
				return next.RoundTrip(request)
			})
		})
	})
	found, err := blind.helm.Drift(t.Context(), d.options())
	require.NoError(t, err)
	assert.Equal(t, []string{
		"Deployment " + d.namespace + "/web-web: it could not be read (no answer from the API server)",
	}, found.Problems)
	assert.Empty(t, found.list(), "what cannot be read is not known to differ")
}

func TestObjectsOfCustomKindsAreComparedByMergePatches(t *testing.T) {
	cluster := newFixture(t)
	definition := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"drifts.example.com"},` +
		`"spec":{"group":"example.com","scope":"Namespaced","names":{"kind":"Drift","plural":"drifts"},"versions":[{"name":"v1","served":true,` +
		`"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"spec":` +
		`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"list":{"type":"array","items":{"type":"object",` +
		`"properties":{"name":{"type":"string"},"size":{"type":"integer","default":3}}}}}}}}}}]}}`
	custom := cluster.kube.Discovery().RESTClient()
	err := custom.Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").Body([]byte(definition)).Do(t.Context()).Error()
	if !apierrors.IsAlreadyExists(err) {
		require.NoError(t, err)
	}
	kind := "/apis/example.com/v1/drifts"
	chart := tarball(t, "custom", "1.0.0", chartFiles{
		"templates/custom.yaml": "apiVersion: example.com/v1\nkind: Drift\nmetadata: {name: mine}\n" +
			"spec: {text: a, list: [{name: one}, {name: two, size: 1}]}\n",
	})
	cluster.eventually("the kind is served", func(ctx context.Context) bool {
		return custom.Get().AbsPath(kind).Do(ctx).Error() == nil
	})
	d := newFixture(t) // it learns of the kind
	path := "/apis/example.com/v1/namespaces/" + d.namespace + "/drifts"
	record, err := d.helm.Install(t.Context(), InstallOptions{Target: d.target("custom", "1"), ChartSource: ChartSource{Chart: chart}})
	require.NoError(t, err)
	look := func(correct func(drift.Object) bool) []string {
		found, err := d.helm.Drift(t.Context(), DriftOptions{
			Namespace: d.namespace, Name: "custom", Revision: 1, ResourceVersion: record.ResourceVersion, Correct: correct,
		})
		require.NoError(t, err)
		require.Empty(t, found.Problems)
		return found.list()
	}
	edit := func(patch string) {
		require.NoError(t, custom.Patch(types.MergePatchType).AbsPath(path+"/mine").Body([]byte(patch)).Do(t.Context()).Error())
	}
	edit(`{"spec":{"other":"b"},"status":{"n":1}}`)
	assert.Empty(t, look(always), "defaults in lists and fields of others are no drift")

	edit(`{"spec":{"text":"z","list":[{"name":"one"},{"name":"two","size":5},{"name":"added"}]}}`)
	want := []string{"Drift mine Changed /spec/list/1/size /spec/text"}
	assert.Equal(t, want, look(nil))
	assert.Equal(t, want, look(always))
	assert.Empty(t, look(nil))
	raw, err := custom.Get().AbsPath(path + "/mine").Do(t.Context()).Raw()
	require.NoError(t, err)
	var live struct {
		Spec struct{ Other string }
	}
	require.NoError(t, json.Unmarshal(raw, &live))
	assert.Equal(t, "b", live.Spec.Other)
}

func TestAKindThatTheClusterNoLongerKnowsIsMissing(t *testing.T) {
	f := newFixture(t)
	deployed, err := decodeManifest(&rspb.Release{
		Name: "gone", Namespace: f.namespace, Manifest: "apiVersion: example.com/v1\nkind: Gone\nmetadata: {name: a}\n",
	})
	require.NoError(t, err)
	deployed.resourceVersion = "5"
	f.helm.manifests.put(f.namespace+"/gone", deployed)

	found, err := f.helm.Drift(t.Context(), DriftOptions{
		Namespace: f.namespace, Name: "gone", Revision: 1, ResourceVersion: "5", Correct: always,
	})

	require.NoError(t, err)
	require.Equal(t, []string{"Gone a Missing"}, found.list())
	assert.Equal(t, "the cluster does not know the kind Gone", found.Findings[0].Problem)
}

func TestManifestsAreReadOnceAndKeptWhileTheyAreSmall(t *testing.T) {
	text := "---\n# Source: a\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n" +
		"- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n---\n---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: c}\n"
	deployed, err := decodeManifest(&rspb.Release{Name: "r", Namespace: "n", Manifest: text})
	require.NoError(t, err)
	names := []string{}
	for _, object := range deployed.objects {
		names = append(names, object.GetName())
		assert.Equal(t, "Helm", object.GetLabels()["app.kubernetes.io/managed-by"])
		assert.Equal(t, "r", object.GetAnnotations()["meta.helm.sh/release-name"])
	}
	assert.Equal(t, []string{"a", "b", "c"}, names)
	_, err = decodeManifest(&rspb.Release{Manifest: "hunter2: ["})
	require.EqualError(t, err, "the manifest of the record is not YAML of objects")
	_, err = decodeManifest(&rspb.Release{Manifest: "password: hunter2"})
	require.EqualError(t, err, "the manifest of the record holds something that is no object")

	var kept manifests
	kept.put("n/r", &manifest{resourceVersion: "1", size: 100})
	assert.NotNil(t, kept.get("n/r", "1"))
	assert.Nil(t, kept.get("n/r", "2"), "another record has another manifest")
	kept.put("n/r", &manifest{resourceVersion: "2", size: maxKeptManifest + 1})
	assert.Nil(t, kept.get("n/r", "2"), "large ones are not kept, and what they replace is gone")
	for i := range 2 * maxKeptManifests / maxKeptManifest {
		kept.put(strings.Repeat("x", i+1), &manifest{size: maxKeptManifest})
	}
	assert.Equal(t, maxKeptManifests, kept.size)
	assert.Len(t, kept.byName, maxKeptManifests/maxKeptManifest)
}
