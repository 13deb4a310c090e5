package v1alpha1

import (
	"bytes"
	"encoding/json"
)

// Values is a JSON value of any kind: a string that holds a YAML document, or an object.
//
// +kubebuilder:object:generate=false
type Values struct {
	// Raw is the JSON text as it stands in the object; nil means not set.
	Raw json.RawMessage
}

// ValuesFromString returns the string form of values: a YAML document.
func ValuesFromString(yaml string) *Values {
	raw, err := json.Marshal(yaml)
	if err != nil { // a string can always be marshalled
		panic(err)
	}
	return &Values{Raw: raw}
}

// MarshalJSON returns the value as it was read.
func (v Values) MarshalJSON() ([]byte, error) {
	if len(v.Raw) == 0 {
		return []byte("null"), nil
	}
	return v.Raw, nil
}

// UnmarshalJSON keeps any JSON value as it is.
func (v *Values) UnmarshalJSON(data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		v.Raw = nil
		return nil
	}
	v.Raw = bytes.Clone(data)
	return nil
}

// DeepCopyInto copies the value into out.
func (v *Values) DeepCopyInto(out *Values) {
	out.Raw = bytes.Clone(v.Raw)
}

// DeepCopy returns a copy of the value.
func (v *Values) DeepCopy() *Values {
	if v == nil {
		return nil
	}
	out := new(Values)
	v.DeepCopyInto(out)
	return out
}
