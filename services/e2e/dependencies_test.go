package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// course watches the releases of the story, until last has been seen, and returns what happened to them in order, such as
// "app Install", "app ready", "app Uninstall" and "app gone", each once.
func (s *story) course(last string) func() []string {
	s.Helper()
	watching, err := client.NewWithWatch(suite.config, client.Options{Scheme: s.Scheme()})
	require.NoError(s, err)
	watcher, err := watching.Watch(s.ctx, &v1alpha1.HelmReleaseList{}, client.InNamespace(s.namespace))
	require.NoError(s, err)
	return func() []string {
		defer watcher.Stop()
		var seen []string
		for event := range watcher.ResultChan() {
			release, ok := event.Object.(*v1alpha1.HelmRelease)
			require.True(s, ok, "%v", event.Object)
			for _, what := range happened(event.Type, release) {
				if !slices.Contains(seen, what) {
					seen = append(seen, what)
				}
			}
			if slices.Contains(seen, last) {
				return seen
			}
		}
		require.Fail(s, "the watch ended", "%v", seen)
		return nil
	}
}

// happened says what an event of a watch tells of a release.
func happened(event watch.EventType, release *v1alpha1.HelmRelease) []string {
	var all []string
	if operation := release.Status.Operation; operation != nil {
		all = append(all, release.Name+" "+string(operation.Type))
	}
	if ready(release) == nil {
		all = append(all, release.Name+" ready")
	}
	if event == watch.Deleted {
		all = append(all, release.Name+" gone")
	}
	return all
}

func TestAChainOfReleasesIsInstalledInOrderAndUninstalledInReverse(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	const length = 5
	name := func(n int) string { return fmt.Sprintf("link-%d", n) }
	course := s.course(name(length-1) + " ready")
	var up, down []string
	for n := range length {
		up = append(up, name(n)+" Install", name(n)+" ready")
		down = append(down, name(length-1-n)+" Uninstall", name(length-1-n)+" gone")
	}
	for n := length - 1; n >= 0; n-- { // the last one first
		s.apply(s.release(name(n), func(r *v1alpha1.HelmRelease) {
			if n > 0 {
				r.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: name(n - 1)}}
			}
		}))
	}
	assert.Equal(t, up, course())

	course = s.course(name(0) + " gone")
	require.NoError(t, s.DeleteAllOf(s.ctx, &v1alpha1.HelmRelease{}, client.InNamespace(s.namespace)))
	assert.Equal(t, down, slices.DeleteFunc(course(), func(what string) bool {
		return strings.HasSuffix(what, " Install") || strings.HasSuffix(what, " ready")
	}))
}

func TestACycleOfDependenciesNamesItselfAndGoesOnOnceItIsBroken(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.repository("charts", newChartRepository(t, webChart("1.0.0")).URL)
	next := map[string]string{"one": "two", "two": "three", "three": "one"}
	for from, to := range next {
		s.apply(s.release(from, func(r *v1alpha1.HelmRelease) { r.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: to}} }))
	}
	for name := range next {
		full := func(name string) string { return s.namespace + "/" + name }
		cycle := strings.Join([]string{full(name), full(next[name]), full(next[next[name]]), full(name)}, " -> ")
		s.until(name, func(r *v1alpha1.HelmRelease) error {
			if err := notReady(v1alpha1.ReasonConfigurationError)(r); err != nil {
				return err
			}
			message := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady).Message
			if want := "spec.dependsOn: these HelmReleases wait for each other: " + cycle; !strings.Contains(message, want) {
				return fmt.Errorf("the message is %q, want %q", message, want)
			}
			return nil
		})
	}

	s.edit("three", func(r *v1alpha1.HelmRelease) { r.Spec.DependsOn = nil })
	for name := range next {
		s.until(name, ready)
	}
}
