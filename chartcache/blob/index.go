package blob

import (
	"container/list"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"
)

// touchEvery is how old a file's time of modification, which keeps the order of use over restarts, may be before a use
// renews it. Coarse, so that reading a popular blob does not write to the disk.
const touchEvery = time.Hour

// index knows which blobs there are, and in which order they were used. Its user locks it.
type index struct {
	// recent holds *entry, most recently used first.
	recent    *list.List
	byDigest  map[string]*list.Element
	bytes     int64
	evictions int64
}

type entry struct {
	digest string
	size   int64
	// touched is the file's time of modification.
	touched time.Time
	// readers counts open Readers.
	readers int
	// seal is the file as it was when it was last verified.
	seal seal
}

func newIndex() *index { return &index{recent: list.New(), byDigest: map[string]*list.Element{}} }

func (x *index) len() int { return len(x.byDigest) }

// get returns an entry without using it; nil when there is none.
func (x *index) get(digest string) *entry {
	e, ok := x.byDigest[digest]
	if !ok {
		return nil
	}
	return entryOf(e)
}

// entryOf is the entry in an element of index.recent.
func entryOf(e *list.Element) *entry {
	have, _ := e.Value.(*entry)
	return have
}

// put adds a blob, or notes that its file is new, as the most recently used one.
func (x *index) put(digest string, size int64, now time.Time) {
	if e, ok := x.byDigest[digest]; ok {
		have := entryOf(e)
		x.bytes += size - have.size
		have.size, have.touched = size, now
		x.recent.MoveToFront(e)
		return
	}
	x.byDigest[digest] = x.recent.PushFront(&entry{digest: digest, size: size, touched: now})
	x.bytes += size
}

// use makes a blob the most recently used one, and says whether its file's time should be renewed.
func (x *index) use(digest string, now time.Time) (touch bool) {
	e, ok := x.byDigest[digest]
	if !ok {
		return false
	}
	x.recent.MoveToFront(e)
	have := entryOf(e)
	if now.Sub(have.touched) < touchEvery {
		return false
	}
	have.touched = now
	return true
}

func (x *index) remove(digest string) {
	e, ok := x.byDigest[digest]
	if !ok {
		return
	}
	x.bytes -= entryOf(e).size
	x.recent.Remove(e)
	delete(x.byDigest, digest)
}

// victim returns the least recently used blob that is neither keep nor being read.
func (x *index) victim(keep string) (digest string, ok bool) {
	for e := x.recent.Back(); e != nil; e = e.Prev() {
		if have := entryOf(e); have.readers == 0 && have.digest != keep {
			return have.digest, true
		}
	}
	return "", false
}

// load fills the index from the folder, oldest use first.
func (s *Store) load() error {
	if err := s.disk.Mkdir(blobDir); err != nil {
		return err
	}
	found, err := s.scan()
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b entry) int { return a.touched.Compare(b.touched) })
	s.index = newIndex()
	for _, e := range found {
		s.index.put(e.digest, e.size, e.touched)
	}
	// The bound may be lower than it was.
	s.evict("")
	return nil
}

// scan lists the blob files. What does not look like one is left alone: it is not ours.
func (s *Store) scan() ([]entry, error) {
	var found []entry
	err := fs.WalkDir(s.disk.Root().FS(), blobDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		digest, ok := NormalizeDigest(path.Base(name))
		if !d.Type().IsRegular() || !ok || blobName(digest) != name {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		found = append(found, entry{digest: digest, size: info.Size(), touched: info.ModTime()})
		return nil
	})
	if err != nil {
		return nil, internal(err, "cannot list the blob store")
	}
	return found, nil
}
