package release

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// Causes for which the context of an operation ends.
var (
	// ErrShutdown says that the process stops.
	ErrShutdown = errors.New("the operator is shutting down")
	// ErrSuperseded says that something newer is wanted.
	ErrSuperseded = errors.New("superseded by a newer desired state")
)

// Outcome is how an operation ended.
type Outcome struct {
	// UID of the object, so that one that was made anew under the same name does not inherit it; empty means any.
	UID types.UID
	// Operation as it was announced in the status.
	Operation v1alpha1.ReleaseOperation
	// Record is the newest record after a success; nil when there is none.
	Record *helm.Release
	// Revision is the failed revision that was written; 0 when none was.
	Revision int
	// Interrupted reports that the context of the operation ended. That is no failure.
	Interrupted bool
	// Problem is why it failed; nil when it did not.
	Problem *Problem
	// TimedOut reports that it failed because something took too long.
	TimedOut bool
	// RolledBackTo is the revision whose chart and values were deployed again by a rollback; 0 when it is not known.
	RolledBackTo int
	// Finished is when it ended.
	Finished time.Time
}

// RunnerConfig says how operations run.
type RunnerConfig struct {
	// MaxOperations bounds the operations at once, waits for readiness included. At least 1.
	MaxOperations int
	// Wake asks for a reconcile of an object. It must not block and may be called from any goroutine.
	Wake func(types.NamespacedName)
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Crashed is told about a panic of an operation, with its stack; may be nil.
	Crashed func(key types.NamespacedName, what string)
}

// Runner runs Helm operations outside the reconcile workers: at most one for each object, and a bounded number at once.
// It keeps the outcome until the worker of the object has recorded it.
type Runner struct {
	cfg  RunnerConfig
	base context.Context // parent of all operations; ends with ErrShutdown
	stop context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards all below
	jobs    map[types.NamespacedName]*job
	used    int                    // slots in use
	waiting []types.NamespacedName // found no slot, in order
	stopped bool
}

// job is an operation that runs (outcome is nil), or whose outcome is not recorded yet.
type job struct {
	operation v1alpha1.ReleaseOperation
	cancel    context.CancelCauseFunc
	outcome   *Outcome
}

// NewRunner returns a runner that works until Start's context ends.
func NewRunner(cfg RunnerConfig) *Runner {
	cfg.MaxOperations = max(1, cfg.MaxOperations)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	base, stop := context.WithCancelCause(context.Background())
	return &Runner{cfg: cfg, base: base, stop: stop, jobs: map[types.NamespacedName]*job{}}
}

// Start waits until ctx ends, interrupts what runs, and returns when that has ended. It is a runnable of a manager.
func (r *Runner) Start(ctx context.Context) error {
	<-ctx.Done()
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.stop(ErrShutdown)
	r.work.Wait()
	return nil
}

// Reserve takes a slot for an operation. Without a free one it returns false and wakes the object when its turn comes.
func (r *Runner) Reserve(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.jobs[key] != nil {
		return false
	}
	if r.used >= r.cfg.MaxOperations {
		if !slices.Contains(r.waiting, key) {
			r.waiting = append(r.waiting, key)
		}
		return false
	}
	r.used++
	return true
}

// Queued reports whether an object waits for a slot.
func (r *Runner) Queued(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.waiting, key)
}

// Return gives a reserved slot back that was not used.
func (r *Runner) Return() {
	r.mu.Lock()
	r.used--
	next := r.next()
	r.mu.Unlock()
	r.wake(next)
}

// Run starts an operation in a slot that was reserved. Its context ends when the operation is interrupted.
func (r *Runner) Run(key types.NamespacedName, operation v1alpha1.ReleaseOperation, do func(context.Context) Outcome) {
	ctx, cancel := context.WithCancelCause(r.base)
	r.mu.Lock()
	r.jobs[key] = &job{operation: operation, cancel: cancel}
	r.work.Add(1)
	r.mu.Unlock()
	go func() {
		defer r.work.Done()
		defer cancel(nil)
		r.finish(key, r.guarded(ctx, key, operation, do))
	}()
}

// guarded turns a panic (of a template function, say) into a failure of this one release.
func (r *Runner) guarded(ctx context.Context, key types.NamespacedName, operation v1alpha1.ReleaseOperation,
	do func(context.Context) Outcome,
) (outcome Outcome) {
	defer func() {
		if what := recover(); what != nil {
			if r.cfg.Crashed != nil {
				r.cfg.Crashed(key, fmt.Sprintf("%v\n%s", what, debug.Stack()))
			}
			outcome = Outcome{
				Operation: operation, Finished: r.cfg.Now(),
				Problem: &Problem{Reason: failedReason(operation.Type), Message: "the operation crashed; the operator's log says where"},
			}
		}
	}()
	return do(ctx)
}

func (r *Runner) finish(key types.NamespacedName, outcome Outcome) {
	r.mu.Lock()
	r.jobs[key].outcome = &outcome
	r.used--
	next := r.next()
	r.mu.Unlock()
	r.cfg.Wake(key)
	r.wake(next)
}

// next takes the objects off the queue that may try again. The caller holds the lock.
func (r *Runner) next() []types.NamespacedName {
	n := min(len(r.waiting), r.cfg.MaxOperations-r.used)
	keys := r.waiting[:n]
	r.waiting = r.waiting[n:]
	return keys
}

func (r *Runner) wake(keys []types.NamespacedName) {
	for _, key := range keys {
		r.cfg.Wake(key)
	}
}

// Running returns the operation of an object that runs.
func (r *Runner) Running(key types.NamespacedName) (v1alpha1.ReleaseOperation, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := r.jobs[key]
	if job == nil || job.outcome != nil {
		return v1alpha1.ReleaseOperation{}, false
	}
	return job.operation, true
}

// Outcome returns how the operation of an object ended, until Forget.
func (r *Runner) Outcome(key types.NamespacedName) (Outcome, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := r.jobs[key]
	if job == nil || job.outcome == nil {
		return Outcome{}, false
	}
	return *job.outcome, true
}

// Forget drops an outcome that was recorded.
func (r *Runner) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if job := r.jobs[key]; job != nil && job.outcome != nil {
		delete(r.jobs, key)
	}
}

// Interrupt ends the readiness wait of the operation of an object, if one runs. Hooks and writes go on to their end.
func (r *Runner) Interrupt(key types.NamespacedName, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if job := r.jobs[key]; job != nil && job.outcome == nil {
		job.cancel(cause)
	}
}
