package client

import (
	"context"

	chartcachev1 "github.com/ketches/helm-operator/proto/chartcache/v1"
)

// pageSize is the number of items per request. It keeps a page of charts with long descriptions below a megabyte.
const pageSize = 500

// ListRepositories returns the configured repositories of a namespace, of all namespaces when it is empty, ordered by
// namespace and name. Errors: *Error.
func (c *Client) ListRepositories(ctx context.Context, namespace string) ([]Repository, error) {
	return restartExpired(func() ([]Repository, error) {
		var repositories []Repository
		request := &chartcachev1.ListRepositoriesRequest{Namespace: namespace, PageSize: pageSize}
		for {
			page, err := call(ctx, c, Source{}, c.timeouts.State, c.rpc.ListRepositories, request)
			if err != nil {
				return nil, err
			}
			for _, r := range page.GetRepositories() {
				repositories = append(repositories, repositoryOf(r))
			}
			request.PageToken = page.GetNextPageToken()
			if request.PageToken == "" {
				return repositories, nil
			}
		}
	})
}

// GetRepository returns the state of one repository. Errors: *Error, such as REPOSITORY_NOT_FOUND.
func (c *Client) GetRepository(ctx context.Context, source Source) (Repository, error) {
	request := &chartcachev1.GetRepositoryRequest{Source: &chartcachev1.GetRepositoryRequest_Url{Url: source.URL}}
	if source.URL == "" {
		request.Source = &chartcachev1.GetRepositoryRequest_Repository{Repository: refOf(source)}
	}
	response, err := call(ctx, c, source, c.timeouts.State, c.rpc.GetRepository, request)
	if err != nil {
		return Repository{}, err
	}
	return repositoryOf(response.GetRepository()), nil
}

// Sync synchronises a repository now and returns when that is done. Errors: *Error with the reason of the failed sync;
// what was synced before stays served.
func (c *Client) Sync(ctx context.Context, source Source) (SyncResult, error) {
	request := &chartcachev1.SyncRepositoryRequest{Source: &chartcachev1.SyncRepositoryRequest_Url{Url: source.URL}}
	if source.URL == "" {
		request.Source = &chartcachev1.SyncRepositoryRequest_Repository{Repository: refOf(source)}
	}
	response, err := call(ctx, c, source, c.timeouts.Sync, c.rpc.SyncRepository, request)
	if err != nil {
		return SyncResult{}, err
	}
	return SyncResult{Repository: repositoryOf(response.GetRepository()), Changed: response.GetChanged()}, nil
}

// pageRestarts is how often a listing starts again because the repository changed between two of its pages. Syncs of
// one repository are at least ten seconds apart, so a second change during one listing is rare already.
const pageRestarts = 3

// restartExpired runs a listing again when its pages expired.
func restartExpired[T any](list func() (T, error)) (T, error) {
	for restarts := 0; ; restarts++ {
		answer, err := list()
		if restarts < pageRestarts && ReasonOf(err) == chartcachev1.ErrorReason_ERROR_REASON_PAGE_EXPIRED {
			continue
		}
		return answer, err
	}
}
