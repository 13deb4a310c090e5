package blob

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"sync"
)

// Reader reads one blob. While it is open, the blob is not evicted. Read, ReadAt and Close may be called concurrently, as
// with os.File.
type Reader struct {
	file *os.File
	size int64
	// release tells the store, once.
	release func()
	once    sync.Once
}

// Open opens a blob; ok is false when the store does not hold it. A file that is missing or damaged counts as not held,
// and is removed, so that it can be fetched again. Err is INTERNAL, when the disk fails otherwise.
func (s *Store) Open(digest string) (r *Reader, ok bool, err error) {
	digest, ok = NormalizeDigest(digest)
	if !ok {
		return nil, false, nil
	}
	f, e, err := s.acquire(digest)
	if err != nil || f == nil {
		return nil, false, err
	}
	size, intact := s.intact(e, f)
	if !intact {
		s.discard(e, f)
		return nil, false, nil
	}
	return &Reader{file: f, size: size, release: func() { s.releaseReader(e) }}, true, nil
}

// intact says whether f, the file of an entry, is what it should be: it is read from start to end unless nobody can have
// changed it since that was last done.
func (s *Store) intact(e *entry, f *os.File) (size int64, intact bool) {
	before, err := f.Stat()
	if err != nil {
		return 0, false
	}
	now := s.now()
	s.mu.Lock()
	known := e.seal
	s.mu.Unlock()
	if known.holds(before, now) {
		return before.Size(), true
	}
	if size, intact = verify(f, e.digest); !intact {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.seal = seal{file: before, at: now}
	return size, true
}

// verify reads f, says whether it is what digest names, and goes back to its start. A disk error is damage too: fetching
// the blob again writes it elsewhere.
func verify(f *os.File, digest string) (size int64, intact bool) {
	h := sha256.New()
	size, err := io.CopyBuffer(h, f, make([]byte, copyBuffer))
	if err != nil || !sameDigest(h, digest) {
		return 0, false
	}
	_, err = f.Seek(0, io.SeekStart)
	return size, err == nil
}

// acquire opens the file of a blob and counts a reader for it; f is nil when there is no such blob.
func (s *Store) acquire(digest string) (f *os.File, e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e = s.index.get(digest); e == nil {
		return nil, nil, nil
	}
	name := blobName(digest)
	f, err = s.disk.Root().Open(name)
	if errors.Is(err, os.ErrNotExist) {
		s.index.remove(digest)
		return nil, nil, nil
	}
	if err != nil {
		if info, statErr := s.disk.Root().Lstat(name); statErr == nil && !info.Mode().IsRegular() {
			// A link, perhaps to outside of the store, is damage.
			_ = s.disk.Remove(name)
			s.index.remove(digest)
			return nil, nil, nil
		}
		return nil, nil, internal(err, "cannot open a file of the blob store")
	}
	if now := s.now(); s.index.use(digest, now) {
		// Only the order of eviction after a restart depends on it.
		_ = s.disk.Root().Chtimes(name, now, now)
	}
	e.readers++
	return f, e, nil
}

// discard removes a damaged blob, unless it was replaced meanwhile, and closes f, its file.
func (s *Store) discard(e *entry, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := blobName(e.digest)
	if opened, err := f.Stat(); err == nil {
		current, err := s.disk.Root().Stat(name)
		if err == nil && os.SameFile(opened, current) {
			_ = s.disk.Remove(name)
			s.index.remove(e.digest)
		}
	}
	_ = f.Close()
	e.readers--
}

func (s *Store) releaseReader(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.readers--
	// What could not be evicted while it was read can go now.
	s.evict("")
}

// Size is the size of the blob in bytes.
func (r *Reader) Size() int64 { return r.size }

// Read reads on from where the last Read ended.
func (r *Reader) Read(p []byte) (int, error) { return r.file.Read(p) }

// ReadAt reads at an offset.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { return r.file.ReadAt(p, off) }

// Close lets the store evict the blob again. Closing twice does nothing.
func (r *Reader) Close() (err error) {
	r.once.Do(func() {
		err = r.file.Close()
		r.release()
	})
	return err
}
