package release

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
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
	// ErrGone says that nobody here works for the object any more.
	ErrGone = errors.New("the HelmRelease is gone, or not one that this operator works on any more")
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
	// Tolerated reports that a test failed which fails nothing else; Problem says which.
	Tolerated bool
	// TimedOut reports that it failed because something took too long.
	TimedOut bool
	// RolledBackTo is the revision whose chart and values were deployed again by a rollback; 0 when it is not known.
	RolledBackTo int
	// Finished is when it ended.
	Finished time.Time
}

// RunnerConfig says how operations run.
type RunnerConfig struct {
	// MaxActive bounds the operations that render and apply at once. At least 1.
	MaxActive int
	// MaxOperations bounds the operations at once, those that only wait included. At least MaxActive.
	MaxOperations int
	// ProgressDelay is how long what an operation waits for is left unsaid; most waits are shorter. Until the next word it takes
	// twice as long each time, up to a minute: each costs a look at the object. 3 s by default.
	ProgressDelay time.Duration
	// Wake asks for a reconcile of an object. It must not block and may be called from any goroutine.
	Wake func(types.NamespacedName)
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Crashed is told about a panic of an operation, with its stack; may be nil.
	Crashed func(key types.NamespacedName, what string)
}

// defaultProgressDelay is longer than nearly every wait for something that is not stuck, and short for whoever looks on.
const defaultProgressDelay = 3 * time.Second

// longestProgressPause is the longest time between two words about what an operation waits for.
const longestProgressPause = time.Minute

// Runner runs Helm operations outside the reconcile workers: at most one for each object, and a bounded number at once.
// It keeps the outcome until the worker of the object has recorded it.
type Runner struct {
	cfg  RunnerConfig
	base context.Context // parent of all operations; ends with ErrShutdown
	stop context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards all below
	jobs    map[types.NamespacedName]*job
	slots   *slots
	stopped bool
}

// job is an operation that runs (outcome is nil), or whose outcome is not recorded yet.
type job struct {
	operation v1alpha1.ReleaseOperation
	cancel    context.CancelCauseFunc
	outcome   *Outcome
	// idle says that it only waits.
	idle bool
	// progress is what it waits for now, told what was told of that, tell the timer until that may be told, and pause how long it
	// runs the next time.
	progress, told string
	tell           *time.Timer
	pause          time.Duration
}

// Running is an operation that runs.
type Running struct {
	v1alpha1.ReleaseOperation
	// Progress is what it waits for; empty while that is not worth a word.
	Progress string
}

// NewRunner returns a runner that works until Start's context ends.
func NewRunner(cfg RunnerConfig) *Runner {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ProgressDelay <= 0 {
		cfg.ProgressDelay = defaultProgressDelay
	}
	base, stop := context.WithCancelCause(context.Background())
	return &Runner{
		cfg: cfg, base: base, stop: stop, jobs: map[types.NamespacedName]*job{},
		slots: newSlots(max(1, cfg.MaxActive), cfg.MaxOperations),
	}
}

// Start waits until ctx ends, interrupts what runs, and returns when that has ended. It is a runnable of a manager.
func (r *Runner) Start(ctx context.Context) error {
	<-ctx.Done()
	r.mu.Lock()
	r.stopped = true
	r.slots.hurry()
	r.mu.Unlock()
	r.stop(ErrShutdown)
	r.work.Wait()
	return nil
}

// Look begins a look at an object, and returns what ends it: room for an operation that was kept for the object, or a place in
// the queue for it, goes to others if the look does not want it.
func (r *Runner) Look(key types.NamespacedName) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hadTurn := r.slots.kept[key]
	return func() {
		r.mu.Lock()
		turns := r.slots.passed(key, hadTurn)
		r.mu.Unlock()
		r.wake(turns)
	}
}

// Reserve takes room for an operation. Without any it returns false and wakes the object when its turn comes.
func (r *Runner) Reserve(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.jobs[key] != nil {
		return false
	}
	return r.slots.take(key)
}

// Queued reports whether an object waits for room.
func (r *Runner) Queued(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slots.queued(key)
}

// Return gives room back that was reserved and not used.
func (r *Runner) Return() {
	r.mu.Lock()
	turns := r.slots.give(false)
	r.mu.Unlock()
	r.wake(turns)
}

// Run starts an operation for which room was reserved. Its context ends when the operation is interrupted.
func (r *Runner) Run(key types.NamespacedName, operation v1alpha1.ReleaseOperation, do func(context.Context, *Turn) Outcome) {
	ctx, cancel := context.WithCancelCause(r.base)
	j := &job{operation: operation, cancel: cancel}
	r.mu.Lock()
	r.jobs[key] = j
	r.work.Add(1)
	r.mu.Unlock()
	turn := &Turn{runner: r, key: key, job: j}
	go func() {
		defer r.work.Done()
		defer cancel(nil)
		r.finish(key, j, r.guarded(key, operation, func() Outcome { return do(ctx, turn) }))
	}()
}

// Turn is how an operation tells what it is about.
type Turn struct {
	runner *Runner
	key    types.NamespacedName
	job    *job
}

// Idle says that the operation only waits from now on.
func (t *Turn) Idle() {
	r := t.runner
	r.mu.Lock()
	t.job.idle = true
	turns := r.slots.idle()
	r.mu.Unlock()
	r.wake(turns)
}

// Busy says that the operation goes on. It waits until there is room for that, unless the process stops.
func (t *Turn) Busy() {
	r := t.runner
	r.mu.Lock()
	t.job.idle = false
	t.job.progress = ""
	turn := r.slots.busy()
	if r.stopped {
		r.slots.hurry()
	}
	r.mu.Unlock()
	if turn != nil {
		<-turn
	}
}

// Progress says what the operation waits for. It is told after a while, if it is still so.
func (t *Turn) Progress(text string) {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	t.job.progress = text
	if t.job.tell == nil {
		pause := max(t.job.pause, r.cfg.ProgressDelay)
		t.job.tell, t.job.pause = time.AfterFunc(pause, t.tell), min(2*pause, longestProgressPause)
	}
}

// tell makes known what the operation waits for now.
func (t *Turn) tell() {
	r := t.runner
	r.mu.Lock()
	j := t.job
	j.tell = nil
	news := j.outcome == nil && j.progress != "" && j.progress != j.told
	if news {
		j.told = j.progress
	}
	r.mu.Unlock()
	if news {
		r.cfg.Wake(t.key)
	}
}

// guarded turns a panic (of a template function, say) into a failure of this one release.
func (r *Runner) guarded(key types.NamespacedName, operation v1alpha1.ReleaseOperation, do func() Outcome) (outcome Outcome) {
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
	return do()
}

func (r *Runner) finish(key types.NamespacedName, j *job, outcome Outcome) {
	r.mu.Lock()
	j.outcome = &outcome
	if j.tell != nil {
		j.tell.Stop()
	}
	turns := r.slots.give(j.idle)
	r.mu.Unlock()
	r.cfg.Wake(key)
	r.wake(turns)
}

func (r *Runner) wake(keys []types.NamespacedName) {
	for _, key := range keys {
		r.cfg.Wake(key)
	}
}

// Running returns the operation of an object that runs.
func (r *Runner) Running(key types.NamespacedName) (Running, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := r.jobs[key]
	if job == nil || job.outcome != nil {
		return Running{}, false
	}
	return Running{ReleaseOperation: job.operation, Progress: job.told}, true
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

// Gone drops all that is kept for an object that does not exist any more. What runs for it is interrupted.
func (r *Runner) Gone(key types.NamespacedName) {
	r.Interrupt(key, ErrGone)
	r.Forget(key)
	r.mu.Lock()
	turns := r.slots.forget(key)
	r.mu.Unlock()
	r.wake(turns)
}

// Interrupt ends the readiness wait of the operation of an object, if one runs. Hooks and writes go on to their end.
func (r *Runner) Interrupt(key types.NamespacedName, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if job := r.jobs[key]; job != nil && job.outcome == nil {
		job.cancel(cause)
	}
}
