package server

import (
	"context"
	"io"

	"github.com/ketches/helm-operator/chartcache/catalog"
)

// Catalog is what the server asks. Its errors are cacheerr.Errors, or the caller's context's.
type Catalog interface {
	// Repositories returns the configured repositories of a namespace, of all when it is empty, by namespace and name.
	Repositories(namespace string) []catalog.State
	// Repository returns the state of one repository.
	Repository(context.Context, catalog.Source) (catalog.State, error)
	// Sync synchronises one repository now.
	Sync(context.Context, catalog.Source) (state catalog.State, changed bool, err error)
	// Charts lists charts.
	Charts(context.Context, catalog.Source, catalog.ChartQuery) (catalog.ChartList, error)
	// Versions lists the versions of a chart.
	Versions(context.Context, catalog.Source, catalog.VersionQuery) (catalog.VersionList, error)
	// Resolve says which version a query means.
	Resolve(context.Context, catalog.Source, catalog.ResolveQuery) (catalog.Resolved, error)
	// Fetch opens the tarball of what Resolve returned, verified.
	Fetch(context.Context, catalog.Source, catalog.Resolved) (Tarball, catalog.ChartInfo, error)
	// Watch starts a watch, or resumes one by a token.
	Watch(ctx context.Context, token string) Subscription
}

// Tarball is an open chart. Close frees it.
type Tarball interface {
	io.ReaderAt
	io.Closer
}

// Subscription is one watch.
type Subscription interface {
	// Next waits for the next event.
	Next(context.Context) (catalog.Event, error)
}

// FromCatalog returns the catalog as the server asks it.
func FromCatalog(c *catalog.Catalog) Catalog { return adapter{c} }

// adapter narrows the types that the catalog returns.
type adapter struct{ *catalog.Catalog }

func (a adapter) Fetch(ctx context.Context, source catalog.Source, resolved catalog.Resolved) (Tarball, catalog.ChartInfo, error) {
	reader, info, err := a.Catalog.Fetch(ctx, source, resolved)
	if err != nil {
		return nil, catalog.ChartInfo{}, err // and not an interface that holds a nil pointer
	}
	return reader, info, nil
}

func (a adapter) Watch(ctx context.Context, token string) Subscription {
	return a.Catalog.Watch(ctx, token)
}
