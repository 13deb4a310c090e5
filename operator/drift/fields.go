package drift

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// subresourceScale is how autoscalers and `kubectl scale` write.
const subresourceScale = "scale"

// scaled returns the paths of the fields whose present value was written through the scale subresource.
func scaled(live *unstructured.Unstructured) (paths [][]string) {
	for _, entry := range live.GetManagedFields() {
		if entry.Subresource != subresourceScale || entry.FieldsV1 == nil {
			continue
		}
		var fields map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) == nil {
			paths = append(paths, leaves(nil, fields)...)
		}
	}
	return paths
}

// leaves returns the paths of a set of fields, as managedFields spell it, that lead through maps only.
func leaves(path []string, fields map[string]any) (paths [][]string) {
	for key, value := range fields {
		name, isField := strings.CutPrefix(key, "f:")
		children, isMap := value.(map[string]any)
		if !isField || !isMap {
			continue
		}
		below := append(slices.Clone(path), name)
		if len(children) == 0 {
			paths = append(paths, below)
			continue
		}
		paths = append(paths, leaves(below, children)...)
	}
	return paths
}

// settled returns a copy of an object of the manifest with the paths that may differ as they are in the cluster, so that
// neither a patch nor a comparison touches them.
func settled(object, live *unstructured.Unstructured, paths [][]string) *unstructured.Unstructured {
	out := withoutStringData(object.DeepCopy())
	for _, path := range paths {
		if value, ok := settle(out.Object, live.Object, path); ok {
			if whole, isMap := value.(map[string]any); isMap {
				out.Object = whole
			}
		}
	}
	return out
}

// settle returns want with the value of live at a path, and false when live has none there. It changes want.
func settle(want, live any, path []string) (value any, found bool) {
	if len(path) == 0 {
		return runtime.DeepCopyJSONValue(live), live != nil
	}
	switch parent := want.(type) {
	case map[string]any:
		child, owned := parent[path[0]]
		if !owned {
			return want, true
		}
		there, _ := live.(map[string]any)
		if child, found = settle(child, there[path[0]], path[1:]); found {
			parent[path[0]] = child
		} else {
			delete(parent, path[0])
		}
		if len(parent) == 0 && live == nil {
			return nil, false
		}
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(parent) {
			return want, true
		}
		there, _ := live.([]any)
		item, found := settle(parent[i], counterpart(parent, there, i), path[1:])
		if !found {
			return slices.Delete(parent, i, i+1), true
		}
		parent[i] = item
	}
	return want, true
}

// counterpart returns the item of another list that is the same one as item i of a list; nil when there is none.
func counterpart(list, other []any, i int) any {
	if field := identity(list, other); field != "" {
		for _, item := range other {
			if idOf(item, field) == idOf(list[i], field) {
				return item
			}
		}
		return nil
	}
	if len(list) == len(other) {
		return other[i]
	}
	return nil
}

// identity returns the field that tells the items of all lists apart; empty when there is none. These are the merge keys of the
// built-in kinds; custom resources follow them mostly.
func identity(lists ...[]any) string {
	for _, field := range []string{"name", "mountPath", "devicePath", "containerPort", "port", "key", "ip", "topologyKey", "type"} {
		if !slices.ContainsFunc(lists, func(list []any) bool { return !tellsApart(list, field) }) {
			return field
		}
	}
	return ""
}

func tellsApart(list []any, field string) bool {
	seen := map[string]bool{}
	for _, item := range list {
		id := idOf(item, field)
		if id == "" || seen[id] {
			return false
		}
		seen[id] = true
	}
	return true
}

// idOf returns the value of an item's field as text; empty when there is none.
func idOf(item any, field string) string {
	fields, _ := item.(map[string]any)
	value, found := fields[field]
	if !found || value == nil {
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}
