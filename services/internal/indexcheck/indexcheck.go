// Package indexcheck compares what chartcache reads from a repository index with what Helm reads from it.
//
// It is for tests and benchmarks: it links Helm's loader, which the index package itself must never do.
package indexcheck

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/repo"

	"github.com/ketches/helm-operator/chartcache/index"
)

// Build reads an index as chartcache does, with the charts of before reused (nil for none). The file is in folder until it is
// open. The caller closes the Reader.
func Build(folder string, text []byte, before *index.Reader) (*index.Reader, error) {
	f, err := os.CreateTemp(folder, "*.index")
	if err != nil {
		return nil, fmt.Errorf("create a generation: %w", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	b := index.NewBuilder(f)
	if err := index.ReadHelm(bytes.NewReader(text), before, b); err != nil {
		return nil, fmt.Errorf("build a generation: %w", err)
	}
	if _, _, err := b.Finish(); err != nil {
		return nil, fmt.Errorf("finish a generation: %w", err)
	}
	r, err := index.Open(f.Name())
	if err != nil {
		return nil, fmt.Errorf("open a generation: %w", err)
	}
	return r, nil
}

// ErrRefused says that Helm refuses an index as a whole, so that there is nothing to compare with.
var ErrRefused = errors.New("refused by Helm")

// Load reads an index as Helm does. The error wraps ErrRefused when Helm refuses it.
func Load(folder string, text []byte) (*repo.IndexFile, error) {
	name := filepath.Join(folder, "helm-index.yaml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return nil, fmt.Errorf("write an index: %w", err)
	}
	loaded, err := repo.LoadIndexFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return loaded, nil
}

// Equal says how ours differs from what Helm loaded; nil when it does not. Versions that are listed several times may be
// described by any of their entries, since Helm itself picks one by chance.
func Equal(loaded *repo.IndexFile, ours *index.Reader) error {
	var differences []error
	charts, err := ours.Charts()
	if err != nil {
		return err
	}
	for name, versions := range loaded.Entries {
		if len(versions) == 0 {
			continue
		}
		if !slices.Contains(charts, name) {
			if name == "" || len(name) > 512 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				continue // no chart can be called so
			}
			differences = append(differences, fmt.Errorf("chart %q is missing", name))
			continue
		}
		entries, _, err := ours.Versions(name)
		if err != nil {
			return err
		}
		differences = append(differences, equalChart(name, versions, entries)...)
	}
	for _, name := range charts {
		if len(loaded.Entries[name]) == 0 {
			differences = append(differences, fmt.Errorf("chart %q is not in the index", name))
		}
	}
	return errors.Join(differences...)
}

func equalChart(name string, versions repo.ChartVersions, entries []index.Entry) []error {
	var differences []error
	want := map[string][]string{}
	for _, v := range versions {
		if y := v.Created.Year(); y < 0 || y > 9999 {
			continue
		}
		want[v.Version] = append(want[v.Version], describe(index.Entry{
			Version: v.Version, AppVersion: v.AppVersion, Digest: v.Digest, Description: v.Description, Icon: v.Icon, Type: v.Type,
			Deprecated: v.Deprecated, Created: v.Created, URLs: v.URLs,
		}))
	}
	for _, e := range entries {
		got := describe(e)
		if !slices.Contains(want[e.Version], got) {
			differences = append(differences, fmt.Errorf("chart %q: have %s, want one of %s", name, got, want[e.Version]))
		}
		delete(want, e.Version)
	}
	for version := range want {
		differences = append(differences, fmt.Errorf("chart %q: version %q is missing", name, version))
	}
	return differences
}

// describe writes all that must be equal.
func describe(e index.Entry) string {
	created := ""
	if !e.Created.IsZero() {
		created = e.Created.UTC().Format(time.RFC3339Nano)
	}
	digest := strings.TrimPrefix(e.Digest, "sha256:")
	if len(digest) == 64 {
		digest = strings.ToLower(digest)
	}
	return fmt.Sprintf("%q app=%q digest=%q description=%q icon=%q type=%q deprecated=%t created=%q urls=%q",
		e.Version, e.AppVersion, digest, e.Description, e.Icon, e.Type, e.Deprecated, created, e.URLs)
}
