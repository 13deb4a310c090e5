package release

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// otherRelease is a HelmRelease in namespace shop that depends on others of it.
func otherRelease(name string, ready bool, dependsOn ...string) *v1alpha1.HelmRelease {
	r := &v1alpha1.HelmRelease{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 2}}
	if ready {
		r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 2}}
	}
	r.Spec.DependsOn = dependencies(dependsOn...)
	return r
}

func dependencies(names ...string) []v1alpha1.DependencyReference {
	refs := make([]v1alpha1.DependencyReference, 0, len(names))
	for _, name := range names {
		refs = append(refs, v1alpha1.DependencyReference{Name: name})
	}
	return refs
}

func withReleases(b *bench, releases ...*v1alpha1.HelmRelease) {
	b.objects.releases = map[types.NamespacedName]*v1alpha1.HelmRelease{}
	for _, r := range releases {
		b.objects.releases[types.NamespacedName{Namespace: r.Namespace, Name: r.Name}] = r
	}
}

func TestAReleaseWaitsForWhatItDependsOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.DependsOn = dependencies("db", "queue") })
	stale := otherRelease("queue", true)
	stale.Generation = 3
	withReleases(b, stale)

	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	message := b.condition(v1alpha1.ConditionReady).Message
	assert.Contains(t, message, "HelmRelease shop/db, which does not exist")
	assert.Contains(t, message, "HelmRelease shop/queue, which is not Ready", "it is at an older generation")
	assert.Empty(t, b.helm.done())

	withReleases(b, otherRelease("db", true), otherRelease("queue", true))
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)

	withReleases(b, otherRelease("db", false), otherRelease("queue", true))
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, []string{"install"}, b.helm.done(), "what is deployed stays")

	b.values("replicas: 3")
	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)
	assert.Empty(t, b.helm.done(), "a change waits")
}

func TestACycleOfDependenciesNamesItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dependsOn []string
		others    []*v1alpha1.HelmRelease
		cycle     string
	}{
		"itself":   {[]string{"app"}, nil, "shop/app -> shop/app"},
		"two":      {[]string{"db"}, []*v1alpha1.HelmRelease{otherRelease("db", false, "app")}, "shop/app -> shop/db -> shop/app"},
		"a detour": {[]string{"x", "db"}, []*v1alpha1.HelmRelease{otherRelease("x", true, "y"), otherRelease("y", false, "x"), otherRelease("db", false, "x", "app")}, "shop/app -> shop/db -> shop/app"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.DependsOn = dependencies(c.dependsOn...) })
			withReleases(b, c.others...)
			b.settle()
			b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
			assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, c.cycle)
			assert.Equal(t, metav1.ConditionTrue, b.condition(v1alpha1.ConditionStalled).Status)
		})
	}
}

func TestManyDependenciesAreNotAllNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.DependsOn = dependencies("a", "b", "c", "d", "e") })
	b.settle()
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "shop/c, which does not exist and 2 more")
}

func TestWhatOthersDependOnIsUninstalledAfterThem(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	web := otherRelease("web", true, "app")
	web.Finalizers = []string{v1alpha1.ReleaseFinalizer}
	withReleases(b, web)
	deleted := metav1.NewTime(b.now)
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.DeletionTimestamp = &deleted })

	after := b.once()
	assert.Equal(t, 2*time.Second, after, "the deletion of the other may follow")
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonDependencyNotReady)

	web.DeletionTimestamp = &deleted
	b.now = b.now.Add(time.Minute)
	b.once()
	assert.Empty(t, b.helm.done())
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "waiting for HelmRelease shop/web")

	withReleases(b)
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app"}, b.helm.done())
	assert.Empty(t, b.objects.get().Finalizers)
}

func TestADependentThatStaysKeepsNothing(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]*v1alpha1.HelmRelease{
		"it is not deleted":            otherRelease("web", true, "app"),
		"it is uninstalled already":    deletedRelease("web", "app"),
		"they depend on each other":    deletedRelease("db", "app"),
		"it depends on something else": deletedRelease("web", "db"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.settle()
			b.helm.done()
			withReleases(b, other)
			deleted := metav1.NewTime(b.now.Add(-deletionSettles))
			b.objects.edit(func(r *v1alpha1.HelmRelease) {
				r.DeletionTimestamp = &deleted
				r.Spec.DependsOn = dependencies("db")
			})
			b.settle()
			assert.Equal(t, []string{"uninstall shop/app"}, b.helm.done())
		})
	}
}

// The time of a deletion is that of the API server's clock.
func TestADependentKeepsNothingForAsLongAsClocksDiffer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	withReleases(b, otherRelease("web", true, "app"))
	deleted := metav1.NewTime(b.now.Add(time.Hour))
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.DeletionTimestamp = &deleted })
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app"}, b.helm.done())
}

func deletedRelease(name string, dependsOn ...string) *v1alpha1.HelmRelease {
	r := otherRelease(name, true, dependsOn...)
	deleted := metav1.NewTime(testTime)
	r.DeletionTimestamp = &deleted
	return r
}

func TestValuesComeFromOtherObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.ValuesFrom = []v1alpha1.ValuesReference{{Kind: "ConfigMap", Name: "defaults"}, {Kind: "Secret", Name: "db", Key: "password", TargetPath: "db.password"}}
		r.Spec.Values = v1alpha1.ValuesFromString("replicas: 2")
	})
	b.objects.values = map[string]map[string][]byte{"ConfigMap shop/defaults": {"values.yaml": []byte("replicas: 1\ncolor: red\n")}}

	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonValuesError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "Secret db")
	assert.Empty(t, b.helm.done())
	for _, c := range b.objects.get().Status.Conditions {
		assert.NotEqual(t, v1alpha1.ConditionStalled, c.Type, "the Secret may come")
	}

	b.objects.values["Secret shop/db"] = map[string][]byte{"password": []byte("s3cret")}
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, map[string]any{"replicas": float64(2), "color": "red", "db": map[string]any{"password": "s3cret"}}, b.helm.installed.Values)

	b.settle()
	b.objects.values["Secret shop/db"] = map[string][]byte{"password": []byte("r0tated")}
	b.settle()
	assert.Equal(t, []string{"install", "upgrade"}, b.helm.done())
	assert.Equal(t, map[string]any{"password": "r0tated"}, b.helm.upgraded.Values["db"])
	assert.NotContains(t, strings.Join(b.events.take(), "\n"), "r0tated")
}

func TestValuesThatCannotBeReadNowAreNoFaultOfTheSpec(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) {
		r.Spec.ValuesFrom = []v1alpha1.ValuesReference{{Kind: "ConfigMap", Name: "defaults"}}
	})
	b.objects.broken = errors.New("the API server is away")
	_, err := b.engine.Reconcile(t.Context(), b.objects.get())
	require.ErrorContains(t, err, "the API server is away")
	b.assertReadyReason(v1alpha1.ReasonDependencyNotReady)
	assert.Empty(t, b.helm.done())
}

func (b *bench) assertReadyReason(reason string) {
	b.Helper()
	assert.Equal(b, reason, b.condition(v1alpha1.ConditionReady).Reason)
}

func TestARenameReinstallsOrLeavesBehindWhenTheSpecSaysSo(t *testing.T) {
	t.Parallel()
	renamed := Target{Namespace: "shop", Name: "renamed"}
	for policy, calls := range map[v1alpha1.OnChangePolicy][]string{
		v1alpha1.OnChangeReinstall: {"uninstall shop/app", "install"},
		v1alpha1.OnChangeOrphan:    {"install"},
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.settle()
			b.helm.done()
			b.objects.edit(func(r *v1alpha1.HelmRelease) {
				r.Spec.Release = &v1alpha1.ReleaseTarget{Name: renamed.Name, OnChange: policy}
			})

			release := b.settle()

			assert.Equal(t, calls, b.helm.done())
			b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
			assert.Equal(t, renamed.Name, release.Status.HelmRelease.Name)
			assert.Len(t, b.helm.records[renamed], 1)
			assert.Len(t, b.helm.records[appTarget], map[v1alpha1.OnChangePolicy]int{v1alpha1.OnChangeOrphan: 1}[policy])
			deleted := metav1.NewTime(b.now)
			b.objects.edit(func(r *v1alpha1.HelmRelease) { r.DeletionTimestamp = &deleted })
			b.settle()
			assert.Equal(t, []string{"uninstall shop/renamed"}, b.helm.done(), "what was left behind stays")
		})
	}
}

func TestAReinstallThatCannotUninstallWaitsAndTriesAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.settle()
	b.helm.done()
	b.objects.edit(func(r *v1alpha1.HelmRelease) {
		r.Spec.Release = &v1alpha1.ReleaseTarget{Name: "renamed", OnChange: v1alpha1.OnChangeReinstall}
	})
	b.helm.results = []result{{err: errUnready}}

	b.settle()
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonUninstallFailed)
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app"}, b.helm.done())
	b.now = b.now.Add(2 * time.Minute)
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app", "install"}, b.helm.done())
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
}

func TestAServiceAccountThatIsMissingBlocksAndSaysSo(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(r *v1alpha1.HelmRelease) { r.Spec.ServiceAccountName = "deployer" })
	after := b.once()
	assert.Equal(t, retryAccount, after)
	b.assertReady(metav1.ConditionFalse, v1alpha1.ReasonConfigurationError)
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "ServiceAccount shop/deployer does not exist")

	b.objects.accounts = []string{"shop/deployer"}
	b.settle()
	b.assertReady(metav1.ConditionTrue, v1alpha1.ReasonInstallCompleted)
	assert.Equal(t, "shop/deployer", b.helm.installed.ServiceAccount)

	b.objects.accounts = nil
	deleted := metav1.NewTime(b.now.Add(-deletionSettles))
	b.objects.edit(func(r *v1alpha1.HelmRelease) { r.DeletionTimestamp = &deleted })
	b.settle()
	assert.Equal(t, []string{"install"}, b.helm.done())
	assert.Contains(t, b.condition(v1alpha1.ConditionReady).Message, "deletionPolicy to Orphan")
	b.objects.accounts = []string{"shop/deployer"}
	b.settle()
	assert.Equal(t, []string{"uninstall shop/app"}, b.helm.done())
	assert.Equal(t, "shop/deployer", b.helm.removed.ServiceAccount)
}
