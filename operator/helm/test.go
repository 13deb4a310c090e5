package helm

import (
	"context"
	"fmt"
	"slices"

	"helm.sh/helm/v3/pkg/action"
	rspb "helm.sh/helm/v3/pkg/release"
)

// Test runs the tests of the newest revision of a release, which must be deployed, and returns the revision. Without any test it
// does nothing. When a test fails, what is left of the revision is up to MarkFailed, and the error is an *Error of StageTest that
// names the test. Errors are *Error.
func (c *Client) Test(ctx context.Context, o TestOptions) (Release, error) {
	op := c.begin(ctx, kindTest, o.Target, nil)
	op.call(o.Callbacks)
	if err := op.begun(); err != nil {
		return Release{}, err
	}
	rls, err := op.config.Releases.Last(o.Name)
	if err != nil {
		return Release{}, op.error(op.failed(StageStorage, fmt.Errorf("read the release: %w", err)), 0)
	}
	if rls.Info.Status != rspb.StatusDeployed {
		return Release{}, newError(StageValidate, ErrNotDeployed, "revision %d of the release is %s", rls.Version, rls.Info.Status)
	}
	if !o.selects(rls.Hooks) {
		return toRelease(rls, op.records.metadata(rls)), nil
	}

	op.retries = true // whether they ran before, the record does not say
	test := action.NewReleaseTesting(op.config)
	test.Namespace = o.Namespace
	test.Timeout = timeoutOr(o.Timeout)
	test.Filters = map[string][]string{action.IncludeNameFilter: o.Include, action.ExcludeNameFilter: o.Exclude}
	tested, testErr := test.Run(o.Name)
	if refused := op.refused(); refused != nil || tested == nil {
		return Release{}, op.error(testErr, 0)
	}
	// Only now is the record one of this operation: whoever finds it there knows that the tests have ended, and how.
	op.claim(tested.Version)
	if testErr == nil {
		if err := op.config.Releases.Update(tested); err != nil {
			return Release{}, op.error(err, 0)
		}
		return op.result(), nil
	}
	failed := newError(StageTest, testErr, "%s", op.message(testErr))
	if !o.MarkFailed {
		return toRelease(tested, op.records.metadata(tested)), failed
	}
	tested.Info.Status = rspb.StatusFailed
	tested.Info.Description = clip("test failed: " + op.message(testErr))
	if err := op.config.Releases.Update(tested); err != nil {
		return Release{}, op.error(err, 0)
	}
	failed.Revision = tested.Version
	return op.result(), failed
}

// selects reports whether any of the hooks is a test that is asked for.
func (o *TestOptions) selects(hooks []*rspb.Hook) bool {
	return slices.ContainsFunc(hooks, func(h *rspb.Hook) bool {
		return slices.Contains(h.Events, rspb.HookTest) && !slices.Contains(o.Exclude, h.Name) &&
			(len(o.Include) == 0 || slices.Contains(o.Include, h.Name))
	})
}

// claim makes a revision one that this operation writes.
func (op *operation) claim(revision int) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.revision = revision
}
