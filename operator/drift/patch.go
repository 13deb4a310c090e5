package drift

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// patchFor returns the patch that an upgrade to the manifest that is deployed would send: what the manifest says and the
// cluster does not. It removes nothing.
func patchFor(want, live *unstructured.Unstructured) ([]byte, types.PatchType, error) {
	wantJSON, err := json.Marshal(want.Object)
	if err != nil {
		return nil, "", fmt.Errorf("%s: encode the manifest: %w", NameOf(want), err)
	}
	liveJSON, err := json.Marshal(live.Object)
	if err != nil {
		return nil, "", fmt.Errorf("%s: encode the live object: %w", NameOf(want), err)
	}
	typed, err := scheme.Scheme.New(want.GroupVersionKind())
	if runtime.IsNotRegisteredError(err) {
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(wantJSON, wantJSON, liveJSON)
		if err != nil {
			return nil, "", fmt.Errorf("%s: compare it with the cluster: the manifest cannot be merged", NameOf(want))
		}
		return patch, types.MergePatchType, nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: find the type of the kind: %w", NameOf(want), err)
	}
	meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		return nil, "", fmt.Errorf("%s: find how the kind is merged: %w", NameOf(want), err)
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch(wantJSON, wantJSON, liveJSON, meta, true)
	if err != nil { // its text quotes the manifest
		return nil, "", fmt.Errorf("%s: compare it with the cluster: the manifest cannot be merged", NameOf(want))
	}
	return patch, types.StrategicMergePatchType, nil
}

func isEmpty(patch []byte) bool { return len(patch) == 0 || string(patch) == "{}" }

// withoutStringData returns a Secret as the API server stores it: stringData is never read back. It changes the object.
func withoutStringData(object *unstructured.Unstructured) *unstructured.Unstructured {
	texts, found, err := unstructured.NestedStringMap(object.Object, "stringData")
	if !isSecret(object) || !found || err != nil {
		return object
	}
	data, isMap := object.Object["data"].(map[string]any)
	if !isMap {
		data = map[string]any{}
	}
	for key, text := range texts {
		data[key] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	object.Object["data"] = data
	delete(object.Object, "stringData")
	return object
}

func isSecret(object *unstructured.Unstructured) bool {
	return object.GetKind() == "Secret" && object.GetAPIVersion() == "v1"
}
