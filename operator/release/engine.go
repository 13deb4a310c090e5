package release

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// Helm runs Helm actions and reads Helm's storage. *helm.Client is one.
type Helm interface {
	Last(ctx context.Context, namespace, name string) (helm.Release, bool, error)
	History(ctx context.Context, namespace, name string) ([]helm.Revision, error)
	MarkInterrupted(ctx context.Context, namespace, name string, revision int, cause string) error
	Install(ctx context.Context, options helm.InstallOptions) (helm.Release, error)
	Upgrade(ctx context.Context, options helm.UpgradeOptions) (helm.Release, error)
	Rollback(ctx context.Context, options helm.RollbackOptions) (helm.Release, error)
	Uninstall(ctx context.Context, options helm.UninstallOptions) (found bool, err error)
	Test(ctx context.Context, options helm.TestOptions) (helm.Release, error)
	Drift(ctx context.Context, options helm.DriftOptions) (helm.Drift, error)
}

// Charts finds charts and hands them out. *client.Client is one.
type Charts interface {
	Resolve(ctx context.Context, request client.ChartRequest) (client.Resolved, error)
	Download(ctx context.Context, request client.ChartRequest, w io.Writer) (client.Downloaded, error)
}

// ErrConflict is in the chain of the error of a write that failed because the object has changed or is gone.
var ErrConflict = errors.New("the object has changed meanwhile")

// Objects reads and writes the custom resources. Writes are by optimistic lock, fail with ErrConflict, and bring the object
// up to date; reads may come from a cache.
type Objects interface {
	// PatchStatus writes the difference of the two statuses.
	PatchStatus(ctx context.Context, saved, draft *v1alpha1.HelmRelease) error
	// AddFinalizer and RemoveFinalizer change the metadata only.
	AddFinalizer(ctx context.Context, release *v1alpha1.HelmRelease) error
	RemoveFinalizer(ctx context.Context, release *v1alpha1.HelmRelease) error
	// Fresh reads a release from the API server itself, and returns false when there is none of that name.
	Fresh(ctx context.Context, key types.NamespacedName) (*v1alpha1.HelmRelease, bool, error)
	// Repository returns a HelmRepository, and false when there is none of that name.
	Repository(ctx context.Context, key types.NamespacedName) (*v1alpha1.HelmRepository, bool, error)
	// Repositories returns those of a namespace.
	Repositories(ctx context.Context, namespace string) ([]v1alpha1.HelmRepository, error)
	// Release returns a HelmRelease, and false when there is none of that name.
	Release(ctx context.Context, key types.NamespacedName) (*v1alpha1.HelmRelease, bool, error)
	// Dependents returns the HelmReleases that name one in their dependsOn.
	Dependents(ctx context.Context, key types.NamespacedName) ([]v1alpha1.HelmRelease, error)
	// HasServiceAccount reports whether a ServiceAccount exists.
	HasServiceAccount(ctx context.Context, key types.NamespacedName) (bool, error)
	// ValuesObject returns the data of a ConfigMap or Secret, and false when it does not exist.
	ValuesObject(ctx context.Context, kind string, key types.NamespacedName) (data map[string][]byte, found bool, err error)
	// OtherOwner returns another HelmRelease than self that exists and owns a Helm release: by the hash on its records
	// (see OwnerHash), or because its status names it.
	OtherOwner(ctx context.Context, self types.NamespacedName, target Target, hash string) (types.NamespacedName, bool, error)
}

// Events makes events on objects. A record.EventRecorder of client-go is one.
type Events interface {
	Event(object runtime.Object, eventType, reason, message string)
}

var (
	_ Helm   = (*helm.Client)(nil)
	_ Charts = (*client.Client)(nil)
)

// Config is what an Engine needs.
type Config struct {
	Helm    Helm
	Charts  Charts
	Objects Objects
	Events  Events
	Runner  *Runner
	Metrics *Metrics
	// MinRevision returns the newest revision of a repository that was seen; may be nil.
	MinRevision func(client.Source) client.Revision
	// ChartNews returns when chartcache last told something of a repository, by Now; zero when it never did. May be nil.
	ChartNews func(client.Source) time.Time
	// NewestRecord returns the resource version of the newest record of a Helm release as a watch knows it, and false when it knows
	// of none. It may be late. Without it, storage is read at each look.
	NewestRecord func(Target) (resourceVersion string, known bool)
	// DenyCrossNamespace refuses charts of HelmRepositories of other namespaces.
	DenyCrossNamespace bool
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// NewOperationID returns a unique label value; random by default.
	NewOperationID func() string
}

// Engine keeps releases as their HelmReleases describe them. It is safe for concurrent use, but there may be only one
// call for one object at a time.
type Engine struct {
	cfg  Config
	seen *seenRecords
	// drifts remember the looks for drift.
	drifts driftLooks
}

// New returns an engine.
func New(cfg Config) (*Engine, error) {
	if cfg.Helm == nil || cfg.Charts == nil || cfg.Objects == nil || cfg.Events == nil || cfg.Runner == nil || cfg.Metrics == nil {
		return nil, errors.New("release engine: a dependency is missing")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewOperationID == nil {
		cfg.NewOperationID = rand.Text
	}
	if cfg.MinRevision == nil {
		cfg.MinRevision = func(client.Source) client.Revision { return client.Revision{} }
	}
	return &Engine{cfg: cfg, seen: newSeenRecords()}, nil
}

// conflictPause is how long a worker waits for its cache to catch up after a conflict. Mostly the event comes first.
const conflictPause = 200 * time.Millisecond

// queuePatience is how long an operation waits for room before that is worth a word in the status.
const queuePatience = 5 * time.Second

// maxSteps bounds the short steps of one pass; the longest real chain is outcome, unlock, adopt, start.
const maxSteps = 6

// Reconcile makes one pass over a release, which the caller has read and which is changed. It returns when to look again
// even if nothing happens; zero means never. Errors are those of the API server.
func (e *Engine) Reconcile(ctx context.Context, release *v1alpha1.HelmRelease) (time.Duration, error) {
	after, err := e.reconcile(ctx, release)
	if errors.Is(err, ErrConflict) {
		return conflictPause, nil
	}
	return after, err
}

func (e *Engine) reconcile(ctx context.Context, release *v1alpha1.HelmRelease) (time.Duration, error) {
	finalized := hasFinalizer(release)
	switch {
	case !release.DeletionTimestamp.IsZero() && !finalized:
		e.Forget(types.NamespacedName{Namespace: release.Namespace, Name: release.Name})
		return 0, nil
	case !finalized:
		if err := e.cfg.Objects.AddFinalizer(ctx, release); err != nil {
			return 0, err
		}
	}
	p := newPass(e, release)
	defer e.cfg.Runner.Look(p.key)()
	// Before the outcome: an operation that ends in between counts as running, and wakes us again.
	if running, ok := e.cfg.Runner.Running(p.key); ok {
		p.running, p.progress = &running.ReleaseOperation, running.Progress
	}
	p.takeOutcome()
	for range maxSteps {
		facts, err := p.observe(ctx)
		if err != nil {
			p.unreadable(err)
			p.draft.Status.HandledReconcile = p.saved.Status.HandledReconcile // the next look is what was asked for
			return 0, errors.Join(err, p.save(ctx))
		}
		decision := Decide(*facts)
		after, again, err := p.act(ctx, facts, decision)
		if err != nil || !again {
			return after, err
		}
	}
	return conflictPause, p.save(ctx)
}

// Forget drops what is kept of an object that is gone.
func (e *Engine) Forget(key types.NamespacedName) {
	e.cfg.Runner.Gone(key)
	e.seen.drop(key)
	e.drifts.drop(key)
	e.cfg.Metrics.forget(key)
}

func hasFinalizer(release *v1alpha1.HelmRelease) bool {
	for _, finalizer := range release.Finalizers {
		if finalizer == v1alpha1.ReleaseFinalizer {
			return true
		}
	}
	return false
}
