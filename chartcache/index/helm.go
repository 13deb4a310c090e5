package index

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// maxEntries bounds the entries of an index. Aliases could make a small file expand to any number; the largest public
// index has 27 thousand.
const maxEntries = 1_000_000

// ReadHelm adds the charts of an index.yaml, as YAML or JSON, to b. An entry that Helm would not accept is left out and
// counted; a file that is no index at all is INDEX_REJECTED. Errors of r and of the stream of b are passed on, wrapped.
func ReadHelm(r io.Reader, b *Builder) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	b.SetSourceBytes(int64(len(data)))
	if trimmed := bytes.TrimSpace(data); bytes.HasPrefix(trimmed, []byte("<")) {
		return notAnIndex(nil, "it looks like a web page")
	}
	// YAML forbids the tabs that JSON may be indented with.
	if json.Valid(data) {
		return readJSON(data, b)
	}
	return readYAML(data, b)
}

// helmEntry is the part of an entry that is kept. The name is only checked: Helm finds charts by the key of the map.
type helmEntry struct {
	Name        string   `yaml:"name" json:"name"`
	Version     string   `yaml:"version" json:"version"`
	AppVersion  string   `yaml:"appVersion" json:"appVersion"`
	Digest      string   `yaml:"digest" json:"digest"`
	Description string   `yaml:"description" json:"description"`
	Icon        string   `yaml:"icon" json:"icon"`
	Type        string   `yaml:"type" json:"type"`
	Deprecated  bool     `yaml:"deprecated" json:"deprecated"`
	Created     string   `yaml:"created" json:"created"`
	URLs        []string `yaml:"urls" json:"urls"`
}

// entry converts h; ok is false for what Helm does not accept.
func (h helmEntry) entry() (e Entry, ok bool) {
	if h.Name == "" || !slices.Contains([]string{"", "application", "library"}, h.Type) {
		return Entry{}, false
	}
	e = Entry{
		Version: h.Version, AppVersion: h.AppVersion, Digest: normalDigest(h.Digest), Description: h.Description,
		Icon: h.Icon, Type: h.Type, Deprecated: h.Deprecated, URLs: h.URLs,
	}
	if h.Created != "" {
		created, err := time.Parse(time.RFC3339, h.Created)
		if err != nil {
			return Entry{}, false
		}
		e.Created = created.UTC()
	}
	return e, true
}

// normalDigest gives the bare digits that Helm writes, in any case, their usual form. Anything else stays as it is.
func normalDigest(digest string) string {
	digits := strings.ToLower(strings.TrimPrefix(digest, "sha256:"))
	if raw, err := hex.DecodeString(digits); err != nil || len(raw) != 32 {
		return digest
	}
	return "sha256:" + digits
}

func readJSON(data []byte, b *Builder) error {
	var file struct {
		APIVersion string                       `json:"apiVersion"`
		Entries    map[string][]json.RawMessage `json:"entries"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return notAnIndex(err, "its shape is not that of an index")
	}
	if file.APIVersion == "" {
		return notAnIndex(nil, "it has no apiVersion")
	}
	total := 0
	for chart, raw := range file.Entries {
		if total += len(raw); total > maxEntries {
			return tooMany()
		}
		entries := make([]Entry, 0, len(raw))
		for _, encoded := range raw {
			var h helmEntry
			if json.Unmarshal(encoded, &h) != nil {
				b.Reject(1)
				continue
			}
			entries = appendValid(b, entries, h)
		}
		if err := b.Add(chart, entries); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	return nil
}

func readYAML(data []byte, b *Builder) error {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return notAnIndex(err, "it is not valid YAML")
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return notAnIndex(nil, "it is empty")
	}
	top := target(document.Content[0])
	if top.Kind != yaml.MappingNode {
		return notAnIndex(nil, "it is not a mapping")
	}
	var apiVersion string
	if node := valueOf(top, "apiVersion"); node == nil || node.Decode(&apiVersion) != nil || apiVersion == "" {
		return notAnIndex(nil, "it has no apiVersion")
	}
	entries := valueOf(top, "entries")
	switch {
	case entries == nil || entries.Tag == "!!null":
		return nil // an empty repository
	case entries.Kind != yaml.MappingNode:
		return notAnIndex(nil, "its entries are not a mapping")
	}
	return addCharts(entries, b)
}

// addCharts adds what the mapping "entries" holds.
func addCharts(node *yaml.Node, b *Builder) error {
	total := 0
	for i := 0; i+1 < len(node.Content); i += 2 {
		chart, versions := target(node.Content[i]), target(node.Content[i+1])
		if versions.Tag == "!!null" {
			continue
		}
		if chart.Kind != yaml.ScalarNode || versions.Kind != yaml.SequenceNode {
			b.Reject(1)
			continue
		}
		if total += len(versions.Content); total > maxEntries {
			return tooMany()
		}
		entries := make([]Entry, 0, len(versions.Content))
		for _, version := range versions.Content {
			var h helmEntry
			if target(version).Kind != yaml.MappingNode || version.Decode(&h) != nil {
				b.Reject(1)
				continue
			}
			entries = appendValid(b, entries, h)
		}
		if err := b.Add(chart.Value, entries); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	return nil
}

func appendValid(b *Builder, entries []Entry, h helmEntry) []Entry {
	e, ok := h.entry()
	if !ok {
		b.Reject(1)
		return entries
	}
	return append(entries, e)
}

// target is the node that an alias stands for.
func target(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// valueOf returns the value of a key of a mapping; nil when it has no such key.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return target(mapping.Content[i+1])
		}
	}
	return nil
}

func notAnIndex(err error, why string) error {
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, err, "what upstream sends is not a chart index: %s", why)
}

func tooMany() error {
	return cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_INDEX_REJECTED, "the index has more than %d entries", maxEntries)
}
