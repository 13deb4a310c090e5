package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ketches/helm-operator/chartcache/blob"
	"github.com/ketches/helm-operator/chartcache/index"
)

const (
	// maxDownloads bounds how many downloads of one repository are remembered. The oldest eighth is forgotten at once when
	// there are more, which costs other downloads.
	maxDownloads = 4096
	// maxMetadataBytes bounds each text of a Chart.yaml that is remembered: Helm's charts need a tenth of it.
	maxMetadataBytes = 4096
	// slackFacts is how many facts more than twice those that count a file may hold before it is written anew.
	slackFacts = 1000
)

// knowledge is what was learned about the charts of a repository beyond what it lists. It outlives tarballs. On disk it is
// a log of facts, so that learning one thing costs the same however much is known; a sync that changes the index writes
// it anew without what is not listed any more. Its methods may be called concurrently; the log is only written while the
// repository's disk lock is held.
type knowledge struct {
	// mu guards the fields below.
	mu sync.RWMutex
	// versions by chart and version.
	versions map[string]map[string]learned
	// downloads by digest: tarballs that this repository itself gave. Another repository's copy of the same bytes is not
	// given out through this one before it has proved that it has them too.
	downloads map[string]download
	// facts is how many the file holds, and count how many versions are known.
	facts, count int
	// partial says that the file could not be read, so that it must not be written anew: it may hold more.
	partial bool
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
	MediaType string `json:"mediaType,omitempty"`
	// Provenance is the digest of the .prov file, which is a blob like the tarball: when it is evicted, both are
	// downloaded again. Empty when there is none.
	Provenance string    `json:"provenance,omitempty"`
	CachedAt   time.Time `json:"cachedAt"`
}

// fact is one thing that was learned: about a version, or about a download.
type fact struct {
	Chart   string   `json:"chart,omitempty"`
	Version string   `json:"version,omitempty"`
	Learned *learned `json:"learned,omitempty"`

	Digest   string    `json:"digest,omitempty"`
	Download *download `json:"download,omitempty"`
}

func newKnowledge() *knowledge {
	return &knowledge{versions: map[string]map[string]learned{}, downloads: map[string]download{}}
}

// loadKnowledge reads a folder's log. A fact that is damaged, or was not written to its end, is one that was not learned.
func (s store) loadKnowledge(folder string) *knowledge {
	k := newKnowledge()
	data, err := s.disk.Root().ReadFile(path.Join(folder, learnedFile))
	if err != nil {
		k.partial = !errors.Is(err, fs.ErrNotExist)
		return k
	}
	for line := range bytes.Lines(data) {
		k.facts++
		if f, ok := decodeFact(bytes.TrimSpace(line)); ok {
			k.take(f)
		}
	}
	return k
}

// learn writes facts, then knows them. An error says that nothing counts.
func (s store) learn(folder string, k *knowledge, facts []fact) error {
	k.mu.RLock()
	lasting := slices.ContainsFunc(facts, k.mustLast)
	full := !k.partial && k.facts > 2*(k.count+len(k.downloads))+slackFacts
	k.mu.RUnlock()
	if full {
		if err := s.rewrite(folder, k); err != nil {
			return err
		}
	}
	var lines []byte
	for _, f := range facts {
		line, err := encodeFact(f)
		if err != nil {
			return fmt.Errorf("encode what was learned: %w", err)
		}
		lines = append(lines, line...)
	}
	if err := s.disk.Append(path.Join(folder, learnedFile), lines, lasting); err != nil {
		return fmt.Errorf("keep what was learned: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range facts {
		k.facts++
		k.take(f)
	}
	return nil
}

// mustLast reports whether a fact must survive a crash of the machine: a digest is given out as an answer, and a later
// difference from it is an error. Everything else can be learned again without changing an answer. The caller holds mu.
func (k *knowledge) mustLast(f fact) bool {
	return f.Learned != nil && k.versions[f.Chart][f.Version].Digest != f.Learned.Digest
}

// forget drops versions that are not listed any more, and writes the log anew where that makes a difference.
func (s store) forget(folder string, k *knowledge, listed *index.Reader) error {
	k.mu.RLock()
	charts := slices.Collect(maps.Keys(k.versions))
	k.mu.RUnlock()
	changed := false
	for _, chart := range charts {
		entries, _, err := listed.Versions(chart)
		if err != nil {
			return fmt.Errorf("list versions: %w", err)
		}
		versions := make(map[string]bool, len(entries))
		for _, e := range entries {
			versions[e.Version] = true
		}
		k.mu.Lock()
		before := len(k.versions[chart])
		maps.DeleteFunc(k.versions[chart], func(version string, _ learned) bool { return !versions[version] })
		gone := before - len(k.versions[chart])
		k.count -= gone
		changed = changed || gone > 0
		if len(k.versions[chart]) == 0 {
			delete(k.versions, chart)
		}
		k.mu.Unlock()
	}
	if !changed {
		return nil
	}
	return s.rewrite(folder, k)
}

// rewrite replaces the log by one of what is known.
func (s store) rewrite(folder string, k *knowledge) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.partial {
		return nil
	}
	var data []byte
	facts := 0
	add := func(f fact) error {
		line, err := encodeFact(f)
		data = append(data, line...)
		facts++
		return err
	}
	for chart, versions := range k.versions {
		for version, l := range versions {
			if err := add(fact{Chart: chart, Version: version, Learned: &l}); err != nil {
				return fmt.Errorf("encode what was learned: %w", err)
			}
		}
	}
	for digest, d := range k.downloads {
		if err := add(fact{Digest: digest, Download: &d}); err != nil {
			return fmt.Errorf("encode what was learned: %w", err)
		}
	}
	if err := s.disk.Write(path.Join(folder, learnedFile), data); err != nil {
		return fmt.Errorf("keep what was learned: %w", err)
	}
	k.facts = facts
	return nil
}

// encodeFact makes a line of a fact: its checksum and its JSON. The line break comes first, so that a line that was not
// written to its end spoils no other.
func encodeFact(f fact) ([]byte, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "\n%08x %s", crc32.ChecksumIEEE(data), data), nil
}

func decodeFact(line []byte) (f fact, ok bool) {
	sum, data, _ := bytes.Cut(line, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || want != uint64(crc32.ChecksumIEEE(data)) || json.Unmarshal(data, &f) != nil {
		return fact{}, false
	}
	return f, true
}

// take adds a fact to what is known. The caller holds mu, or nobody else knows k yet.
func (k *knowledge) take(f fact) {
	if f.Learned != nil {
		if k.versions[f.Chart] == nil {
			k.versions[f.Chart] = map[string]learned{}
		}
		if _, again := k.versions[f.Chart][f.Version]; !again {
			k.count++
		}
		k.versions[f.Chart][f.Version] = *f.Learned
	}
	if f.Download != nil {
		k.downloads[f.Digest] = *f.Download
		k.boundDownloads()
	}
}

func (k *knowledge) boundDownloads() {
	if len(k.downloads) <= maxDownloads {
		return
	}
	digests := slices.SortedFunc(maps.Keys(k.downloads), func(a, b string) int {
		return k.downloads[a].CachedAt.Compare(k.downloads[b].CachedAt)
	})
	for _, digest := range digests[:len(digests)-maxDownloads*7/8] {
		delete(k.downloads, digest)
	}
}

// version returns what was learned about a version.
func (k *knowledge) version(chart, version string) (l learned, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	l, ok = k.versions[chart][version]
	return l, ok
}

// downloaded returns what was learned with a tarball.
func (k *knowledge) downloaded(digest string) (d download, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	d, ok = k.downloads[digest]
	return d, ok
}

// complete fills in what was learned about an entry.
func (k *knowledge) complete(e index.Entry) index.Entry {
	l, ok := k.version(e.Chart, e.Version)
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
func (k *knowledge) moved(chart, version string) index.Entry {
	l, _ := k.version(chart, version)
	return l.movedEntry()
}

func (l learned) movedEntry() index.Entry {
	if !l.Moved {
		return index.Entry{}
	}
	return index.Entry{Digest: l.Digest, ManifestDigest: l.ManifestDigest, Created: l.Created}
}

// bounded leaves out texts that no chart needs, so that what is remembered stays small.
func bounded(m blob.Metadata) *blob.Metadata {
	for _, text := range []*string{&m.APIVersion, &m.Name, &m.Version, &m.AppVersion, &m.Description, &m.Type, &m.Icon} {
		if len(*text) > maxMetadataBytes {
			*text = ""
		}
	}
	return &m
}

// listedAs identifies an entry by all that the repository says about it.
func listedAs(e index.Entry) string {
	data, err := json.Marshal(e)
	if err != nil { // the entry was read from JSON
		return ""
	}
	return hashName(string(data))
}
