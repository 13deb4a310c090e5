package release

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
)

// pass is one Reconcile of one object. It is used by one goroutine.
type pass struct {
	*Engine
	key types.NamespacedName
	// saved is the object as storage has it, draft as it should be.
	saved, draft *v1alpha1.HelmRelease
	// events of the changes between saved and draft; they are sent when the draft is saved.
	events []event
	// running is the operation of the object that ran when the pass began; nil when none did.
	running *v1alpha1.ReleaseOperation
	// progress is what that operation waits for; empty while it is not worth a word.
	progress string
	// outcome of an operation that the draft has taken in.
	outcome *Outcome
	// count reports that the metrics do not have the outcome yet.
	count bool

	settings settings
	chart    resolvedChart
	values   composedValues
	// republished reports that the version of the chart is the same as before, but its content is not.
	republished bool
	// wantForce is a new value of the annotation that asks for an upgrade.
	wantForce string
}

type event struct{ kind, reason, message string }

func newPass(e *Engine, release *v1alpha1.HelmRelease) *pass {
	return &pass{
		Engine: e,
		key:    types.NamespacedName{Namespace: release.Namespace, Name: release.Name},
		saved:  release.DeepCopy(),
		draft:  release,
	}
}

// save writes the status, if it changed, and then sends the events of the change.
func (p *pass) save(ctx context.Context) error {
	if !equality.Semantic.DeepEqual(p.saved.Status, p.draft.Status) {
		if err := p.cfg.Objects.PatchStatus(ctx, p.saved, p.draft); err != nil {
			return err
		}
		p.saved = p.draft.DeepCopy()
	}
	if p.outcome != nil {
		if p.count { // only now: a pass whose patch met a conflict is repeated
			p.cfg.Metrics.operation(p.key, p.outcome)
			p.count = false
		}
		p.cfg.Runner.Forget(p.key)
		p.outcome = nil
	}
	for _, e := range p.events {
		p.cfg.Events.Event(p.draft, e.kind, e.reason, clip(e.message, maxEventBytes))
	}
	p.events = nil
	p.cfg.Metrics.info(p.key, p.draft.Status.HelmRelease)
	return nil
}

func (p *pass) normal(reason, message string) {
	p.events = append(p.events, event{corev1.EventTypeNormal, reason, message})
}

func (p *pass) warn(reason, message string) {
	p.events = append(p.events, event{corev1.EventTypeWarning, reason, message})
}
