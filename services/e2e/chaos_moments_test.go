package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// moment is a point of an act that a watch sees.
type moment struct {
	name, act string
	// list is what to watch, and seen reports whether an event is the moment for the stage of a name.
	list client.ObjectList
	seen func(event watch.EventType, object client.Object, name string) bool
}

func moments() []moment {
	return []moment{
		recordMoment("install", "1", "pending-install"),
		objectMoment("first object created", "install", &corev1.ConfigMapList{}, "", watch.Added),
		recordMoment("install", "1", "deployed"),
		recordMoment("upgrade", "2", "pending-upgrade"),
		objectMoment("hook created", "upgrade", &batchv1.JobList{}, "-before", watch.Added),
		objectMoment("hook deleted", "upgrade", &batchv1.JobList{}, "-before", watch.Deleted),
		objectMoment("first object changed", "upgrade", &corev1.ConfigMapList{}, "", watch.Modified),
		objectMoment("old object deleted", "upgrade", &corev1.ConfigMapList{}, "-only-"+first, watch.Deleted),
		recordMoment("upgrade", "1", "superseded"),
		recordMoment("upgrade", "2", "deployed"),
		recordMoment("rollback", "2", "failed"),
		recordMoment("rollback", "3", "pending-rollback"),
		objectMoment("object of the failed revision deleted", "rollback", &corev1.ConfigMapList{}, "-only-"+bad, watch.Deleted),
		recordMoment("rollback", "3", "deployed"),
		objectMoment("test created", "test", &corev1.PodList{}, "-check", watch.Added),
		recordMoment("uninstall", "1", "uninstalling"),
		objectMoment("first object deleted", "uninstall", &corev1.ConfigMapList{}, "", watch.Deleted),
		{name: "record deleted", act: "uninstall", list: &corev1.SecretList{}, seen: func(e watch.EventType, o client.Object, name string) bool {
			return e == watch.Deleted && o.GetLabels()["owner"] == "helm" && o.GetLabels()["name"] == name
		}},
	}
}

// recordMoment is when the record of a revision gets a status.
func recordMoment(act, revision, status string) moment {
	return moment{
		name: "record " + revision + " " + status, act: act, list: &corev1.SecretList{},
		seen: func(e watch.EventType, o client.Object, name string) bool {
			labels := o.GetLabels()
			return e != watch.Deleted && labels["owner"] == "helm" && labels["name"] == name &&
				labels["version"] == revision && labels["status"] == status
		},
	}
}

// objectMoment is when something happens to an object of a stage.
func objectMoment(what, act string, list client.ObjectList, suffix string, event watch.EventType) moment {
	return moment{name: what, act: act, list: list, seen: func(e watch.EventType, o client.Object, name string) bool {
		return e == event && o.GetName() == name+suffix
	}}
}

// some returns a few moments, or all of them.
func (c chaos) some(few int) []moment {
	all := moments()
	if c.all {
		return all
	}
	c.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:few]
}

// await begins to watch for a moment of a stage. The function that it returns waits for it.
func (s *story) await(m *moment, name string) func() {
	s.Helper()
	watcher, err := client.NewWithWatch(suite.config, client.Options{Scheme: suite.client.Scheme(), Mapper: suite.client.RESTMapper()})
	require.NoError(s, err)
	list, ok := m.list.DeepCopyObject().(client.ObjectList)
	require.True(s, ok)
	// From the state at this time on: without a resource version, a watch would begin with what is there.
	require.NoError(s, s.List(s.ctx, list, client.InNamespace(s.namespace)))
	events, err := watcher.Watch(s.ctx, list, client.InNamespace(s.namespace),
		&client.ListOptions{Raw: listOptions(list.GetResourceVersion())})
	require.NoError(s, err)
	s.Cleanup(events.Stop)
	return func() {
		s.Helper()
		patient := time.After(patience)
		for {
			select {
			case event, open := <-events.ResultChan():
				require.True(s, open, "the watch for %q has ended", m.name)
				if object, ok := event.Object.(client.Object); ok && m.seen(event.Type, object, name) {
					return
				}
			case <-patient:
				require.Fail(s, "the moment never came", "%s of %s", m.name, name)
			}
		}
	}
}

// at begins the acts so that the moment at which the function returns is a fraction of each act's usual time away from its
// beginning.
func (s *story) at(t *testing.T, subjects []*subject, fractions []float64, usual map[string]time.Duration) {
	t.Helper()
	type start struct {
		subject *subject
		before  time.Duration
	}
	var longest time.Duration
	starts := make([]start, len(subjects))
	for i, u := range subjects {
		starts[i] = start{u, time.Duration(fractions[i] * float64(usual[u.act.name]))}
		longest = max(longest, starts[i].before)
	}
	zero := time.Now()
	for len(starts) > 0 {
		next := 0
		for i := range starts {
			if starts[i].before > starts[next].before {
				next = i
			}
		}
		until(zero.Add(longest - starts[next].before))
		starts[next].subject.begin(s, starts[next].subject.name)
		starts = append(starts[:next], starts[next+1:]...)
	}
	until(zero.Add(longest))
}

// until waits for a point of time: these stories are about such points.
func until(at time.Time) { <-time.After(time.Until(at)) }

// listOptions ask for what comes after a resource version.
func listOptions(resourceVersion string) *metav1.ListOptions {
	return &metav1.ListOptions{ResourceVersion: resourceVersion}
}
