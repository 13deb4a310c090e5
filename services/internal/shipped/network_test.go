// Package shipped reads what deploy/ ships and says what it means, without a cluster. What only a cluster can tell is tested in
// services/e2e.
package shipped

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

const (
	manifests  = "../../../deploy/manifests.yaml"
	installing = "../../../docs/installing.md"
	// home is the namespace of both services.
	home = "ketches"
)

// objects returns the objects of a kind that the manifests hold.
func objects[T any](t *testing.T, kind string) []T {
	t.Helper()
	text, err := os.ReadFile(manifests)
	require.NoError(t, err)
	var found []T
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var meta metav1.TypeMeta
		require.NoError(t, yaml.Unmarshal(document, &meta))
		if meta.Kind == kind {
			var object T
			require.NoError(t, yaml.UnmarshalStrict(document, &object))
			found = append(found, object)
		}
	}
	return found
}

// pods are the templates of the pods that the manifests make, by name.
func pods(t *testing.T) map[string]corev1.PodTemplateSpec {
	t.Helper()
	found := map[string]corev1.PodTemplateSpec{}
	for _, deployment := range objects[appsv1.Deployment](t, "Deployment") {
		assert.Equal(t, home, deployment.Namespace)
		found[deployment.Name] = deployment.Spec.Template
	}
	return found
}

// peer is a pod, and the namespace that it is in.
type peer struct {
	labels, namespaceLabels map[string]string
}

// in is a pod of a namespace, which has the label that the API server gives it, and others.
func in(namespace string, podLabels map[string]string, more ...string) peer {
	p := peer{labels: podLabels, namespaceLabels: map[string]string{corev1.LabelMetadataName: namespace}}
	for _, label := range more {
		p.namespaceLabels[label] = "true"
	}
	return p
}

func selects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return parsed.Matches(labels.Set(set))
}

// admits reports whether a peer is one that a rule speaks of, as documented for NetworkPolicyPeer. The policy is one of home.
func admits(t *testing.T, rule *networkingv1.NetworkPolicyIngressRule, from peer) bool {
	t.Helper()
	return len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(p networkingv1.NetworkPolicyPeer) bool {
		require.Nil(t, p.IPBlock, "addresses differ from cluster to cluster")
		namespace := from.namespaceLabels[corev1.LabelMetadataName] == home
		if p.NamespaceSelector != nil {
			namespace = selects(t, p.NamespaceSelector, from.namespaceLabels)
		}
		return namespace && (p.PodSelector == nil || selects(t, p.PodSelector, from.labels))
	})
}

// open returns the ports of a pod that a peer reaches, by their names.
func open(t *testing.T, pod *corev1.PodTemplateSpec, from peer) []string {
	t.Helper()
	ports := map[string]bool{}
	isolated := false
	for _, policy := range objects[networkingv1.NetworkPolicy](t, "NetworkPolicy") {
		if policy.Namespace != home || !selects(t, &policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = isolated || slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
		for i := range policy.Spec.Ingress {
			rule := &policy.Spec.Ingress[i]
			if !admits(t, rule, from) {
				continue
			}
			require.NotEmpty(t, rule.Ports, "a rule without ports opens all")
			for _, port := range rule.Ports {
				require.Equal(t, corev1.ProtocolTCP, *port.Protocol)
				ports[port.Port.StrVal] = true
			}
		}
	}
	require.True(t, isolated, "a pod that no policy selects is open to all")
	return slices.Sorted(maps.Keys(ports))
}

func TestEachPortAdmitsThoseWhoNeedItAndNobodyElse(t *testing.T) {
	t.Parallel()
	shipped := pods(t)
	require.Equal(t, []string{"chartcache", "helm-operator"}, slices.Sorted(maps.Keys(shipped)))
	for name, pod := range shipped {
		var named []string
		for _, port := range pod.Spec.Containers[0].Ports {
			named = append(named, port.Name)
		}
		want := map[string][]string{"chartcache": {"grpc", "metrics", "health"}, "helm-operator": {"metrics", "health"}}[name]
		require.Equal(t, want, named, "policies name ports as %s does", name)
	}
	operator, app := shipped["helm-operator"].Labels, map[string]string{"app": "web"}
	for name, c := range map[string]struct {
		from                 peer
		chartcache, operator []string
	}{
		"the operator":                       {in(home, operator), []string{"grpc", "metrics"}, []string{"metrics"}},
		"a pod beside it":                    {in(home, app), []string{"metrics"}, []string{"metrics"}},
		"a pod of another namespace":         {in("shop", app), []string{"metrics"}, []string{"metrics"}},
		"one that has the operator's labels": {in("shop", operator), []string{"metrics"}, []string{"metrics"}},
		"a namespace that uses chartcache": {
			in("tools", app, "helm-operator.ketches.cn/uses-chartcache"), []string{"grpc", "metrics"}, []string{"metrics"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for target, want := range map[string][]string{"chartcache": c.chartcache, "helm-operator": c.operator} {
				pod := shipped[target]
				assert.Equal(t, want, open(t, &pod, c.from), target)
			}
		})
	}
}

func TestThePageAboutInstallingNamesTheLabelsThatAdmitMore(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(installing)
	require.NoError(t, err)
	named := 0
	for _, policy := range objects[networkingv1.NetworkPolicy](t, "NetworkPolicy") {
		for _, rule := range policy.Spec.Ingress {
			for _, from := range rule.From {
				if from.NamespaceSelector == nil {
					continue
				}
				for label, value := range from.NamespaceSelector.MatchLabels {
					named++
					if label == corev1.LabelMetadataName {
						label = value
					}
					assert.Contains(t, string(page), label)
				}
			}
		}
	}
	assert.Positive(t, named)
}
