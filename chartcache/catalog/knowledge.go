package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/index"
)

// maxDownloads bounds how many downloads of one repository are remembered; the oldest ones are forgotten first, which
// costs another download.
const maxDownloads = 4096

// knowledge is what was learned about the charts of a repository beyond what it lists. It outlives tarballs. It is
// immutable once it is in a repository: changes are made to a clone.
type knowledge struct {
	// Versions by chart and version.
	Versions map[string]map[string]learned `json:"versions,omitempty"`
	// Downloads by digest: tarballs that this repository itself gave. Another repository's copy of the same bytes is not
	// given out through this one before it has proved that it has them too.
	Downloads map[string]download `json:"downloads,omitempty"`
}

// learned is what was learned about one version.
type learned struct {
	// Listed identifies the entry as it was listed then. An entry that changed was published anew.
	Listed         string    `json:"listed"`
	Digest         string    `json:"digest"`
	ManifestDigest string    `json:"manifestDigest,omitempty"`
	Created        time.Time `json:"created,omitzero"`
	LearnedAt      time.Time `json:"learnedAt"`
	// Moved says that the tag of the version has been moved since it was first seen: the digest is part of the entry, so
	// that the chart has another revision than before.
	Moved bool `json:"moved,omitempty"`
	// Chart.yaml's own words, for OCI, whose tags say nothing. Nil before the first download.
	Metadata *blob.Metadata `json:"metadata,omitempty"`
}

// download is what was learned with a tarball.
type download struct {
	MediaType  string    `json:"mediaType,omitempty"`
	Provenance []byte    `json:"provenance,omitempty"`
	CachedAt   time.Time `json:"cachedAt"`
}

func (k *knowledge) init() {
	if k.Versions == nil {
		k.Versions = map[string]map[string]learned{}
	}
	if k.Downloads == nil {
		k.Downloads = map[string]download{}
	}
}

// clone returns a copy that can be changed.
func (k knowledge) clone() knowledge {
	copied := knowledge{Versions: make(map[string]map[string]learned, len(k.Versions)), Downloads: maps.Clone(k.Downloads)}
	for chart, versions := range k.Versions {
		copied.Versions[chart] = maps.Clone(versions)
	}
	copied.init()
	return copied
}

func (k knowledge) put(chart, version string, l learned) {
	if k.Versions[chart] == nil {
		k.Versions[chart] = map[string]learned{}
	}
	k.Versions[chart][version] = l
}

func (k knowledge) addDownload(digest string, d download) {
	k.Downloads[digest] = d
	for len(k.Downloads) > maxDownloads {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(k.Downloads)), func(a, b string) int {
			return k.Downloads[a].CachedAt.Compare(k.Downloads[b].CachedAt)
		})
		delete(k.Downloads, oldest)
	}
}

// complete fills in what was learned about an entry.
func (k knowledge) complete(e index.Entry) index.Entry {
	l, ok := k.Versions[e.Chart][e.Version]
	if !ok {
		return e
	}
	if e.Digest == "" {
		if l.Listed != listedAs(e) {
			return e
		}
		e.Digest, e.ManifestDigest = l.Digest, l.ManifestDigest
	}
	if e.Digest != l.Digest {
		return e
	}
	if e.ManifestDigest == "" {
		e.ManifestDigest = l.ManifestDigest
	}
	if e.Created.IsZero() {
		e.Created = l.Created
	}
	if m := l.Metadata; m != nil {
		e.AppVersion, e.Description, e.Icon, e.Type, e.Deprecated = m.AppVersion, m.Description, m.Icon, m.Type, m.Deprecated
	}
	return e
}

// moved returns what is listed about a version whose tag moved, nothing for other versions.
func (k knowledge) moved(chart, version string) index.Entry {
	l := k.Versions[chart][version]
	if !l.Moved {
		return index.Entry{}
	}
	return index.Entry{Digest: l.Digest, ManifestDigest: l.ManifestDigest, Created: l.Created}
}

// listedAs identifies an entry by all that the repository says about it.
func listedAs(e index.Entry) string {
	data, err := json.Marshal(e)
	if err != nil { // the entry was read from JSON
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
