package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/helm"
)

// task is one Helm operation with all that it needs, so that it is independent of the pass that began it.
type task struct {
	engine    *Engine
	key       types.NamespacedName
	uid       types.UID
	operation v1alpha1.ReleaseOperation
	target    Target
	settings  settings
	chart     resolvedChart
	chartName string // of the spec
	values    map[string]any
	revision  int // to roll back to
	log       logr.Logger
}

// work returns the operation that was decided on.
func (p *pass) work(ctx context.Context, f *Facts, d Decision, operation v1alpha1.ReleaseOperation) func(context.Context, *Turn) Outcome {
	t := task{
		engine: p.Engine, key: p.key, uid: p.draft.UID, operation: operation, target: f.Target, settings: p.settings, chart: p.chart,
		chartName: p.draft.Spec.Chart.Name, values: p.values.values, revision: d.Revision, log: log.FromContext(ctx),
	}
	return t.run
}

// run does the operation and says how it ended. ctx ends waits for readiness only.
func (t task) run(ctx context.Context, turn *Turn) Outcome {
	record, err := t.do(ctx, helm.Callbacks{Progress: turn.Progress, Idle: turn.Idle, Busy: turn.Busy})
	outcome := Outcome{UID: t.uid, Operation: t.operation, Finished: t.engine.cfg.Now(), RolledBackTo: t.revision}
	var stopped interface{ Interrupted() bool }
	switch {
	case err == nil:
		outcome.Record = record
		for _, warning := range warningsOf(record) {
			t.log.Info("The API server warned about an object", "release", t.target.String(), "warning", warning)
		}
	case errors.As(err, &stopped) && stopped.Interrupted(), client.ReasonOf(err) == 0 && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		outcome.Interrupted = true
		because := context.Cause(ctx)
		if because == nil { // it lost the right to write for a while
			because = err
		}
		t.log.Info("A Helm operation was interrupted", "operation", t.operation.Type, "because", because.Error())
		if cause := context.Cause(ctx); errors.Is(cause, ErrShutdown) || errors.Is(cause, ErrGone) {
			t.leave(cause)
		}
	case overtaken(err):
		// Nothing was tried; the next look says what follows.
		outcome.Interrupted = true
		t.log.Info("Somebody else works on the Helm release", "operation", t.operation.Type, "release", t.target.String(), "error", err.Error())
	default:
		outcome.Problem, outcome.Revision = t.problem(err)
		if failed, ok := errors.AsType[*helm.Error](err); ok && failed.Stage == helm.StageTest {
			outcome.Tolerated = !t.settings.test.MarkFailed
		}
		outcome.TimedOut = errors.Is(err, helm.ErrTimeout)
		t.log.Info("A Helm operation failed", "operation", t.operation.Type, "release", t.target.String(),
			"failedRevision", outcome.Revision, "error", outcome.Problem.Message)
	}
	return outcome
}

// overtaken reports that somebody else wrote or removed a record after the look that led to an operation.
func overtaken(err error) bool {
	for _, by := range []error{helm.ErrNameInUse, helm.ErrPending, helm.ErrOvertaken, helm.ErrNotDeployed, helm.ErrNotFound} {
		if errors.Is(err, by) {
			return true
		}
	}
	return false
}

func warningsOf(record *helm.Release) []string {
	if record == nil {
		return nil
	}
	return record.Warnings
}

// do runs the Helm action.
func (t task) do(ctx context.Context, callbacks helm.Callbacks) (*helm.Release, error) {
	target := helm.Target{Name: t.target.Name, Namespace: t.target.Namespace, ServiceAccount: t.settings.account, Labels: map[string]string{
		v1alpha1.OwnerLabel:     OwnerHash(t.key.Namespace, t.key.Name),
		v1alpha1.OperationLabel: t.operation.ID,
	}}
	helmClient := t.engine.cfg.Helm
	var record helm.Release
	var err error
	switch t.operation.Type {
	case v1alpha1.OperationUninstall:
		options := t.settings.uninstall
		options.Target, options.Callbacks = target, callbacks
		_, err := helmClient.Uninstall(ctx, options)
		return nil, err
	case v1alpha1.OperationTest:
		options := t.settings.test
		options.Target, options.Callbacks = target, callbacks
		record, err = helmClient.Test(ctx, options)
		return &record, err
	case v1alpha1.OperationRollback:
		options := t.settings.rollback
		options.Target, options.ToRevision, options.Callbacks = target, t.revision, callbacks
		record, err = helmClient.Rollback(ctx, options)
		return &record, err
	}
	tarball, err := t.download(ctx)
	if err != nil {
		return nil, err
	}
	if t.operation.Type == v1alpha1.OperationInstall {
		options := t.settings.install
		options.Target, options.Callbacks = target, callbacks
		options.Chart, options.ChartName, options.Values = tarball, path.Base(t.chartName), t.values
		// What keepHistory left behind counts as nothing, so it is no obstacle.
		options.Replace = options.Replace || t.operation.Revision > 1
		record, err = helmClient.Install(ctx, options)
		return &record, err
	}
	options := t.settings.upgrade
	options.Target, options.Callbacks = target, callbacks
	options.Chart, options.ChartName, options.Values = tarball, path.Base(t.chartName), t.values
	record, err = helmClient.Upgrade(ctx, options)
	return &record, err
}

// download fetches the very tarball that was decided on, whatever the repository offers meanwhile.
func (t task) download(ctx context.Context) ([]byte, error) {
	var tarball bytes.Buffer
	_, err := t.engine.cfg.Charts.Download(ctx, client.ChartRequest{
		Source: t.chart.ref.Source, Chart: t.chart.ref.Chart,
		Version: t.chart.version.Version, Digest: t.chart.version.Digest,
	}, &tarball)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", t.chart.ref, err)
	}
	return tarball.Bytes(), nil
}

// problem says what an error means, and which failed revision it left.
func (t task) problem(err error) (*Problem, int) {
	var fromChartcache *client.Error
	if errors.As(err, &fromChartcache) {
		problem := chartProblem(err)
		problem.Message = clip(err.Error(), maxFailureBytes)
		return problem, 0
	}
	problem := &Problem{Reason: failedReason(t.operation.Type)}
	switch {
	case errors.Is(err, helm.ErrInvalidValues):
		problem.Reason = v1alpha1.ReasonValuesError
	case errors.Is(err, helm.ErrChartName):
		problem.Reason = v1alpha1.ReasonConfigurationError
	}
	var revision int
	var fromHelm *helm.Error
	message := "the operator failed"
	if errors.As(err, &fromHelm) {
		message, revision = fromHelm.Message, fromHelm.Revision
	} else if err != nil {
		message = err.Error()
	}
	problem.Message = clip(fmt.Sprintf("%s failed: %s", t.what(), message), maxFailureBytes)
	return problem, revision
}

// what names the operation in messages.
func (t task) what() string {
	switch t.operation.Type {
	case v1alpha1.OperationInstall:
		return fmt.Sprintf("Install of chart %s %s", t.chartName, t.chart.version.Version)
	case v1alpha1.OperationUpgrade:
		return fmt.Sprintf("Upgrade to chart %s %s", t.chartName, t.chart.version.Version)
	case v1alpha1.OperationTest:
		return fmt.Sprintf("Test of revision %d", t.operation.Revision)
	case v1alpha1.OperationRollback:
		return fmt.Sprintf("Rollback to revision %d", t.revision)
	default:
		return "Uninstall of " + t.target.String()
	}
}

// leaveTimeout bounds what is done for an operation that no reconcile worker will look at. It is short, because at a shutdown the
// process is given a limited time; what is left undone then is done at the next start.
const leaveTimeout = 5 * time.Second

// leave notes an interruption by a shutdown, or of an operation whose object is gone from here: no reconcile worker will. The status
// comes first, so that the unlocked revision is not taken for one that failed.
func (t task) leave(cause error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	objects := t.engine.cfg.Objects
	release, exists, err := objects.Fresh(ctx, t.key)
	switch {
	case err != nil:
		t.log.Error(err, "Read the HelmRelease of an interrupted operation")
		return
	case !exists || release.UID != t.uid: // there is no status to note it in
	case release.Status.Operation == nil || release.Status.Operation.ID != t.operation.ID:
		return // somebody else goes on with it
	default:
		p := newPass(t.engine, release)
		p.interrupted(t.operation, 0)
		if err := objects.PatchStatus(ctx, p.saved, p.draft); err != nil {
			t.log.Error(err, "Note an interrupted operation")
			return
		}
	}
	newest, found, err := t.engine.cfg.Helm.Last(ctx, t.target.Namespace, t.target.Name)
	if err != nil {
		t.log.Error(err, "Read an interrupted revision")
		return
	}
	if !found || !newest.Status.Pending() || newest.Labels[v1alpha1.OperationLabel] != t.operation.ID {
		return
	}
	if err := t.engine.cfg.Helm.MarkInterrupted(ctx, t.target.Namespace, t.target.Name, newest.Revision, cause.Error()); err != nil {
		t.log.Error(err, "Unlock an interrupted revision")
	}
}
