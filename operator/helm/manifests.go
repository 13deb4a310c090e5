package helm

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	rspb "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Bounds of what is kept of manifests, in bytes of YAML. Decoded they take about five times as much memory, so that a thousand
// small releases (8 KiB is a typical manifest) fit, and the whole stays below 50 MiB.
const (
	maxKeptManifest  = 64 << 10
	maxKeptManifests = 8 << 20
)

// manifest is what a revision deployed.
type manifest struct {
	resourceVersion string
	// objects are those that an upgrade would apply. They are shared: whoever changes one copies it.
	objects []*unstructured.Unstructured
	// mask takes secrets of the release out of values that are shown.
	mask *mask
	size int
}

// decodeManifest reads the objects of a release, with the labels and annotations that Helm adds to all.
func decodeManifest(rls *rspb.Release) (*manifest, error) {
	out := &manifest{mask: newMask(), size: len(rls.Manifest)}
	out.mask.learn(rls.Config)
	if rls.Chart != nil {
		out.mask.learn(rls.Chart.Values)
	}
	clear(out.mask.plain) // the values of objects are what is shown; only secrets are not
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(rls.Manifest), 4096)
	for {
		var raw runtime.RawExtension
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil { // its text may quote the manifest
			return nil, errors.New("the manifest of the record is not YAML of objects")
		}
		if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw.Raw); err != nil {
			return nil, errors.New("the manifest of the record holds something that is no object")
		}
		if err := out.add(object, rls.Name, rls.Namespace); err != nil {
			return nil, err
		}
	}
}

// add adds an object, or the items of a list.
func (m *manifest) add(object *unstructured.Unstructured, name, namespace string) error {
	if object.IsList() {
		err := object.EachListItem(func(item runtime.Object) error {
			child, ok := item.(*unstructured.Unstructured)
			if !ok {
				return errors.New("an item is no object")
			}
			return m.add(child, name, namespace)
		})
		if err != nil {
			return fmt.Errorf("read a %s of the manifest: %w", object.GetKind(), err)
		}
		return nil
	}
	m.mask.learnSecret(object)
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, object.GetLabels())
	maps.Copy(annotations, object.GetAnnotations())
	labels[managedByLabel] = managedByHelm
	annotations[releaseNameAnnotation], annotations[releaseNSAnnotation] = name, namespace
	object.SetLabels(labels)
	object.SetAnnotations(annotations)
	m.objects = append(m.objects, object)
	return nil
}

// manifests keeps small manifests of releases that are compared with the cluster again and again. The zero value is ready. It is
// safe for concurrent use.
type manifests struct {
	mu     sync.Mutex // guards below
	byName map[string]*manifest
	size   int
}

// get returns the manifest of a record; nil when it is not there, or no resource version is given.
func (m *manifests) get(name, resourceVersion string) *manifest {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept := m.byName[name]; kept != nil && kept.resourceVersion == resourceVersion {
		return kept
	}
	return nil
}

// put keeps a manifest, in place of the one of the same release and, if there are too many, of any others.
func (m *manifests) put(name string, deployed *manifest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(name)
	if deployed.size > maxKeptManifest {
		return
	}
	for other := range m.byName {
		if m.size+deployed.size <= maxKeptManifests {
			break
		}
		m.drop(other)
	}
	if m.byName == nil {
		m.byName = map[string]*manifest{}
	}
	m.byName[name] = deployed
	m.size += deployed.size
}

// drop forgets a manifest. The caller holds the lock.
func (m *manifests) drop(name string) {
	if kept := m.byName[name]; kept != nil {
		m.size -= kept.size
		delete(m.byName, name)
	}
}
