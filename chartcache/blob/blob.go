// Package blob keeps chart tarballs on disk by their sha256 digest.
//
// A blob is written to a temporary file, verified, synchronised and renamed, so that a crash leaves either the whole blob
// or nothing; it is verified again when it is opened (see seal), so that a damaged file is a miss and never an answer. The store
// evicts what was used least recently when it grows over its bound, but nothing that is being read. It knows no
// repository: who may read which blob is decided by its caller. It never follows a path out of its folder.
package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	"github.com/ketches/helm-operator/chartcache/internal/disk"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// DefaultMaxBytes bounds a store whose Config sets no bound.
const DefaultMaxBytes int64 = 10 << 30

// Names of the flags that set limits of this package, without dashes. Errors name them, so the process that owns the
// flags must use these names.
const (
	FlagStoreBytes    = "blob-cache-bytes"
	FlagChartBytes    = "max-chart-bytes"
	FlagUnpackedBytes = "max-chart-unpacked-bytes"
	FlagFileBytes     = "max-chart-file-bytes"
	FlagFiles         = "max-chart-files"
)

const (
	blobDir = "sha256"
	// copyBuffer is large enough that hashing, not system calls, takes the time.
	copyBuffer = 128 << 10
)

// Config describes a store.
type Config struct {
	// Dir is the folder of the store. It is made when missing, and must belong to the store alone.
	Dir string
	// MaxBytes bounds the sum of the blobs; 0 means 10 GiB. Blobs that are being read are kept even over it.
	MaxBytes int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Disk lets tests inject faults; the zero value injects none.
	Disk disk.Hooks
}

// Info describes a blob.
type Info struct {
	// Digest is "sha256:" and 64 lower-case hexadecimal digits.
	Digest string
	// SizeBytes is the size of the blob.
	SizeBytes int64
}

// Store is a set of blobs. Its methods may be called concurrently. Their errors are or wrap cacheerr.Errors, but for those
// of the caller's reader and context, which are wrapped.
type Store struct {
	disk     *disk.Folder
	maxBytes int64
	now      func() time.Time

	// mu guards index, and the blob files: a file is renamed into place, removed or opened only while it is held. It is
	// not held while blobs are read, written or hashed.
	mu    sync.Mutex
	index *index
}

// Open opens a store, removes what interrupted writes left, and counts its blobs without reading them.
func Open(cfg Config) (*Store, error) {
	if cfg.MaxBytes < 0 {
		return nil, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_CONFIGURATION_INVALID,
			"the size of the blob store is negative (--%s)", FlagStoreBytes)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	folder, err := disk.Open(cfg.Dir, "the chart tarballs", cfg.Disk)
	if err != nil {
		return nil, err
	}
	s := &Store{disk: folder, maxBytes: cfg.MaxBytes, now: cfg.Now}
	if err := s.load(); err != nil {
		_ = folder.Close()
		return nil, err
	}
	return s, nil
}

// Close gives up the store's folder. Readers stay usable.
func (s *Store) Close() error { return s.disk.Close() }

// Usage returns the size of all blobs in bytes, and their number.
func (s *Store) Usage() (sizeBytes int64, blobs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.bytes, s.index.len()
}

// Evictions returns how many blobs were evicted since the store was opened.
func (s *Store) Evictions() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.evictions
}

// Ingest stores what r gives. want is the digest that it must have, in any form that NormalizeDigest takes; empty accepts
// any. limit bounds the size in bytes; 0 means the bound of the store. It fails with DIGEST_MISMATCH, TOO_LARGE, INTERNAL
// when the disk fails, or the error of r; then nothing stays.
func (s *Store) Ingest(ctx context.Context, r io.Reader, want string, limit int64) (Info, error) {
	return s.ingest(ctx, r, want, limit, func(io.Reader) error { return nil })
}

// IngestChart stores what r gives like Ingest, provided that it is a tarball of version version of chart name within
// limits; else it fails with CHART_INVALID or TOO_LARGE.
func (s *Store) IngestChart(
	ctx context.Context, r io.Reader, want string, limit int64, name, version string, limits ChartLimits,
) (Info, Metadata, error) {
	var m Metadata
	info, err := s.ingest(ctx, r, want, limit, func(f io.Reader) error {
		var err error
		if m, err = InspectChart(f, limits); err != nil {
			return err
		}
		return m.mustBe(name, version)
	})
	if err != nil {
		return Info{}, Metadata{}, err
	}
	return info, m, nil
}

// ingest writes r to a temporary file, lets check read it, and renames it into place.
func (s *Store) ingest(ctx context.Context, r io.Reader, want string, limit int64, check func(io.Reader) error) (Info, error) {
	digest := ""
	if want != "" {
		var ok bool
		if digest, ok = NormalizeDigest(want); !ok {
			return Info{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
				"the digest that the repository gives for the tarball is not a sha256 digest")
		}
	}
	f, err := s.disk.Create()
	if err != nil {
		return Info{}, fmt.Errorf("store a tarball: %w", err)
	}
	defer f.Close()
	info, err := s.fill(ctx, f, r, digest, limit)
	if err != nil {
		return Info{}, err
	}
	content, err := f.Content()
	if err != nil {
		return Info{}, fmt.Errorf("store a tarball: %w", err)
	}
	if err := check(content); err != nil {
		return Info{}, err
	}
	if err := s.commit(f, info); err != nil {
		return Info{}, fmt.Errorf("store a tarball: %w", err)
	}
	return info, nil
}

// fill copies r to f and checks size and digest.
func (s *Store) fill(ctx context.Context, f io.Writer, r io.Reader, digest string, limit int64) (Info, error) {
	flag := FlagChartBytes
	if limit <= 0 || limit > s.maxBytes {
		limit, flag = s.maxBytes, FlagStoreBytes
	}
	h := sha256.New()
	size, err := copyBounded(ctx, f, h, r, limit, flag)
	if err != nil {
		return Info{}, err
	}
	info := Info{Digest: digestPrefix + hex.EncodeToString(h.Sum(nil)), SizeBytes: size}
	if digest != "" && digest != info.Digest {
		return Info{}, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_DIGEST_MISMATCH,
			"the tarball has digest %s, but the repository says %s", info.Digest, digest)
	}
	return info, nil
}

// copyBounded copies at most limit bytes of r to f and h. Errors of both are passed on.
func copyBounded(ctx context.Context, f io.Writer, h hash.Hash, r io.Reader, limit int64, flag string) (int64, error) {
	buffer := make([]byte, copyBuffer)
	var size int64
	for {
		if ctx.Err() != nil {
			return 0, fmt.Errorf("store a tarball: %w", context.Cause(ctx))
		}
		n, err := r.Read(buffer)
		if size += int64(n); size > limit {
			return 0, cacheerr.New(chartcachev1.ErrorReason_ERROR_REASON_TOO_LARGE,
				"the tarball is larger than %d bytes (limit --%s)", limit, flag)
		}
		h.Write(buffer[:n])
		if _, werr := f.Write(buffer[:n]); werr != nil {
			return 0, fmt.Errorf("store a tarball: %w", werr)
		}
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return 0, fmt.Errorf("store a tarball: %w", err)
		}
	}
}

// commit makes f the blob that info describes, and evicts others to make room. A blob that is there already is replaced: it
// has the same content, unless it is damaged.
func (s *Store) commit(f *disk.File, info Info) error {
	if err := f.Sync(); err != nil {
		return err
	}
	name := blobName(info.Digest)

	s.mu.Lock()
	defer s.mu.Unlock()
	err := f.Rename(name)
	if errors.Is(err, disk.ErrNotSynced) && s.disk.Remove(name) == nil {
		s.index.remove(info.Digest)
		return err
	}
	if err != nil && !errors.Is(err, disk.ErrNotSynced) {
		return err
	}
	// One that can be neither made to last nor removed is there all the same, so it counts.
	s.index.put(info.Digest, info.SizeBytes, s.now())
	s.evict(info.Digest)
	return err
}

// evict removes blobs until the store is within its bound, except keep and what is being read. The caller holds mu.
func (s *Store) evict(keep string) {
	for s.index.bytes > s.maxBytes {
		victim, ok := s.index.victim(keep)
		if !ok {
			return
		}
		if err := s.disk.Remove(blobName(victim)); err != nil {
			// It counts until it is gone. The next ingest begins with another one.
			s.index.use(victim, time.Time{})
			return
		}
		s.index.remove(victim)
		s.index.evictions++
	}
}

const digestPrefix = "sha256:"

// NormalizeDigest returns a sha256 digest as "sha256:" and 64 lower-case hexadecimal digits. It takes that form, and the
// bare digits that Helm writes into indexes, in any case; ok is false for anything else.
func NormalizeDigest(digest string) (normal string, ok bool) {
	digits := strings.ToLower(strings.TrimPrefix(digest, digestPrefix))
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != sha256.Size {
		return "", false
	}
	return digestPrefix + digits, true
}

// blobName is the path of a blob below the root. Two levels keep folders small.
func blobName(digest string) string {
	digits := strings.TrimPrefix(digest, digestPrefix)
	return path.Join(blobDir, digits[:2], digits)
}

func internal(err error, format string, args ...any) error {
	return cacheerr.Wrap(chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, err, format, args...)
}

// sameDigest says whether h has summed up to digest.
func sameDigest(h hash.Hash, digest string) bool {
	raw, err := hex.DecodeString(strings.TrimPrefix(digest, digestPrefix))
	return err == nil && bytes.Equal(raw, h.Sum(nil))
}
