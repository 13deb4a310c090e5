package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/kube"
	rspb "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/ketches/helm-operator/operator/fence"
	"github.com/ketches/helm-operator/operator/internal/readiness"
)

// actionKind is what an operation does.
type actionKind string

const (
	kindInstall   actionKind = "install"
	kindUpgrade   actionKind = "upgrade"
	kindRollback  actionKind = "rollback"
	kindUninstall actionKind = "uninstall"
	kindTest      actionKind = "test"
)

// requestTimeout bounds one request for a release record. Those requests do not end with the action's context: a record
// that is half-way written when a wait is cancelled would be neither pending nor failed.
const requestTimeout = 30 * time.Second

// operation is one run of one action: what it may still write, and what it has written.
type operation struct {
	client *Client
	kind   actionKind
	target Target
	// who reads and writes the objects; unknown is why that is not known.
	who     *identity
	unknown error
	// strict refuses objects with unknown fields.
	strict bool
	// retries says that earlier operations may have left hooks; see isRetry.
	retries bool
	// ctx ends waits only.
	ctx      context.Context
	log      logr.Logger
	mask     *mask
	warnings *warnings
	kube     *kubeClient
	records  *records
	config   *action.Configuration
	// callbacks and reports tell the caller about waits; reports is nil when he does not want texts. Helm waits in one
	// goroutine at a time.
	callbacks Callbacks
	reports   *readiness.Reports

	// mu guards the fields below. Helm runs parts of an action in goroutines of its own.
	mu sync.Mutex
	// fence, once set, is what every write returns.
	fence       error
	interrupted bool
	// cause and stage describe the failure that ended the action, as the client or the storage saw it; Helm flattens
	// errors to text on the way.
	cause error
	stage Stage
	// defines is set when there are definitions of kinds among the objects.
	defines bool
	// built is set when the manifests of the new revision could be read.
	built bool
	// revision is the one that this operation created, 0 when none; last is its newest state that storage holds.
	revision int
	last     *rspb.Release
	lastRV   string
	// created are objects that an update made and that did not exist before.
	created kube.ResourceList
}

// begin prepares an operation. It makes no request.
func (c *Client) begin(ctx context.Context, k actionKind, target Target, values map[string]any) *operation {
	op := &operation{
		client:   c,
		kind:     k,
		target:   target,
		ctx:      ctx,
		log:      c.log.WithValues("release", target.Name, "namespace", target.Namespace, "action", string(k)),
		mask:     newMask(target.Name, target.Namespace),
		warnings: &warnings{},
	}
	op.mask.learn(values)

	if op.who, op.unknown = c.who.get(target.ServiceAccount); op.unknown != nil {
		op.who = &identity{rest: &rest.Config{}}
	}
	conf := rest.CopyConfig(op.who.rest)
	conf.WarningHandlerWithContext = op.warnings
	reads := &once{}
	conf.Wrap(reads.wrap)
	get := &getter{rest: conf, namespace: target.Namespace, discovery: c.discovery, mapper: c.mapper}

	inner := kube.New(get)
	inner.Namespace = target.Namespace
	inner.Log = op.debugf
	op.kube = &kubeClient{op: op, getter: get, inner: inner, reads: reads}
	op.records = newRecords(op)

	releases := storage.Init(op.records)
	releases.Log = op.debugf
	op.config = &action.Configuration{
		RESTClientGetter: get,
		Releases:         releases,
		KubeClient:       op.kube,
		Log:              op.debugf,
		HookOutputFunc:   func(_, _, _ string) io.Writer { return io.Discard },
	}
	return op
}

// useCapabilities hands the shared knowledge about the cluster to Helm.
func (op *operation) useCapabilities() error {
	caps, err := op.client.caps.get()
	if err != nil {
		return newError(StageRender, err, "%s", op.mask.text(describe(err)))
	}
	op.config.Capabilities = caps
	return nil
}

// debugf is Helm's log.
func (op *operation) debugf(format string, args ...any) {
	if log := op.log.V(1); log.Enabled() {
		log.Info(op.mask.text(fmt.Sprintf(format, args...)))
	}
}

// refused returns the reason why nothing may be written any more, or nil.
func (op *operation) refused() error {
	if err := op.client.fence(); err != nil {
		op.lost(err)
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.fence
}

// lost fences the operation because the process may not write any more. What went wrong before does not count: there is
// no way to record it.
func (op *operation) lost(reason error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.interrupted {
		return
	}
	op.fence = errInterrupted
	op.interrupted = true
	op.stage = StageApply
	op.cause = fmt.Errorf("%w: %w", errInterrupted, reason)
}

// interrupt fences the operation because its context ended, and returns what the wait that noticed it returns.
func (op *operation) interrupt() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.fence == nil {
		op.fence = errInterrupted
		op.interrupted = true
		op.stage = StageWait
		op.cause = fmt.Errorf("%w: %w", errInterrupted, context.Cause(op.ctx))
	}
	return op.fence
}

// stop fences the operation after a failure that must leave its record as it is, and returns err.
func (op *operation) stop(stage Stage, err error) error {
	err = op.failed(stage, err)
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.fence == nil {
		op.fence = err
	}
	return err
}

// failed notes why the action is going to fail, unless that is known already, and returns err.
func (op *operation) failed(stage Stage, err error) error {
	if lost := op.client.fence(); lost != nil {
		op.lost(lost)
	} else if errors.Is(err, fence.ErrLost) {
		op.lost(err)
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.cause == nil && op.fence == nil {
		op.stage, op.cause = stage, err
	}
	return err
}

// persisted notes that storage holds rls now. created says that this operation made the record.
func (op *operation) persisted(rls *rspb.Release, resourceVersion string, created bool) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if created {
		op.revision = rls.Version
	}
	if rls.Version != op.revision {
		return
	}
	// Helm goes on changing rls, and what matters is what was written.
	info := *rls.Info
	written := *rls
	written.Info = &info
	op.last, op.lastRV = &written, resourceVersion
}

// begun returns the error of an action that cannot begin, because its context has ended, or nil.
func (op *operation) begun() error {
	if op.unknown != nil {
		return newError(StageValidate, op.unknown, "act as ServiceAccount %s: %s", op.target.ServiceAccount, op.mask.text(describe(op.unknown)))
	}
	if op.ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(op.ctx)
	return &Error{
		Stage:       StageValidate,
		Err:         fmt.Errorf("%w: %w", errInterrupted, cause),
		Message:     "interrupted before it began: " + op.mask.text(cause.Error()),
		interrupted: true,
	}
}

// finish turns the outcome of a Helm action into ours. It mends what Helm leaves undone: a record that is still pending
// after a failure, and objects that a failed operation created, when cleanup asks for that.
func (op *operation) finish(actionErr error, cleanup bool) (Release, error) {
	op.mu.Lock()
	interrupted, defines := op.interrupted, op.defines
	op.mu.Unlock()
	if defines { // the next chart may ask for them
		op.client.caps.forget()
		op.client.mapper.changed()
	}
	if interrupted {
		return op.result(), op.error(actionErr, 0)
	}
	if actionErr == nil {
		if op.last == nil || op.last.Info.Status != rspb.StatusDeployed {
			err := op.records.writeError()
			return op.result(), &Error{
				Stage:   StageStorage,
				Err:     err,
				Message: op.mask.text("the objects were applied, but the release record could not be written: " + describe(err)),
			}
		}
		return op.result(), nil
	}
	failedRevision := op.recordFailure(actionErr)
	if cleanup && failedRevision > 0 {
		op.deleteCreated()
	}
	return op.result(), op.error(actionErr, failedRevision)
}

// recordFailure makes sure that a record of this operation does not stay pending, and returns the failed revision that
// storage holds, 0 when there is none. Helm forgets to write it when a rollback hook fails.
func (op *operation) recordFailure(actionErr error) int {
	if op.last == nil {
		return 0
	}
	if Status(op.last.Info.Status).Pending() {
		rls := *op.last
		info := *rls.Info
		info.Status = rspb.StatusFailed
		info.Description = fmt.Sprintf("%s failed: %s", op.kind, op.message(actionErr))
		rls.Info = &info
		if err := op.config.Releases.Update(&rls); err != nil {
			op.log.Error(errors.New(op.mask.text(describe(err))), "Failed release could not be recorded")
		}
	}
	if op.last.Info.Status != rspb.StatusFailed {
		return 0
	}
	return op.last.Version
}

// error builds the error of a failed action.
func (op *operation) error(actionErr error, failedRevision int) *Error {
	op.mu.Lock()
	stage, cause, interrupted := op.stage, op.cause, op.interrupted
	built := op.built
	op.mu.Unlock()
	if cause == nil {
		cause = actionErr
		// What neither the client nor the storage saw fail is rendering, or an object that exists already.
		stage = StageRender
		if built {
			stage = StageApply
		}
	}
	return &Error{
		Stage:       stage,
		Revision:    failedRevision,
		Message:     op.message(actionErr),
		Err:         cause,
		interrupted: interrupted,
	}
}

// message returns what people are told about a failure.
func (op *operation) message(actionErr error) string {
	op.mu.Lock()
	cause := op.cause
	op.mu.Unlock()
	if cause == nil {
		cause = actionErr
	}
	return op.mask.text(describe(cause))
}

// result returns the record as storage holds it; the zero Release when the operation wrote none.
func (op *operation) result() Release {
	if op.last == nil {
		return Release{}
	}
	rel := toRelease(op.last, op.records.metadata(op.last))
	rel.ResourceVersion = op.lastRV
	for _, warning := range op.warnings.list() {
		rel.Warnings = append(rel.Warnings, op.mask.text(warning))
	}
	return rel
}

// toRelease returns what a record with the metadata says.
func toRelease(rls *rspb.Release, meta metav1.ObjectMeta) Release {
	out := Release{
		Name:            rls.Name,
		Namespace:       rls.Namespace,
		Revision:        rls.Version,
		Status:          StatusUnknown,
		Labels:          withoutSystemLabels(meta.Labels),
		ResourceVersion: meta.ResourceVersion,
		Written:         writtenAt(&meta),
		Values:          rls.Config,
	}
	if rls.Info != nil {
		out.Status = Status(rls.Info.Status)
		out.FirstDeployed = rls.Info.FirstDeployed.Time
		out.LastDeployed = rls.Info.LastDeployed.Time
		out.Deleted = rls.Info.Deleted.Time
		out.Description = rls.Info.Description
	}
	if rls.Chart != nil && rls.Chart.Metadata != nil {
		out.ChartName = rls.Chart.Metadata.Name
		out.ChartVersion = rls.Chart.Metadata.Version
		out.AppVersion = rls.Chart.Metadata.AppVersion
	}
	return out
}

// validName returns an error when Helm would not take the name.
func validName(name string) error {
	if err := chartutil.ValidateReleaseName(name); err != nil {
		return newError(StageValidate, err,
			"release name %q is invalid: it must be a DNS name of at most 53 lower-case letters, digits, '-' and '.'", name)
	}
	return nil
}
