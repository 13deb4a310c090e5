package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ketches/helm-operator/chartcache/index"
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
//	learned.json                  knowledge
//
// What was synced from another URL is in another folder, so it can never be served under the wrong one.
const (
	tempFolder         = "tmp"
	repositoriesFolder = "repositories"
	urlsFolder         = "urls"
	stateFile          = "state.json"
	learnedFile        = "learned.json"
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
	knowledge knowledge
}

// store reads and writes the folder. It locks nothing: the catalog lets nobody else touch a repository's folder.
type store struct{ dir string }

func openStore(dir string) (store, error) {
	s := store{dir: dir}
	if err := os.RemoveAll(filepath.Join(dir, tempFolder)); err != nil {
		return s, fmt.Errorf("remove what interrupted writes left: %w", err)
	}
	for _, folder := range []string{tempFolder, repositoriesFolder, urlsFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o750); err != nil {
			return s, fmt.Errorf("make the folder of the catalog: %w", err)
		}
	}
	return s, nil
}

// home is the folder of a repository, for all of its URLs.
func (s store) home(source Source) string {
	if source.Ref != nil {
		// Neither a namespace nor a name holds a slash.
		return filepath.Join(s.dir, repositoriesFolder, hashName(source.Ref.String()))
	}
	return filepath.Join(s.dir, urlsFolder, hashName(source.URL))
}

// folder is where the state of a repository at one URL is.
func (s store) folder(source Source, url string, plainHTTP bool) string {
	if plainHTTP {
		url = "plain " + url
	}
	return filepath.Join(s.home(source), hashName(url))
}

// load reads a folder and removes files that nothing refers to. What is missing, damaged or not understood counts as
// absent, each part for itself.
func (s store) load(folder string) stored {
	var found stored
	// What cannot be read at the moment (too many open files, say) may be whole: then nothing is removed.
	err := readJSON(filepath.Join(folder, stateFile), &found.record)
	sweepable := !isUnreadable(err)
	if err != nil || found.record.Format != recordFormat || !slices.IsSorted(found.record.Known) {
		found.record = record{}
	}
	if name := found.record.Index; name != "" {
		reader, err := index.Open(filepath.Join(folder, filepath.Base(name)))
		if err != nil {
			sweepable = sweepable && !isUnreadable(err)
			// Without the generation, what is said about it is meaningless; the charts to ask for are not.
			found.record = record{Format: recordFormat, URL: found.record.URL, LastUsed: found.record.LastUsed, Known: found.record.Known}
		}
		found.reader = reader
	}
	if readJSON(filepath.Join(folder, learnedFile), &found.knowledge) != nil {
		found.knowledge = knowledge{}
	}
	found.knowledge.init()
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
	files, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, f := range files {
		if !slices.Contains([]string{stateFile, learnedFile, keep}, f.Name()) {
			_ = os.RemoveAll(filepath.Join(folder, f.Name()))
		}
	}
}

// temp creates a file to be renamed.
func (s store) temp() (*os.File, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, tempFolder), "*"+indexSuffix)
	if err != nil {
		return nil, fmt.Errorf("create a temporary file: %w", err)
	}
	return f, nil
}

// adopt renames a synchronised temporary file into a folder and returns its name there.
func (s store) adopt(folder, temp string) (string, error) {
	name := filepath.Base(temp)
	if err := s.rename(temp, folder, name); err != nil {
		return "", err
	}
	return name, nil
}

// writeJSON replaces a file of a folder: after a crash, it has its old or its new content.
func (s store) writeJSON(folder, name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	f, err := s.temp()
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return s.rename(f.Name(), folder, name)
}

// rename moves a temporary file into a folder, which is made when missing, so that it is there after a crash.
func (s store) rename(temp, folder, name string) error {
	err := s.makeFolder(folder)
	if err == nil {
		err = os.Rename(temp, filepath.Join(folder, name))
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncFolder(folder)
}

func (s store) makeFolder(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	// The folder of the repository may be new too.
	home := filepath.Dir(folder)
	return errors.Join(syncFolder(home), syncFolder(filepath.Dir(home)))
}

// keepOnly removes the state of a repository at other URLs than the one of folder.
func (s store) keepOnly(folder string) {
	home := filepath.Dir(folder)
	folders, err := os.ReadDir(home)
	if err != nil {
		return
	}
	for _, f := range folders {
		if f.Name() != filepath.Base(folder) {
			_ = os.RemoveAll(filepath.Join(home, f.Name()))
		}
	}
}

// remove removes a repository.
func (s store) remove(source Source) error {
	home := s.home(source)
	if err := os.RemoveAll(home); err != nil {
		return fmt.Errorf("remove a repository's folder: %w", err)
	}
	return syncFolder(filepath.Dir(home))
}

// prune removes the folders of configured repositories other than those of keep.
func (s store) prune(keep map[string]bool) error {
	parent := filepath.Join(s.dir, repositoriesFolder)
	folders, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("list the repositories on disk: %w", err)
	}
	for _, f := range folders {
		if home := filepath.Join(parent, f.Name()); !keep[home] {
			if err := os.RemoveAll(home); err != nil {
				return fmt.Errorf("remove a repository's folder: %w", err)
			}
		}
	}
	return nil
}

// anonymous returns the URLs that the folder holds repositories for, and removes what it does not understand.
func (s store) anonymous() ([]string, error) {
	parent := filepath.Join(s.dir, urlsFolder)
	folders, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("list the repositories on disk: %w", err)
	}
	var urls []string
	for _, f := range folders {
		var r record
		// Both folders are named after the same URL.
		err := readJSON(filepath.Join(parent, f.Name(), f.Name(), stateFile), &r)
		if err != nil || r.Format != recordFormat || hashName(r.URL) != f.Name() {
			_ = os.RemoveAll(filepath.Join(parent, f.Name()))
			continue
		}
		urls = append(urls, r.URL)
	}
	return urls, nil
}

func readJSON(name string, content any) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(name), err)
	}
	if err := json.Unmarshal(data, content); err != nil {
		return fmt.Errorf("decode %s: %w", filepath.Base(name), err)
	}
	return nil
}

func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("synchronise a folder: %w", err)
	}
	err = d.Sync()
	_ = d.Close()
	if err != nil {
		return fmt.Errorf("synchronise a folder: %w", err)
	}
	return nil
}

// hashName makes any text a file name.
func hashName(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
