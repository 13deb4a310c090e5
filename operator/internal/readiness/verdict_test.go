package readiness

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	object := &unstructured.Unstructured{}
	require.NoError(t, object.UnmarshalJSON(data))
	return object
}

func TestVerdicts(t *testing.T) {
	const (
		deploy = "{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, "
		sts    = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {generation: 1}, "
		ds     = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 1}, "
		rc     = "{apiVersion: v1, kind: ReplicationController, metadata: {generation: 1}, "
		job    = "{apiVersion: batch/v1, kind: Job, "
		pod    = "{apiVersion: v1, kind: Pod, "
		svc    = "{apiVersion: v1, kind: Service, "
		crd    = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, "
		custom = "{apiVersion: example.com/v1, kind: Thing, metadata: {generation: 2}, "
	)
	tests := []struct {
		name   string
		object string
		goal   Goal
		state  State
		text   string
	}{
		{"a ConfigMap", "{apiVersion: v1, kind: ConfigMap}", GoalReady, Ready, ""},
		{"a Secret", "{apiVersion: v1, kind: Secret}", GoalReady, Ready, ""},
		{"a ServiceAccount", "{apiVersion: v1, kind: ServiceAccount}", GoalReady, Ready, ""},
		{"a Role", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role}", GoalReady, Ready, ""},
		{"an Ingress without an address", "{apiVersion: networking.k8s.io/v1, kind: Ingress, status: {loadBalancer: {}}}", GoalReady, Ready, ""},
		{"an object that is being deleted", "{apiVersion: v1, kind: ConfigMap, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}",
			GoalReady, Progressing, "is being deleted"},

		{"a Service with an address", svc + "spec: {type: ClusterIP, clusterIP: 10.0.0.1}}", GoalReady, Ready, ""},
		{"a headless Service", svc + "spec: {clusterIP: None}}", GoalReady, Ready, ""},
		{"a Service without an address", svc + "spec: {type: ClusterIP}}", GoalReady, Progressing, "has no cluster IP"},
		{"a load balancer that has no address outside yet", svc + "spec: {type: LoadBalancer, clusterIP: 10.0.0.1}}", GoalReady, Ready, ""},
		{"a name of an outside service", svc + "spec: {type: ExternalName}}", GoalReady, Ready, ""},

		{"a Deployment that was just made", deploy + "spec: {replicas: 1}}", GoalReady, Progressing, "has not been observed by its controller yet"},
		{"a Deployment whose change was not seen", deploy + "spec: {replicas: 0}, status: {observedGeneration: 1}}",
			GoalReady, Progressing, "has not been observed by its controller yet"},
		{"a Deployment of none", deploy + "spec: {replicas: 0}, status: {observedGeneration: 2}}", GoalReady, Ready, ""},
		{"a paused Deployment", deploy + "spec: {replicas: 3, paused: true}}", GoalReady, Ready, ""},
		{"a Deployment that updates", deploy + "spec: {replicas: 3}, status: {observedGeneration: 2, replicas: 4, updatedReplicas: 1}}",
			GoalReady, Progressing, "1 of 3 updated"},
		{"a Deployment that starts", deploy + "spec: {replicas: 3}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 3, " +
			"readyReplicas: 1, availableReplicas: 1}}", GoalReady, Progressing, "1 of 3 available"},
		{"a Deployment with old Pods", deploy + "spec: {replicas: 1}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 1, " +
			"readyReplicas: 2, availableReplicas: 2}}", GoalReady, Progressing, "1 old Pods to go"},
		{"a Deployment that is there", deploy + "spec: {replicas: 1, progressDeadlineSeconds: 600}, status: {observedGeneration: 2, replicas: 1, " +
			"updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1, conditions: [{type: Available, status: 'True'}, " +
			"{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]}}", GoalReady, Ready, ""},
		{"a Deployment that may make no Pods", deploy + "spec: {replicas: 1}, status: {observedGeneration: 2, " +
			"conditions: [{type: ReplicaFailure, status: 'True', message: exceeded quota}]}}",
			GoalReady, Progressing, "0 of 1 updated: exceeded quota"},
		{"a Deployment past its deadline", deploy + "spec: {replicas: 1}, status: {observedGeneration: 2, replicas: 1, updatedReplicas: 1, " +
			"conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: timed out}]}}",
			GoalReady, Failed, "0 of 1 available: ProgressDeadlineExceeded: timed out"},
		{"a changed Deployment whose old state was past its deadline", deploy + "spec: {replicas: 1}, status: {observedGeneration: 1, " +
			"conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}}",
			GoalReady, Progressing, "has not been observed by its controller yet"},

		{"a StatefulSet that starts", sts + "spec: {replicas: 2}, status: {observedGeneration: 1, replicas: 1, readyReplicas: 1, updatedReplicas: 2}}",
			GoalReady, Progressing, "1 of 2 available"},
		{"a StatefulSet that is there", sts + "spec: {replicas: 1}, status: {observedGeneration: 1, replicas: 1, readyReplicas: 1, " +
			"currentReplicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: a}}", GoalReady, Ready, ""},
		{"a StatefulSet up to its partition", sts + "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 2}}}, status: " +
			"{observedGeneration: 1, replicas: 3, readyReplicas: 3, updatedReplicas: 1}}", GoalReady, Ready, ""},
		{"a StatefulSet of none that was not seen", sts + "spec: {replicas: 0}}", GoalReady, Progressing, "has not been observed by its controller yet"},
		{"a DaemonSet that starts", ds + "status: {observedGeneration: 1, desiredNumberScheduled: 3, currentNumberScheduled: 3, " +
			"updatedNumberScheduled: 3, numberReady: 2, numberAvailable: 2}}", GoalReady, Progressing, "2 of 3 available"},
		{"a DaemonSet with no node", ds + "status: {observedGeneration: 1, desiredNumberScheduled: 0}}", GoalReady, Ready, ""},
		{"a DaemonSet whose Pods somebody has to delete", ds + "spec: {updateStrategy: {type: OnDelete}}, status: {observedGeneration: 1, " +
			"desiredNumberScheduled: 3, currentNumberScheduled: 3, numberReady: 3, numberAvailable: 3}}", GoalReady, Ready, ""},
		{"a DaemonSet whose Pods somebody has to delete that was not seen", ds + "spec: {updateStrategy: {type: OnDelete}}, status: " +
			"{observedGeneration: 0, desiredNumberScheduled: 3}}", GoalReady, Progressing, "has not been observed by its controller yet"},
		{"a StatefulSet whose Pods somebody has to delete", sts + "spec: {replicas: 3, updateStrategy: {type: OnDelete}}, status: " +
			"{observedGeneration: 1, replicas: 3, readyReplicas: 3}}", GoalReady, Ready, ""},
		{"a ReplicationController that starts", rc + "spec: {replicas: 2}, status: {observedGeneration: 1, replicas: 2, " +
			"fullyLabeledReplicas: 2, readyReplicas: 1, availableReplicas: 1}}", GoalReady, Progressing, "1 of 2 available"},
		{"a ReplicationController that is there", rc + "spec: {replicas: 1}, status: {observedGeneration: 1, replicas: 1, " +
			"fullyLabeledReplicas: 1, readyReplicas: 1, availableReplicas: 1}}", GoalReady, Ready, ""},

		{"a Job that nobody asked for", job + "status: {conditions: [{type: Failed, status: 'True'}]}}", GoalReady, Ready, ""},
		{"a Job that runs", job + "spec: {completions: 2}, status: {active: 1, succeeded: 1, failed: 1, startTime: '2026-01-01T00:00:00Z'}}",
			GoalReadyWithJobs, Progressing, "1 of 2 completed, 1 failed"},
		{"a Job that has completed", job + "status: {conditions: [{type: Complete, status: 'True'}]}}", GoalReadyWithJobs, Ready, ""},
		{"a Job that has failed", job + "status: {conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: enough}]}}",
			GoalReadyWithJobs, Failed, "BackoffLimitExceeded: enough"},
		{"a Job that has completed and is removed", "{apiVersion: batch/v1, kind: Job, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, " +
			"status: {conditions: [{type: Complete, status: 'True'}]}}", GoalReadyWithJobs, Ready, ""},
		{"a Job that has failed and is removed", "{apiVersion: batch/v1, kind: Job, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, " +
			"status: {conditions: [{type: Failed, status: 'True', reason: DeadlineExceeded}]}}", GoalReadyWithJobs, Failed, "DeadlineExceeded"},
		{"a Job that runs and is removed", "{apiVersion: batch/v1, kind: Job, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, " +
			"status: {active: 1}}", GoalReadyWithJobs, Progressing, "is being deleted"},
		{"a hook that is a Job", job + "status: {active: 1}}", GoalCompleted, Progressing, "0 of 1 completed"},
		{"a hook that is neither Job nor Pod", deploy + "spec: {replicas: 1}}", GoalCompleted, Ready, ""},
		{"a hook that is a Pod which is ready", pod + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}",
			GoalCompleted, Progressing, "is not ready (phase Running)"},
		{"a hook that is a Pod which has succeeded", pod + "status: {phase: Succeeded}}", GoalCompleted, Ready, ""},
		{"a hook that is a Pod which has failed", pod + "status: {phase: Failed, reason: Evicted}}", GoalCompleted, Failed, "Evicted"},

		{"a Pod that is ready", pod + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", GoalReady, Ready, ""},
		{"a Pod that has failed", pod + "status: {phase: Failed, message: node was lost}}", GoalReady, Failed, "node was lost"},
		{"a Pod without a node", pod + "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable}]}}",
			GoalReady, Progressing, "is not ready (phase Pending): Unschedulable"},
		{"a Pod that crashes", pod + "status: {phase: Running, containerStatuses: [{name: a, state: {waiting: {reason: CrashLoopBackOff}}}]}}",
			GoalReady, Progressing, "is not ready (phase Running): container a: CrashLoopBackOff"},

		{"a claim that waits", "{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Pending}}",
			GoalReady, Progressing, "is not bound (phase Pending)"},
		{"a claim that is bound", "{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Bound}}", GoalReady, Ready, ""},
		{"a definition that is being set up", crd + "status: {conditions: [{type: Established, status: 'False', reason: Installing}]}}",
			GoalReady, Progressing, "Install in progress"},
		{"a definition that is established", crd + "status: {conditions: [{type: Established, status: 'True'}]}}", GoalReady, Ready, ""},
		{"a definition whose names are taken", crd + "status: {conditions: [{type: NamesAccepted, status: 'False', reason: Taken, message: by x}]}}",
			GoalReady, Failed, "Taken: by x"},

		{"a custom resource without a status", custom + "spec: {}}", GoalReady, Ready, ""},
		{"a custom resource that is not ready", custom + "status: {conditions: [{type: Ready, status: 'False', message: starting}]}}",
			GoalReady, Progressing, "starting"},
		{"a custom resource that was not seen", custom + "status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}}",
			GoalReady, Progressing, "Thing generation is 2, but latest observed generation is 1"},
		{"a custom resource that is stuck", custom + "status: {observedGeneration: 2, conditions: [{type: Stalled, status: 'True', reason: Stuck, message: for good}]}}",
			GoalReady, Failed, "Stuck: for good"},
		{"a custom resource that follows no convention", custom + "status: {conditions: fine}}", GoalReady, Ready, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Assess(parse(t, tt.object), tt.goal)
			assert.Equal(t, tt.state, got.State)
			assert.Equal(t, tt.text, got.Text)
		})
	}
}

func FuzzAssess(f *testing.F) {
	f.Add("apps/v1", "Deployment", `{"observedGeneration":1,"replicas":"x"}`)
	f.Add("v1", "Pod", `{"containerStatuses":[{"state":{"waiting":5}}]}`)
	f.Add("batch/v1", "Job", `{"conditions":{}}`)
	f.Add("example.com/v1", "Thing", `{"conditions":[1]}`)
	f.Fuzz(func(_ *testing.T, version, kind, status string) {
		var parsed any
		if yaml.Unmarshal([]byte(status), &parsed) != nil {
			return
		}
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": version, "kind": kind, "metadata": map[string]any{}, "status": parsed,
		}}
		for _, goal := range []Goal{GoalReady, GoalReadyWithJobs, GoalCompleted} {
			Assess(object, goal)
			assess(object, goal, passedDeadline(object))
		}
	})
}
