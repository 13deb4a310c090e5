package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ketches/helm-operator/chartcache/upstream"
)

// maxCredentialFileBytes bounds a PEM file: the largest bundles of authorities have about 250 KiB.
const maxCredentialFileBytes = 1 << 20

// FileReader reads a file with a credential. field names it in errors.
type FileReader func(field, name string) ([]byte, error)

// AnyFile reads any file that the process may read. It is for paths that the administrator wrote.
func AnyFile(field, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, unreadable(field, name, err)
	}
	defer f.Close()
	return readBounded(field, name, f)
}

// FilesBelow returns a reader of the files below a directory, and of no others: whoever may write a HelmRepository must
// not read what else the process can. Links are followed as long as they stay inside, since mounted Secrets are links.
// An empty directory allows no file.
func FilesBelow(dir string) FileReader {
	return func(field, name string) ([]byte, error) {
		if dir == "" {
			return nil, wrong("%s names a file, which chartcache reads only below the directory of its flag --allowed-file-dir; it is not set. Use a Secret instead", field)
		}
		relative := name
		if filepath.IsAbs(name) {
			var err error
			if relative, err = filepath.Rel(dir, name); err != nil {
				return nil, outside(field, dir)
			}
		}
		if !filepath.IsLocal(relative) {
			return nil, outside(field, dir)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, unreadable(field, dir, err)
		}
		defer root.Close()
		f, err := root.Open(relative)
		if err != nil {
			return nil, unreadable(field, name, err)
		}
		defer f.Close()
		return readBounded(field, name, f)
	}
}

func outside(field, dir string) error {
	return wrong("%s must be below %s, the directory of chartcache's flag --allowed-file-dir", field, dir)
}

// unreadable says in words of our own why a file cannot be read.
func unreadable(field, name string, err error) error {
	why := "cannot be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		why = "may not be read by chartcache"
	}
	e := unavailable("%s: the file %s %s", field, name, why)
	e.Err = fmt.Errorf("open credential file: %w", err)
	return e
}

func readBounded(field, name string, f *os.File) ([]byte, error) {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, unavailable("%s: %s is not a regular file", field, name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCredentialFileBytes+1))
	if err != nil {
		return nil, unreadable(field, name, err)
	}
	if len(data) > maxCredentialFileBytes {
		return nil, unavailable("%s: the file %s is larger than %d bytes", field, name, maxCredentialFileBytes)
	}
	return data, nil
}

// tlsFiles are the paths of PEM files, with the names of their fields.
type tlsFiles struct {
	ca, cert, key                string
	caField, certField, keyField string
}

// read fills the TLS parts of credentials from files.
func (t tlsFiles) read(read FileReader, credentials *upstream.Credentials) error {
	switch {
	case t.cert != "" && t.key == "":
		return wrong("%s is set, but %s is not", t.certField, t.keyField)
	case t.key != "" && t.cert == "":
		return wrong("%s is set, but %s is not", t.keyField, t.certField)
	}
	for _, file := range []struct {
		name, field string
		into        *[]byte
	}{
		{t.ca, t.caField, &credentials.CA},
		{t.cert, t.certField, &credentials.Cert},
		{t.key, t.keyField, &credentials.Key},
	} {
		if file.name == "" {
			continue
		}
		data, err := read(file.field, file.name)
		if err != nil {
			return err
		}
		*file.into = data
	}
	return nil
}
