package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/ketches/helm-operator/chartcache/index"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
	"github.com/ketches/helm-operator/chartcache/upstream"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// The folder of a catalog:
//
//	tmp/                          files that are being written; emptied at the start
//	repositories/<name>/<url>/    a configured repository; <name> and <url> are hashes
//	urls/<url>/<url>/             one that is known by its URL only
//
// and in each of the last ones
//
//	state.json                    record; it names the generation that counts
//	<random>.index                a generation
//	learned.log                   knowledge
//
// What was synced from another URL is in another folder, so it can never be served under the wrong one.
const (
	tempFolder         = disk.Temp
	repositoriesFolder = "repositories"
	urlsFolder         = "urls"
	stateFile          = "state.json"
	learnedFile        = "learned.log"
	indexSuffix        = ".index"
)

// recordFormat changes when an old record cannot be understood any more; it is a miss then.
const recordFormat = 1

// record is what a restart knows about a repository at one URL. It never holds credentials.
type record struct {
	Format int `json:"format"`
	// URL is set for repositories that are known by their URL only. Other URLs may hold tokens in their query.
	URL string `json:"url,omitempty"`
	// Index is the file of the generation that is served; empty when there is none.
	Index string `json:"index,omitempty"`
	// Validators of that generation.
	Validators upstream.Validators `json:"validators,omitzero"`
	// ObservedAt is when the last sync that found that generation began.
	ObservedAt         time.Time                    `json:"observedAt,omitzero"`
	ObservedGeneration int64                        `json:"observedGeneration,omitempty"`
	Outcome            chartcachev1.RepositoryState `json:"outcome"`
	LastSync           time.Time                    `json:"lastSync,omitzero"`
	LastCheck          time.Time                    `json:"lastCheck,omitzero"`
	NextSync           time.Time                    `json:"nextSync,omitzero"`
	LastError          *SyncError                   `json:"lastError,omitempty"`
	StaleSince         time.Time                    `json:"staleSince,omitzero"`
	LastUsed           time.Time                    `json:"lastUsed,omitzero"`
	// Known are the OCI charts that were asked for, sorted.
	Known []string `json:"known,omitempty"`
}

// stored is what a folder holds.
type stored struct {
	record    record
	reader    *index.Reader // nil when record.Index is empty
	knowledge *knowledge
}

// store reads and writes the folder. It locks nothing: the catalog lets nobody else touch a repository's folder. Names of
// folders and files are below the folder of the catalog.
type store struct {
	dir  string
	disk *disk.Folder
}

func openStore(dir string, hooks disk.Hooks) (store, error) {
	folder, err := disk.Open(dir, "the indexes and states of repositories", hooks)
	if err != nil {
		return store{}, err
	}
	s := store{dir: dir, disk: folder}
	for _, name := range []string{repositoriesFolder, urlsFolder} {
		if err := folder.Mkdir(name); err != nil {
			_ = folder.Close()
			return store{}, err
		}
	}
	return s, nil
}

// path is where a file or folder is for others than the store.
func (s store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// home is the folder of a repository, for all of its URLs.
func (s store) home(source Source) string {
	if source.Ref != nil {
		// Neither a namespace nor a name holds a slash.
		return path.Join(repositoriesFolder, hashName(source.Ref.String()))
	}
	return path.Join(urlsFolder, hashName(source.URL))
}

// folder is where the state of a repository at one URL is.
func (s store) folder(source Source, url string, plainHTTP bool) string {
	if plainHTTP {
		url = "plain " + url
	}
	return path.Join(s.home(source), hashName(url))
}

// load reads a folder and removes files that nothing refers to. What is missing, damaged or not understood counts as
// absent, each part for itself.
func (s store) load(folder string) stored {
	var found stored
	// What cannot be read at the moment (too many open files, say) may be whole: then nothing is removed.
	err := s.readJSON(path.Join(folder, stateFile), &found.record)
	sweepable := !isUnreadable(err)
	if err != nil || found.record.Format != recordFormat || !slices.IsSorted(found.record.Known) {
		found.record = record{}
	}
	if name := found.record.Index; name != "" {
		reader, err := index.Open(s.path(path.Join(folder, path.Base(name))))
		if err != nil {
			sweepable = sweepable && !isUnreadable(err)
			// Without the generation, what is said about it is meaningless; the charts to ask for are not.
			found.record = record{Format: recordFormat, URL: found.record.URL, LastUsed: found.record.LastUsed, Known: found.record.Known}
		}
		found.reader = reader
	}
	found.knowledge = s.loadKnowledge(folder)
	if sweepable {
		s.sweep(folder, found.record.Index)
	}
	return found
}

// isUnreadable reports whether err is a failure of the system, which says nothing about the file's content.
func isUnreadable(err error) bool {
	return errors.As(err, new(*fs.PathError)) && !errors.Is(err, fs.ErrNotExist)
}

// sweep removes what a crash or a superseded generation left, except the generation keep. Failures cost disk space only.
func (s store) sweep(folder, keep string) {
	for _, name := range s.list(folder) {
		if !slices.Contains([]string{stateFile, learnedFile, keep}, name) {
			_ = s.disk.Remove(path.Join(folder, name))
		}
	}
}

// list returns what is in a folder; nothing when that cannot be read.
func (s store) list(folder string) []string {
	d, err := s.disk.Root().Open(folder)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(-1) // those before an error
	return names
}

// build makes a generation in a temporary file and synchronises it. The caller closes the file.
func (s store) build(fill func(*index.Builder) error) (temp *disk.File, err error) {
	f, err := s.disk.Create()
	if err != nil {
		return nil, err
	}
	b := index.NewBuilder(f)
	err = fill(b)
	if err == nil {
		_, _, err = b.Finish()
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("build index: %w", err)
	}
	return f, nil
}

// adopt moves a synchronised temporary file into a folder and returns its name there. An error leaves it to be removed.
func (s store) adopt(folder string, temp *disk.File) (string, error) {
	name := path.Base(temp.Name()) + indexSuffix
	if err := temp.Rename(path.Join(folder, name)); err != nil {
		_ = s.disk.Remove(path.Join(folder, name))
		return "", err
	}
	return name, nil
}

// writeJSON replaces a file of a folder: after a crash, it has its old or its new content. An error that wraps
// disk.ErrNotSynced says that it has the new one.
func (s store) writeJSON(folder, name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return s.disk.Write(path.Join(folder, name), data)
}

// keepOnly removes the state of a repository at other URLs than the one of folder. Failures cost disk space only.
func (s store) keepOnly(folder string) {
	home := path.Dir(folder)
	for _, name := range s.list(home) {
		if name != path.Base(folder) {
			_ = s.disk.RemoveAll(path.Join(home, name))
		}
	}
}

// remove removes a repository.
func (s store) remove(source Source) error { return s.disk.RemoveAll(s.home(source)) }

// prune removes the folders of configured repositories other than those of keep.
func (s store) prune(keep map[string]bool) error {
	for _, name := range s.list(repositoriesFolder) {
		if home := path.Join(repositoriesFolder, name); !keep[home] {
			if err := s.disk.RemoveAll(home); err != nil {
				return err
			}
		}
	}
	return nil
}

// anonymous returns the URLs that the folder holds repositories for, and removes what it does not understand.
func (s store) anonymous() (urls []string) {
	for _, name := range s.list(urlsFolder) {
		var r record
		// Both folders are named after the same URL.
		err := s.readJSON(path.Join(urlsFolder, name, name, stateFile), &r)
		switch {
		case isUnreadable(err):
			// It may be whole, so it stays; the next start looks again.
		case err != nil || r.Format != recordFormat || hashName(r.URL) != name:
			_ = s.disk.RemoveAll(path.Join(urlsFolder, name))
		default:
			urls = append(urls, r.URL)
		}
	}
	return urls
}

func (s store) readJSON(name string, content any) error {
	data, err := s.disk.Root().ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path.Base(name), err)
	}
	if err := json.Unmarshal(data, content); err != nil {
		return fmt.Errorf("decode %s: %w", path.Base(name), err)
	}
	return nil
}

// hashName makes any text a file name.
func hashName(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
