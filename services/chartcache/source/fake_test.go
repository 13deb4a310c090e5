package source

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/ketches/helm-operator/chartcache/catalog"
)

// fakeSecrets are Secrets by "namespace/name".
type fakeSecrets map[string]map[string][]byte

// errForbidden is what an API server might answer.
var errForbidden = errors.New("secrets is forbidden")

func (f fakeSecrets) Secret(ctx context.Context, namespace, name string) (Secret, bool, error) {
	if _, ok := ctx.Deadline(); !ok {
		return Secret{}, false, errors.New("the read has no deadline")
	}
	if name == "forbidden" {
		return Secret{}, false, errForbidden
	}
	data, ok := f[namespace+"/"+name]
	return Secret{Data: data}, ok, nil
}

// fakeCatalog remembers what it was told, and tells of each change.
type fakeCatalog struct {
	mu      sync.Mutex
	specs   map[catalog.Ref]catalog.Spec
	puts    int
	changes chan struct{}
}

func newFakeCatalog() *fakeCatalog {
	return &fakeCatalog{specs: map[catalog.Ref]catalog.Spec{}, changes: make(chan struct{}, 1000)}
}

func (f *fakeCatalog) Put(spec catalog.Spec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.specs[spec.Ref] = spec
	f.puts++
	f.changes <- struct{}{}
}

func (f *fakeCatalog) Delete(ref catalog.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.specs, ref)
	f.changes <- struct{}{}
}

func (f *fakeCatalog) get(namespace, name string) (catalog.Spec, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	spec, ok := f.specs[catalog.Ref{Namespace: namespace, Name: name}]
	return spec, ok
}

func (f *fakeCatalog) count() (specs, puts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.specs), f.puts
}

// logBuffer keeps log lines that another goroutine writes.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
