package controller

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubewatch "k8s.io/apimachinery/pkg/watch"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// deployedMessage wants a release to be Ready with a message in its ConfigMap.
func (b *bench) deployedMessage(name, message string) {
	b.Helper()
	b.until(name, func(r *v1alpha1.HelmRelease) error {
		if err := ready(r); err != nil {
			return err
		}
		object := &corev1.ConfigMap{}
		if err := b.Get(b.ctx, kube.ObjectKey{Namespace: b.namespace, Name: name}, object); err != nil {
			return err
		}
		if object.Data["message"] != message {
			return fmt.Errorf("the message is %q, want %q", object.Data["message"], message)
		}
		return nil
	})
}

func TestValuesOfOtherObjectsActAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	b.release("app", func(r *v1alpha1.HelmRelease) {
		r.Spec.ValuesFrom = []v1alpha1.ValuesReference{
			{Kind: "ConfigMap", Name: "defaults"},
			{Kind: "Secret", Name: "greeting", Key: "text", TargetPath: "message", Optional: true},
		}
	})
	b.until("app", notReady(v1alpha1.ReasonValuesError))

	defaults := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "defaults"}, Data: map[string]string{"values.yaml": "message: from a map\n"},
	}
	require.NoError(t, b.Create(b.ctx, defaults))
	b.deployedMessage("app", "from a map")

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: "greeting"}, Data: map[string][]byte{"text": []byte("from a secret")}}
	require.NoError(t, b.Create(b.ctx, secret))
	b.deployedMessage("app", "from a secret")
	b.edit(secret, func() { secret.Data["text"] = []byte("rotated") })
	b.deployedMessage("app", "rotated")
	require.NoError(t, b.Delete(b.ctx, secret))
	b.deployedMessage("app", "from a map")
}

func TestWhatSomebodyElseDoesToAReleaseIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	b.release("app", values("message: wanted"))
	b.until("app", atRevision(1))

	other, err := helm.New(helm.Config{REST: shared.env.Config})
	require.NoError(t, err)
	_, err = other.Upgrade(b.ctx, helm.UpgradeOptions{
		Target:      helm.Target{Namespace: b.namespace, Name: "app"},
		ChartSource: helm.ChartSource{Chart: webChart(t, "1.0.0"), Values: map[string]any{"message": "by hand"}},
	})
	require.NoError(t, err)
	b.until("app", atRevision(3)) // the interval is ten minutes
	assert.Equal(t, "wanted", b.message(b.namespace, "app"))
}

func TestAReleaseIsInstalledOnceSomebodyElseHasLeftItsName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	other, err := helm.New(helm.Config{REST: shared.env.Config})
	require.NoError(t, err)
	target := helm.Target{Namespace: b.namespace, Name: "app"}
	_, err = other.Install(b.ctx, helm.InstallOptions{Target: target, ChartSource: helm.ChartSource{Chart: webChart(t, "1.0.0")}})
	require.NoError(t, err)
	b.release("app")
	b.until("app", notReady(v1alpha1.ReasonConfigurationError))
	_, err = other.Uninstall(b.ctx, helm.UninstallOptions{Target: target, Timeout: patience})
	require.NoError(t, err)
	b.until("app", ready) // the interval is ten minutes
}

func TestWhatWasLeftBehindCanBeTakenOver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app")
	b.until("app", ready)
	b.edit(object, func() {
		object.Spec.Release = &v1alpha1.ReleaseTarget{Name: "renamed", OnChange: v1alpha1.OnChangeOrphan}
		object.Spec.Values = v1alpha1.ValuesFromString("message: renamed")
	})
	b.until("app", ready)
	b.release("heir", func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "app", Adopt: v1alpha1.AdoptAlways}
	})
	b.until("heir", ready)
}

func TestWhoWantsWhatADeletedHelmReleaseLeftBehindIsToldHowToGetIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	object := b.release("app", func(r *v1alpha1.HelmRelease) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyOrphan })
	b.until("app", ready)
	refused := func(words string) func(*v1alpha1.HelmRelease) error {
		return func(r *v1alpha1.HelmRelease) error {
			if err := notReady(v1alpha1.ReasonConfigurationError)(r); err != nil {
				return err
			}
			if message := r.Status.Conditions[0].Message; !strings.Contains(message, words) {
				return fmt.Errorf("the message is %q, want %q", message, words)
			}
			return nil
		}
	}
	b.release("heir", func(r *v1alpha1.HelmRelease) { r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "app"} })
	b.until("heir", refused("belongs to the HelmRelease"))
	require.NoError(t, b.Delete(b.ctx, object))
	b.until("heir", refused("set release.adopt to Always")) // the interval is ten minutes
}

func TestAChainOfReleasesIsInstalledInOrderAndUninstalledInReverse(t *testing.T) {
	t.Parallel()
	const length = 20
	b := newBench(t)
	b.charts("1.0.0")
	name := func(n int) string { return fmt.Sprintf("link-%02d", n) }
	for n := length - 1; n >= 0; n-- { // the last one first
		b.release(name(n), func(r *v1alpha1.HelmRelease) {
			if n > 0 {
				r.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: name(n - 1)}}
			}
		})
	}
	for n := range length {
		b.until(name(n), ready)
	}
	created := map[string]string{}
	maps := &corev1.ConfigMapList{}
	require.NoError(t, b.List(b.ctx, maps, kube.InNamespace(b.namespace)))
	for i := range maps.Items {
		created[maps.Items[i].Name] = maps.Items[i].ResourceVersion
	}
	for n := 1; n < length; n++ {
		assert.Less(t, version(t, created[name(n-1)]), version(t, created[name(n)]), "%s comes after what it depends on", name(n))
	}

	watcher, err := watchConfigMaps(b)
	require.NoError(t, err)
	defer watcher.Stop()
	// At once: a release waits two seconds for what depends on it to be deleted, too, and a slow machine takes longer for 20.
	var deletions sync.WaitGroup
	for n := range length {
		deletions.Go(func() {
			assert.NoError(t, b.Delete(b.ctx, &v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: name(n)}}))
		})
	}
	deletions.Wait()
	var gone []string
	for len(gone) < length {
		event, open := <-watcher.ResultChan()
		require.True(t, open)
		object, ok := event.Object.(*corev1.ConfigMap)
		require.True(t, ok)
		if event.Type == "DELETED" && strings.HasPrefix(object.Name, "link-") {
			gone = append(gone, object.Name)
		}
	}
	for n := range length {
		assert.Equal(t, name(length-1-n), gone[n])
	}
}

func version(t *testing.T, resourceVersion string) int {
	t.Helper()
	n, err := strconv.Atoi(resourceVersion)
	require.NoError(t, err)
	return n
}

func watchConfigMaps(b *bench) (kubewatch.Interface, error) {
	watching, err := kube.NewWithWatch(shared.env.Config, kube.Options{Scheme: b.Scheme()})
	if err != nil {
		return nil, err
	}
	return watching.Watch(b.ctx, &corev1.ConfigMapList{}, kube.InNamespace(b.namespace))
}

func TestReleasesThatDependOnEachOtherSaySo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.charts("1.0.0")
	for from, to := range map[string]string{"one": "two", "two": "one"} {
		b.release(from, func(r *v1alpha1.HelmRelease) { r.Spec.DependsOn = []v1alpha1.DependencyReference{{Name: to}} })
	}
	for _, name := range []string{"one", "two"} {
		b.until(name, func(r *v1alpha1.HelmRelease) error {
			if err := notReady(v1alpha1.ReasonConfigurationError)(r); err != nil {
				return err
			}
			if !strings.Contains(r.Status.Conditions[0].Message, "wait for each other") {
				return fmt.Errorf("the message is %q", r.Status.Conditions[0].Message)
			}
			return nil
		})
	}
}
