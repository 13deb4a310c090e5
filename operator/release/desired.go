package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// desired is all that decides what a chart renders to. Timeouts, hooks and wait flags are not part of it: to change them
// upgrades nothing.
type desired struct {
	// Format grows when the meaning of the other fields changes.
	Format int `json:"format"`
	// Chart is the digest of the tarball.
	Chart string `json:"chart"`
	// Values is the digest of the composed values.
	Values string `json:"values"`
	// Namespace and Name of the release.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// PostRender is the digest of what is changed after rendering. It is left out when that is nothing.
	PostRender string `json:"postRender,omitempty"`
}

// desiredDigest returns a digest that is equal when the same thing should be deployed.
func desiredDigest(chartDigest, valuesDigest string, target Target, postRenderDigest string) string {
	text, err := json.Marshal(desired{
		Format: 1, Chart: chartDigest, Values: valuesDigest, Namespace: target.Namespace, Name: target.Name,
		PostRender: postRenderDigest,
	})
	if err != nil { // strings and a number can always be marshalled
		panic(fmt.Sprintf("marshal what is desired: %v", err))
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// OwnerHash names a HelmRelease in a label. A label value has at most 63 characters; namespace and name together may have
// more.
func OwnerHash(namespace, name string) string {
	sum := sha256.Sum256([]byte(namespace + "/" + name))
	return hex.EncodeToString(sum[:16])
}
