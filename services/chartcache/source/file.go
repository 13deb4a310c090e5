package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"
	"sigs.k8s.io/yaml"

	"github.com/ketches/helm-operator/chartcache/catalog"
	"github.com/ketches/helm-operator/chartcache/upstream"
)

// FileNamespace is the namespace of repositories that come from a file.
const FileNamespace = "default"

// maxRepositoriesFileBytes bounds a repositories.yaml; a thousand entries have about 200 KiB.
const maxRepositoriesFileBytes = 8 << 20

// File is a repositories.yaml as the helm command writes it. It is read again when its content changes.
type File struct {
	// Path of the file.
	Path string
	// Interval and Timeout of every repository of the file, which says neither; zero means the defaults.
	Interval, Timeout time.Duration
	// Catalog takes the repositories.
	Catalog Catalog
	// Poll fires when the file should be looked at again. Reading beats watching here: a mounted ConfigMap is a link
	// that is swapped, editors replace files, and network file systems tell nobody.
	Poll <-chan time.Time
	// Logger gets one line for each change of the file.
	Logger zerolog.Logger
	// Read reads files that entries name; nil means AnyFile, since whoever writes the file runs this process.
	Read FileReader
}

// Run reads the file, calls listed once, and goes on with every change until ctx ends. It fails when the first read
// fails: a process that was started with a wrong file should say so at once. A file that becomes wrong later keeps what
// was read before.
func (f File) Run(ctx context.Context, listed func()) error {
	state := fileState{file: f, known: map[catalog.Ref]entry{}}
	if state.file.Read == nil {
		state.file.Read = AnyFile
	}
	if err := state.load(); err != nil {
		return fmt.Errorf("read repositories of %s: %w", f.Path, err)
	}
	listed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.Poll:
			state.reload()
		}
	}
}

// fileState is what the last good read of the file gave. It is used by one goroutine.
type fileState struct {
	file    File
	content []byte
	failed  string // the last failure that was logged, so that a broken file is one line and not one for each poll
	known   map[catalog.Ref]entry
}

func (s *fileState) reload() {
	err := s.load()
	switch {
	case err == nil:
		s.failed = ""
	case err.Error() != s.failed:
		s.failed = err.Error()
		s.file.Logger.Error().Err(err).Str("file", s.file.Path).Msg("repositories file cannot be used; the repositories read before stay")
	}
}

func (s *fileState) load() error {
	content, err := readRepositoriesFile(s.file.Path)
	if err != nil {
		return err
	}
	if s.content != nil && bytes.Equal(content, s.content) {
		return nil
	}
	entries, err := parseRepositories(content)
	if err != nil {
		return err
	}
	s.apply(entries)
	s.content = content
	s.file.Logger.Info().Str("file", s.file.Path).Int("repositories", len(entries)).Msg("repositories file read")
	return nil
}

// apply puts what is new or changed, and deletes what is gone.
func (s *fileState) apply(entries []entry) {
	now := make(map[catalog.Ref]entry, len(entries))
	for _, e := range entries {
		ref := catalog.Ref{Namespace: FileNamespace, Name: e.Name}
		now[ref] = e
		if before, ok := s.known[ref]; ok && before == e {
			continue
		}
		s.file.Catalog.Put(s.spec(ref, e))
	}
	for ref := range s.known {
		if _, ok := now[ref]; !ok {
			s.file.Catalog.Delete(ref)
		}
	}
	s.known = now
}

func (s *fileState) spec(ref catalog.Ref, e entry) catalog.Spec {
	spec := catalog.Spec{
		Ref:      ref,
		URL:      e.URL,
		Interval: orDefault(s.file.Interval, DefaultInterval, leastInterval),
		Timeout:  orDefault(s.file.Timeout, DefaultTimeout, leastTimeout),
	}
	if err := checkURL("url of repository "+e.Name, e.URL); err != nil {
		spec.Invalid = err
		return spec
	}
	spec.CredentialsID = e.credentialsID()
	read := s.file.Read
	spec.Credentials = func(context.Context) (upstream.Credentials, error) { return e.credentials(read) }
	return spec
}

func orDefault(d, fallback, least time.Duration) time.Duration {
	if d == 0 {
		d = fallback
	}
	return max(d, least)
}

// entry is one repository of the file, with the keys that Helm writes. It is comparable.
type entry struct {
	Name                  string `json:"name"`
	URL                   string `json:"url"`
	Username              string `json:"username"`
	Password              string `json:"password"`
	CAFile                string `json:"caFile"`
	CertFile              string `json:"certFile"`
	KeyFile               string `json:"keyFile"`
	InsecureSkipTLSVerify bool   `json:"insecure_skip_tls_verify"`
	PassCredentialsAll    bool   `json:"pass_credentials_all"`
}

// credentialsID names the credentials of an entry without giving them away.
func (e entry) credentialsID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", e))
	return hex.EncodeToString(sum[:])
}

func (e entry) credentials(read FileReader) (upstream.Credentials, error) {
	credentials := upstream.Credentials{
		Username:           e.Username,
		Password:           e.Password,
		InsecureSkipVerify: e.InsecureSkipTLSVerify,
		PassCredentials:    e.PassCredentialsAll,
	}
	files := tlsFiles{
		ca: e.CAFile, cert: e.CertFile, key: e.KeyFile,
		caField: "caFile of repository " + e.Name, certField: "certFile of repository " + e.Name, keyField: "keyFile of repository " + e.Name,
	}
	if err := files.read(read, &credentials); err != nil {
		return upstream.Credentials{}, err
	}
	return credentials, nil
}

// errNotRepositories is the error for a file that is not a repositories.yaml. The parser's own error can quote a line
// with a password, so it is left out.
var errNotRepositories = errors.New("it is not a repositories.yaml as helm writes it")

// parseRepositories reads the content of a repositories.yaml. An empty file has no repositories. Names must be unique
// and usable; a wrong URL is the repository's own error and does not keep the others from being served.
func parseRepositories(content []byte) ([]entry, error) {
	var file struct {
		Repositories []*entry `json:"repositories"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, errNotRepositories
	}
	entries := make([]entry, 0, len(file.Repositories))
	seen := map[string]bool{}
	for i, e := range file.Repositories {
		switch {
		case e == nil || e.Name == "":
			return nil, fmt.Errorf("repository %d has no name", i+1)
		case strings.Contains(e.Name, "/") || strings.ContainsFunc(e.Name, unicode.IsControl) || len(e.Name) > 253:
			return nil, fmt.Errorf("repository %d: its name has a slash or control characters, or is longer than 253 bytes", i+1)
		case seen[e.Name]:
			return nil, fmt.Errorf("there are two repositories named %s", e.Name)
		}
		seen[e.Name] = true
		entries = append(entries, *e)
	}
	return entries, nil
}

func readRepositoriesFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxRepositoriesFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxRepositoriesFileBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", maxRepositoriesFileBytes)
	}
	return content, nil
}
