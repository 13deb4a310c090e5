package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

// aboutToChange are ways to bring the ConfigMaps of the charts db and web, which are there, to where the next pass changes both, and
// how to see that one was changed.
var aboutToChange = map[string]struct {
	prepare func(a *aloneBench)
	changed func(a *aloneBench, chart string) bool
}{
	"removed as the policy is off": {
		func(a *aloneBench) { a.repository.Spec.ValuesConfigMapPolicy = v1alpha1.ValuesConfigMapDisabled }, isRemoved,
	},
	"removed after their time": {
		func(a *aloneBench) {
			a.uses = nil
			a.pass()
			a.clock = a.clock.Add(time.Hour)
		}, isRemoved,
	},
	"marked as unused": {func(a *aloneBench) { a.uses = nil }, isUnused},
	"marked as used again": {
		func(a *aloneBench) {
			uses := a.uses
			a.uses = nil
			a.pass()
			a.uses = uses
		}, func(a *aloneBench, chart string) bool { return !isUnused(a, chart) },
	},
	"written again": {
		func(a *aloneBench) {
			for _, chart := range []string{"db", "web"} {
				object := a.configMap(chart + "-1-0-0")
				a.edit(object, func() { object.Data[valuesmap.DataKey] = "edited: true\n" })
			}
		},
		func(a *aloneBench, chart string) bool {
			return a.values()["helm-values-charts-"+chart+"-1-0-0"] == "a: 1\n"
		},
	},
}

func isRemoved(a *aloneBench, chart string) bool {
	_, there := a.values()["helm-values-charts-"+chart+"-1-0-0"]
	return !there
}

func isUnused(a *aloneBench, chart string) bool {
	_, unused := a.configMap(chart + "-1-0-0").Annotations[valuesmap.UnusedAnnotation]
	return unused
}

// prepared returns a bench with the ConfigMaps of the charts db and web, which the next pass changes.
func prepared(t *testing.T, prepare func(a *aloneBench)) *aloneBench {
	a := newAloneBench(t, v1alpha1.ValuesConfigMapOnDemand)
	for _, chart := range []string{"db", "web"} {
		a.publishChart(chart, "1.0.0", "a: 1\n")
		a.uses = append(a.uses, valuesmap.Chart{Name: chart, Version: "1.0.0"})
	}
	a.pass()
	a.pass()
	require.Len(t, a.values(), 2)
	prepare(a)
	return a
}

func TestAConfigMapThatMustNotBeChangedIsToldOfAndNotInTheWayOfOthers(t *testing.T) {
	t.Parallel()
	const refused = "helm-values-charts-db-1-0-0"
	kind := schema.GroupKind{Kind: kindConfigMap}
	for name, test := range aboutToChange {
		for answer, err := range map[string]error{
			"forbidden": apierrors.NewForbidden(corev1.Resource("configmaps"), refused, assert.AnError),
			"invalid":   apierrors.NewInvalid(kind, refused, nil),
		} {
			t.Run(name+" but "+answer, func(t *testing.T) {
				t.Parallel()
				a := prepared(t, test.prepare)
				a.refusals.set(refused, err)
				for _, pause := range []time.Duration{time.Minute, 2 * time.Minute} {
					assert.Equal(t, pause, a.pass().RequeueAfter)
					assert.Equal(t, pause, a.pass().RequeueAfter, "no pass in between tries again")
					a.clock = a.clock.Add(pause)
				}
				assert.Equal(t, 2, a.refusals.count())
				assert.True(t, test.changed(a, "web"))
				assert.False(t, test.changed(a, "db"))
				require.Len(t, a.warnings.texts, 1)
				assert.Contains(t, a.warnings.texts[0], "ConfigMap "+refused)
				assert.Contains(t, a.warnings.texts[0], err.Error())

				a.refusals.set(refused, nil)
				a.pass()
				assert.True(t, test.changed(a, "db"))
				a.pass()
				assert.Empty(t, a.memoryOf(keyOf(a.repository)).problems)
			})
		}
	}
}

func TestAConfigMapThatSomebodyElseKeepsChangingIsLeftAloneForAWhileAndNotInTheWayOfOthers(t *testing.T) {
	t.Parallel()
	const contested = "helm-values-charts-db-1-0-0"
	for name, test := range aboutToChange {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := prepared(t, test.prepare)
			a.refusals.set(contested, apierrors.NewConflict(corev1.Resource("configmaps"), contested, assert.AnError))
			assert.Equal(t, conflictPause, a.pass().RequeueAfter, "mostly the cache was late")
			assert.True(t, test.changed(a, "web"))
			a.clock = a.clock.Add(conflictPause)
			for range 3 {
				assert.Equal(t, repairPause-conflictPause, a.pass().RequeueAfter)
			}
			assert.Equal(t, 2, a.refusals.count())
			assert.False(t, test.changed(a, "db"))
			assert.Empty(t, a.warnings.texts)

			a.refusals.set(contested, nil)
			a.clock = a.clock.Add(repairPause)
			a.pass()
			assert.True(t, test.changed(a, "db"))
		})
	}
}

// What is marked as unused is not written, so the mark must not pass for our look at what somebody else wrote.
func TestAnEditOfAConfigMapThatIsMarkedAsUnusedIsUndoneOnceItIsUsedAgain(t *testing.T) {
	t.Parallel()
	a := prepared(t, func(*aloneBench) {})
	uses := a.uses
	object := a.configMap("web-1-0-0")
	a.edit(object, func() { object.Data[valuesmap.DataKey] = "edited: true\n" })
	a.uses = nil
	a.pass()
	require.True(t, isUnused(a, "web"))
	a.pass()
	assert.Equal(t, "edited: true\n", a.configMap("web-1-0-0").Data[valuesmap.DataKey], "what is unused is not worth a request to chartcache")

	a.uses = uses
	a.pass()
	assert.False(t, isUnused(a, "web"))
	assert.Equal(t, "a: 1\n", a.configMap("web-1-0-0").Data[valuesmap.DataKey])
}

func TestAConfigMapThatTheCacheWasLateWithIsChangedAtTheNextLookInAllThatItNeeds(t *testing.T) {
	t.Parallel()
	const late = "helm-values-charts-db-1-0-0"
	a := prepared(t, func(a *aloneBench) {
		aboutToChange["marked as used again"].prepare(a)
		aboutToChange["written again"].prepare(a)
	})
	a.refusals.set(late, apierrors.NewConflict(corev1.Resource("configmaps"), late, assert.AnError))
	for range 3 {
		assert.Equal(t, conflictPause, a.pass().RequeueAfter)
	}
	a.refusals.set(late, nil)
	a.clock = a.clock.Add(conflictPause)
	a.pass()
	assert.False(t, isUnused(a, "db"))
	assert.True(t, aboutToChange["written again"].changed(a, "db"))
}
