// Package disk changes the files of one folder so that a crash at any moment leaves each of them as it was or as it was
// meant to be: a file is written in a temporary folder, synchronised, renamed, and the folder that names it is synchronised
// too.
//
// It knows nothing of what the files hold, and never follows a path out of its folder. Its errors are cacheerr.Errors with
// reason INTERNAL that say for which purpose the folder is there and what to do.
package disk

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// Temp is the folder of files that are being written, below every Folder. It is emptied by Open.
const Temp = "tmp"

// Operations, as Hooks.Step is told of them.
const (
	OpMkdir      = "mkdir"
	OpCreate     = "create"
	OpWrite      = "write"
	OpSync       = "sync"
	OpRename     = "rename"
	OpSyncFolder = "syncfolder"
	OpRemove     = "remove"
)

// ErrNotSynced says that a file is in place, but that its folder could not be synchronised: a crash of the machine, not of
// the process, may bring back what was there before.
var ErrNotSynced = errors.New("the folder could not be synchronised")

// Hooks is the seam at which tests inject faults. The zero value injects none.
type Hooks struct {
	// Step is called before each operation that changes the disk, with one of the Op constants and the name below the
	// folder. An error makes the operation fail without being done. It may be called concurrently.
	Step func(op, name string) error
}

// Folder is a folder that belongs to its user alone. Names are below it, with slashes. Its methods may be called
// concurrently.
type Folder struct {
	root    *os.Root
	purpose string
	hooks   Hooks

	// mu guards leftovers, temporary files that could not be removed, to be removed later; and lasting, the folders that are
	// surely there after a crash.
	mu        sync.Mutex
	leftovers []string
	lasting   map[string]bool
}

// Open opens a folder, which is made when missing, and removes what interrupted writes left. purpose completes messages:
// "cannot write <purpose>".
func Open(dir, purpose string, hooks Hooks) (*Folder, error) {
	f := &Folder{purpose: purpose, hooks: hooks, lasting: map[string]bool{}}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, f.failed(err, "make the folder of")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, f.failed(err, "open the folder of")
	}
	f.root = root
	if err := root.RemoveAll(Temp); err != nil {
		_ = root.Close()
		return nil, f.failed(err, "remove what interrupted writes left of")
	}
	if err := f.Mkdir(Temp); err != nil {
		_ = root.Close()
		return nil, err
	}
	return f, nil
}

// Root is for reading.
func (f *Folder) Root() *os.Root { return f.root }

// Close gives up the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Mkdir makes a folder and those above it, where they are missing, so that they are there after a crash.
func (f *Folder) Mkdir(name string) error {
	if name == "." {
		return nil
	}
	info, err := f.root.Lstat(name)
	exists := err == nil && info.IsDir()
	if exists && f.isLasting(name) {
		return nil
	}
	parent := path.Dir(name)
	if err := f.Mkdir(parent); err != nil {
		return err
	}
	if !exists {
		err := f.do(OpMkdir, name, func() error { return f.root.Mkdir(name, 0o750) })
		if err != nil && !errors.Is(err, fs.ErrExist) { // somebody else may have been faster
			return f.failed(err, "write")
		}
	}
	// One that is there may have been made by a process that ended before it could do this.
	if err := f.SyncFolder(parent); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lasting[name] = true
	return nil
}

// isLasting says whether this process made sure that a folder is there after a crash.
func (f *Folder) isLasting(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lasting[name]
}

// SyncFolder makes what was created, renamed and removed in a folder last.
func (f *Folder) SyncFolder(name string) error {
	err := f.do(OpSyncFolder, name, func() error {
		d, err := f.root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = d.Close() }()
		return d.Sync()
	})
	if err != nil {
		return f.failed(err, "write")
	}
	return nil
}

// Write replaces a file, or makes it, and the folders above it: after a crash, it has its old or its new content. An error
// that wraps ErrNotSynced says that it has the new one now.
func (f *Folder) Write(name string, data []byte) error {
	file, err := f.Create()
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, bytes.NewReader(data)); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Rename(name)
}

// Append adds data to a file, and makes the file, with the folders above it, where it is missing. With lasting set, it is
// there after a crash of the machine; without, after one of the process only. After an error, a part of data may be there.
func (f *Folder) Append(name string, data []byte, lasting bool) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return f.Write(name, data)
	}
	if err != nil {
		return f.failed(err, "write")
	}
	defer func() { _ = file.Close() }()
	err = f.do(OpWrite, name, func() error {
		_, err := file.Write(data)
		return err
	})
	if err == nil && lasting {
		err = f.do(OpSync, name, file.Sync)
	}
	if err != nil {
		return f.failed(err, "write")
	}
	return nil
}

// Remove removes a file. One that is not there is fine. It may be back after a crash of the machine.
func (f *Folder) Remove(name string) error {
	err := f.do(OpRemove, name, func() error { return f.root.Remove(name) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.failed(err, "remove a file of")
	}
	return nil
}

// RemoveAll removes a folder with all that it holds. One that is not there is fine.
func (f *Folder) RemoveAll(name string) error {
	if err := f.do(OpRemove, name, func() error { return f.root.RemoveAll(name) }); err != nil {
		return f.failed(err, "remove a folder of")
	}
	if err := f.SyncFolder(path.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// do asks the hook, then does an operation.
func (f *Folder) do(op, name string, operation func() error) error {
	if f.hooks.Step != nil {
		if err := f.hooks.Step(op, name); err != nil {
			return err
		}
	}
	return operation()
}

func (f *Folder) failed(err error, what string) error {
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, err, "chartcache cannot %s %s: %s", what, f.purpose, advice(err))
}

// advice says what a system error means for whoever runs the process, without any path.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "the disk is full; make room, or use a larger volume"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "its volume is read-only, or belongs to another user; mount it so that this process may write"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too many files are open; raise the limit of open files"
	default:
		return "the disk fails; the log says how"
	}
}

// newTemp is a new name in the temporary folder.
func newTemp() string { return path.Join(Temp, rand.Text()) }

// Create creates a temporary file. Its user must close it.
func (f *Folder) Create() (*File, error) {
	f.removeLeftovers()
	name := newTemp()
	var file *os.File
	err := f.do(OpCreate, name, func() (err error) {
		file, err = f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
		return err
	})
	if err != nil {
		return nil, f.failed(err, "write")
	}
	return &File{folder: f, file: file, name: name}, nil
}

// discard removes a temporary file, now or later.
func (f *Folder) discard(name string) {
	if f.Remove(name) == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leftovers = append(f.leftovers, name)
}

// removeLeftovers tries again what discard could not do.
func (f *Folder) removeLeftovers() {
	f.mu.Lock()
	names := f.leftovers
	f.leftovers = nil
	f.mu.Unlock()
	for _, name := range names {
		f.discard(name)
	}
}

// File is a temporary file until it is renamed. It is not safe for concurrent use.
type File struct {
	folder  *Folder
	file    *os.File
	name    string
	renamed bool
}

// Name is where the file is now, below the folder.
func (f *File) Name() string { return f.name }

// Write appends to the file.
func (f *File) Write(p []byte) (n int, err error) {
	err = f.folder.do(OpWrite, f.name, func() (err error) {
		n, err = f.file.Write(p)
		return err
	})
	if err != nil {
		return n, f.folder.failed(err, "write")
	}
	return n, nil
}

// Content reads what was written, from the start.
func (f *File) Content() (io.Reader, error) {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return nil, f.folder.failed(err, "read back")
	}
	return f.file, nil
}

// Sync makes the content last.
func (f *File) Sync() error {
	if err := f.folder.do(OpSync, f.name, f.file.Sync); err != nil {
		return f.folder.failed(err, "write")
	}
	return nil
}

// Rename moves a synchronised file to its place, where it replaces what is there, and makes missing folders. An error that
// wraps ErrNotSynced says that it is there.
func (f *File) Rename(name string) error {
	dir := path.Dir(name)
	if err := f.folder.Mkdir(dir); err != nil {
		return err
	}
	if err := f.folder.do(OpRename, name, func() error { return f.folder.root.Rename(f.name, name) }); err != nil {
		return f.folder.failed(err, "write")
	}
	f.name, f.renamed = name, true
	if err := f.folder.SyncFolder(dir); err != nil {
		return f.folder.failed(fmt.Errorf("%w: %w", ErrNotSynced, err), "write")
	}
	return nil
}

// Close closes the file, and removes it unless it was renamed. Closing twice does nothing.
func (f *File) Close() {
	if f.file == nil {
		return
	}
	// What counts was synchronised before, so a failed close loses nothing.
	_ = f.file.Close()
	f.file = nil
	if !f.renamed {
		f.folder.discard(f.name)
	}
}
