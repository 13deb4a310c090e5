package blob

import (
	"io/fs"
	"os"
	"time"
)

const (
	// sealLasts is how long a file counts as verified, so that a medium that rots is noticed some day. Ten minutes make
	// the cost of hashing vanish where a chart is asked for often, and every client checks the digest too.
	sealLasts = 10 * time.Minute
	// sealSettles is how long a file must not have been changed before it is verified: a change within the same tick of
	// the file system's clock, at worst two seconds, could not be told from none.
	sealSettles = 2 * time.Second
)

// seal says that a file was verified, and how it looked then. The zero seal holds for nothing.
type seal struct {
	// file is what the file system told before the file was read.
	file fs.FileInfo
	at   time.Time
}

// holds reports whether a file is the one that was verified, and cannot have been changed since.
func (s seal) holds(file fs.FileInfo, now time.Time) bool {
	if s.file == nil || !os.SameFile(s.file, file) {
		return false
	}
	age := now.Sub(s.at)
	return s.file.Size() == file.Size() && s.file.ModTime().Equal(file.ModTime()) &&
		s.at.Sub(file.ModTime()) >= sealSettles && age >= 0 && age < sealLasts
}
