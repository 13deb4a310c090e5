package drift

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// maxValue bounds a value that is shown, in bytes. What is longer is a file or a certificate, and no one reads it in a status. It is
// left out, not cut: a secret that was cut in two could not be told from other text.
const maxValue = 64

// secretPath matches paths whose values are secret however they look. Environment variables are among them: a name beside the
// value, not the path, says what they hold.
var secretPath = regexp.MustCompile(`(?i)passw|passphrase|secret|token|api-?_?key|private-?_?key|credential|auth|/env/[0-9]+/value$`)

// differences returns the fields of an object of the manifest that the patched object has otherwise than the live one, by path.
func differences(want, live, patched *unstructured.Unstructured) []Difference {
	d := differ{secret: isSecret(want)}
	d.fields("", want.Object, live.Object, patched.Object)
	slices.SortFunc(d.found, func(a, b Difference) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return d.found
}

// differ collects differences.
type differ struct {
	// secret objects have no value shown.
	secret bool
	found  []Difference
}

// value compares one value; nil stands for none.
func (d *differ) value(path string, want, live, patched any) {
	if reflect.DeepEqual(live, patched) {
		return
	}
	switch want := want.(type) {
	case map[string]any:
		liveFields, isMap := live.(map[string]any)
		patchedFields, isMapToo := patched.(map[string]any)
		if isMap && isMapToo {
			d.fields(path, want, liveFields, patchedFields)
			return
		}
	case []any:
		liveItems, isList := live.([]any)
		patchedItems, isListToo := patched.([]any)
		if isList && isListToo && d.items(path, want, liveItems, patchedItems) {
			return
		}
	}
	d.report(path, want, live)
}

// fields compares the fields that the manifest has.
func (d *differ) fields(path string, want, live, patched map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		d.value(pointerTo(path, key), want[key], live[key], patched[key])
	}
}

// items compares the items that the manifest has, and returns false when they cannot be told apart.
func (d *differ) items(path string, want, live, patched []any) bool {
	field := identity(want, live, patched)
	if field == "" {
		return false
	}
	liveItems, liveOrder := index(live, field)
	patchedItems, patchedOrder := index(patched, field)
	before := len(d.found)
	for i, item := range want {
		id := idOf(item, field)
		d.value(pointerTo(path, strconv.Itoa(i)), item, liveItems[id], patchedItems[id])
	}
	if len(d.found) > before {
		return true
	}
	// What the patch adds besides is the doing of a webhook; what it removes or moves is not.
	patchedOrder = slices.DeleteFunc(patchedOrder, func(id string) bool { _, there := liveItems[id]; return !there })
	if !slices.Equal(liveOrder, patchedOrder) {
		d.found = append(d.found, Difference{Path: path})
	}
	return true
}

func index(list []any, field string) (items map[string]any, order []string) {
	items = make(map[string]any, len(list))
	for _, item := range list {
		id := idOf(item, field)
		items[id] = item
		order = append(order, id)
	}
	return items, order
}

func (d *differ) report(path string, want, live any) {
	difference := Difference{Path: path}
	if !d.secret && !secretPath.MatchString(path) {
		difference.Want, difference.Have = spell(want), spell(live)
	}
	d.found = append(d.found, difference)
}

// spell returns a single value as JSON; nothing for what is no single value, or too long.
func spell(value any) string {
	switch value.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil || len(text) > maxValue {
		return ""
	}
	return string(text)
}
