package demo

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ketches/helm-operator/deploy/local/internal/kube"
)

// Explain collects what tells people why a step failed: the conditions of the demo's objects and the newest events about them.
func Explain(ctx context.Context, client *kube.Client) string {
	var out strings.Builder
	for _, kind := range []string{"HelmRepository", "HelmRelease"} {
		objects, err := client.List(ctx, kube.Ref{APIVersion: apiGroup, Kind: kind, Namespace: namespace}, "")
		if err != nil {
			fmt.Fprintf(&out, "%v\n", err)
			continue
		}
		for _, o := range objects {
			fmt.Fprintf(&out, "%s %s\n", kind, o.GetName())
			writeConditions(&out, o)
		}
	}
	for _, space := range []string{namespace, target} {
		events, err := client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Event", Namespace: space}, "")
		if err != nil {
			fmt.Fprintf(&out, "%v\n", err)
			continue
		}
		writeEvents(&out, space, events)
	}
	return out.String()
}

func writeConditions(out *strings.Builder, o unstructured.Unstructured) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	if len(conditions) == 0 {
		out.WriteString("    no conditions\n")
	}
	for _, entry := range conditions {
		if c, ok := entry.(map[string]any); ok {
			fmt.Fprintf(out, "    %v=%v %v: %v\n", c["type"], c["status"], c["reason"], c["message"])
		}
	}
}

// newest bounds how many events are shown for each namespace.
const newest = 15

func writeEvents(out *strings.Builder, space string, events []unstructured.Unstructured) {
	sort.Slice(events, func(i, j int) bool {
		return events[i].GetCreationTimestamp().Time.Before(events[j].GetCreationTimestamp().Time)
	})
	events = events[max(0, len(events)-newest):]
	if len(events) > 0 {
		fmt.Fprintf(out, "newest events in namespace %s\n", space)
	}
	for _, event := range events {
		kind, _, _ := unstructured.NestedString(event.Object, "involvedObject", "kind")
		name, _, _ := unstructured.NestedString(event.Object, "involvedObject", "name")
		fmt.Fprintf(out, "    %v %s/%s %v: %v\n", event.Object["type"], kind, name, event.Object["reason"], event.Object["message"])
	}
}
