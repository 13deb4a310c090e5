package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ketches/helm-operator/chartcache/cacheerr"
	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// steps counts operations and fails some.
type steps struct {
	mu   sync.Mutex
	seen []string
	fail func(n int, op string) error
}

func (s *steps) hooks() Hooks {
	return Hooks{Step: func(op, _ string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, op)
		if s.fail == nil {
			return nil
		}
		return s.fail(len(s.seen)-1, op)
	}}
}

func open(t *testing.T, dir string, hooks Hooks) *Folder {
	t.Helper()
	f, err := Open(dir, "the test's files", hooks)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, name)
		}
		return err
	}))
	return found
}

func TestAWriteIsDoneInTheOrderThatSurvivesACrash(t *testing.T) {
	dir, s := t.TempDir(), &steps{}
	f := open(t, dir, s.hooks())
	s.seen = nil
	require.NoError(t, f.Write("a/b/c", []byte("one")))
	assert.Equal(t, []string{
		OpCreate, OpWrite, OpSync, OpMkdir, OpSyncFolder, OpMkdir, OpSyncFolder, OpRename, OpSyncFolder,
	}, s.seen)
	s.seen = nil
	require.NoError(t, f.Write("a/b/c", []byte("two")))
	assert.Equal(t, []string{OpCreate, OpWrite, OpSync, OpRename, OpSyncFolder}, s.seen)
	data, err := f.Root().ReadFile("a/b/c")
	require.NoError(t, err)
	assert.Equal(t, "two", string(data))
	require.NoError(t, f.RemoveAll("a"))
	require.NoError(t, f.RemoveAll("a"), "what is not there is fine")
	assert.Empty(t, names(t, dir))
}

func TestAFaultAtAnyStepLeavesTheOldOrTheNewContentAndNoTemporaryFile(t *testing.T) {
	for n := 0; ; n++ {
		dir, s := t.TempDir(), &steps{}
		f := open(t, dir, s.hooks())
		require.NoError(t, f.Write("file", []byte("old")))
		s.seen = nil
		s.fail = func(i int, op string) error {
			if i == n {
				return &fs.PathError{Op: op, Path: "/secret", Err: syscall.ENOSPC}
			}
			return nil
		}
		err := f.Write("file", []byte("new"))
		s.fail = nil
		content, readErr := f.Root().ReadFile("file")
		require.NoError(t, readErr)
		assert.Equal(t, []string{"file"}, names(t, dir))
		if n == len(s.seen) {
			require.NoError(t, err)
			assert.Equal(t, 5, n, "every step had its turn")
			return
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, cacheerr.ReasonOf(err))
		assert.Equal(t, "chartcache cannot write the test's files: the disk is full; make room, or use a larger volume", err.Error())
		want := "old"
		if slices.Contains(s.seen, OpSyncFolder) {
			want = "new"
			assert.ErrorIs(t, err, ErrNotSynced)
		} else {
			assert.NotErrorIs(t, err, ErrNotSynced)
		}
		assert.Equal(t, want, string(content))
	}
}

func TestAnAppendAddsToAFileAndMakesItWhereItIsMissing(t *testing.T) {
	s := &steps{}
	f := open(t, t.TempDir(), s.hooks())
	require.NoError(t, f.Append("a/log", []byte("one "), true))
	s.seen = nil
	require.NoError(t, f.Append("a/log", []byte("two "), true))
	require.NoError(t, f.Append("a/log", []byte("three"), false))
	assert.Equal(t, []string{OpWrite, OpSync, OpWrite}, s.seen)
	data, err := f.Root().ReadFile("a/log")
	require.NoError(t, err)
	assert.Equal(t, "one two three", string(data))
	s.fail = func(int, string) error { return syscall.ENOSPC }
	assert.ErrorContains(t, f.Append("a/log", []byte("x"), false), "the disk is full")
}

func TestATemporaryFileThatCannotBeRemovedIsRemovedLater(t *testing.T) {
	dir, s := t.TempDir(), &steps{}
	f := open(t, dir, s.hooks())
	s.fail = func(_ int, op string) error {
		if op == OpCreate {
			return nil
		}
		return syscall.EIO
	}
	require.Error(t, f.Write("file", []byte("x")))
	require.Len(t, names(t, dir), 1)
	s.fail = nil
	require.NoError(t, f.Write("file", []byte("x")))
	assert.Equal(t, []string{"file"}, names(t, dir))
}

func TestOpenRemovesWhatInterruptedWritesLeft(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, Hooks{})
	require.NoError(t, f.Write("kept", nil))
	require.NoError(t, os.WriteFile(filepath.Join(dir, Temp, "half"), nil, 0o600))
	open(t, dir, Hooks{})
	assert.Equal(t, []string{"kept"}, names(t, dir))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EDQUOT: "larger volume", syscall.EROFS: "read-only", syscall.EACCES: "another user", syscall.EMFILE: "open files", syscall.EIO: "log",
	} {
		assert.Contains(t, advice(&fs.PathError{Op: "x", Path: "/secret", Err: err}), want)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file, "the test's files", Hooks{})
	assert.Equal(t, chartcachev1.ErrorReason_ERROR_REASON_INTERNAL, cacheerr.ReasonOf(err))
	assert.NotContains(t, err.Error(), file)
}

func TestNoNameLeadsOutOfTheFolder(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "in"), Hooks{})
	assert.Error(t, f.Write("../out", nil))
	assert.Error(t, f.RemoveAll("../in"))
}
