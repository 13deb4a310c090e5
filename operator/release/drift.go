package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/drift"
	"github.com/ketches/helm-operator/operator/helm"
)

// A look for drift is a part of the pass, not an operation of the Runner: it happens only when a pass has found that all else is
// as it should be and nothing runs, it writes no record and needs no intent (each patch is complete in itself, and what a stop
// leaves undone the next look finds), and most looks find nothing, so that announcing them would be most of their cost. A worker
// is held for as long as a few requests at once take, and for driftTimeout at the longest.

// driftTimeout bounds one look. Two hundred objects that do not differ take 0.2 s with an API server on the same two cores.
const driftTimeout = 30 * time.Second

// maxCorrectionPause is the longest time between two corrections of an object that somebody changes again and again, unless the
// interval is longer.
const maxCorrectionPause = time.Hour

// Bounds of the lists in the status, as the API has them, and of the fields that a message names for an object.
const (
	maxDriftedObjects = 20
	maxDriftedFields  = 10
	maxToldFields     = 3
)

const messageNoDrift = "No object differs from the release"

// driftSettings is what a spec says about drift.
type driftSettings struct {
	mode  v1alpha1.DriftMode
	rules []drift.Rule
}

func (r *reader) drift(spec *v1alpha1.DriftDetection) driftSettings {
	if spec == nil || spec.Mode == "" {
		return driftSettings{mode: v1alpha1.DriftDisabled}
	}
	rules, err := drift.ParseRules(spec.Ignore)
	if err != nil && r.problem == nil {
		r.problem = &Problem{
			Reason: v1alpha1.ReasonConfigurationError, Stalled: true, Message: fmt.Sprintf("spec.driftDetection.%v", err),
		}
	}
	return driftSettings{mode: spec.Mode, rules: rules}
}

// driftLooks remember the looks at all releases, in this process only: a new process looks at once. It is safe for concurrent
// use; one state is used by the pass of its object alone.
type driftLooks struct {
	mu    sync.Mutex // guards byKey
	byKey map[types.NamespacedName]*driftState
}

// driftState is what is remembered of the looks at one release.
type driftState struct {
	// generation of the spec, and target and resource version of the record, that the last look was for.
	generation int64
	record     string
	// next is when a look is due if nothing asks for one before.
	next time.Time
	// told is the digest of the differences that were told last.
	told string
	// corrections are those of objects that were not as they should be at the look after.
	corrections map[drift.Object]correction
	// unsaved is what a look found that the status does not have yet, because the object has changed meanwhile.
	unsaved *driftNews
}

// correction is how often in a row an object was corrected, and when last.
type correction struct {
	times int32
	at    time.Time
}

// driftNews is what a look found.
type driftNews struct {
	helm.Drift
	// err is why nothing was found out; nil when something was.
	err error
}

func (l *driftLooks) of(key types.NamespacedName) *driftState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = map[types.NamespacedName]*driftState{}
	}
	state := l.byKey[key]
	if state == nil {
		state = &driftState{corrections: map[drift.Object]correction{}}
		l.byKey[key] = state
	}
	return state
}

func (l *driftLooks) drop(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byKey, key)
}

// stay leaves a release alone that is as it should be, and looks at its objects when that is due.
func (p *pass) stay(ctx context.Context, f *Facts, d Decision) (after time.Duration, again bool, err error) {
	p.conclude(d)
	if p.settings.drift.mode == v1alpha1.DriftDisabled {
		p.drifts.drop(p.key)
		p.drop(v1alpha1.ConditionDrifted)
		p.draft.Status.Drift = nil
		return p.lookAgain(f, d), false, p.save(ctx)
	}
	state := p.drifts.of(p.key)
	p.lookForDrift(ctx, f, state)
	if state.unsaved != nil {
		p.noteDrift(state)
	}
	if err := p.save(ctx); err != nil {
		return 0, false, err
	}
	state.unsaved = nil
	return min(p.lookAgain(f, d), max(state.next.Sub(f.Now), time.Second)), false, nil
}

// lookForDrift looks at the objects if that is due: at the interval, for a new spec or record, and when it is asked for.
func (p *pass) lookForDrift(ctx context.Context, f *Facts, state *driftState) {
	newest, _ := p.seen.get(p.key)
	record := fmt.Sprintf("%s %d %s", f.Target, f.Newest.Revision, newest.release.ResourceVersion)
	asked := p.saved.Status.HandledReconcile != p.draft.Status.HandledReconcile
	edited := state.generation != p.draft.Generation
	if state.unsaved != nil || !asked && !edited && state.record == record && f.Now.Before(state.next) {
		return
	}
	if edited { // an edit is a new try
		clear(state.corrections)
	}
	options := helm.DriftOptions{
		Namespace: f.Target.Namespace, Name: f.Target.Name, Revision: f.Newest.Revision,
		ResourceVersion: newest.release.ResourceVersion, Rules: p.settings.drift.rules,
		ServiceAccount: p.settings.account,
	}
	if p.settings.drift.mode == v1alpha1.DriftCorrect {
		options.Correct = func(object drift.Object) bool {
			last, was := state.corrections[object]
			return asked || !was || !f.Now.Before(last.at.Add(correctionPause(last.times, p.settings.interval)))
		}
	}
	looking, cancel := context.WithTimeoutCause(ctx, driftTimeout, fmt.Errorf("it took longer than %s", driftTimeout))
	defer cancel()
	found, err := p.cfg.Helm.Drift(looking, options)
	switch {
	case ctx.Err() != nil: // the process stops
	case errors.Is(err, helm.ErrConflict), errors.Is(err, helm.ErrNotFound):
		p.seen.drop(p.key) // the next look reads the record that is there now
		state.next = f.Now.Add(conflictPause)
	default:
		state.generation, state.record, state.next = p.draft.Generation, record, f.Now.Add(p.settings.interval)
		if looking.Err() == nil && (err != nil || len(found.Problems) > 0) { // one that took too long is not repeated soon
			state.next = f.Now.Add(min(retryDependency, p.settings.interval))
		}
		state.unsaved = &driftNews{Drift: found, err: err}
		if err == nil {
			state.note(found, f.Now)
		}
		for _, finding := range found.Findings {
			log.FromContext(ctx).Info("An object differs from the release", "release", f.Target.String(), "object", finding.Object.String(),
				"state", finding.State, "fields", len(finding.Differences), "corrected", corrected(finding), "problem", finding.Problem)
		}
	}
}

// correctionPause is the wait after a number of corrections in a row. The first one that did not last is followed by another at
// the next look, and then the pause doubles.
func correctionPause(times int32, interval time.Duration) time.Duration {
	return RetryPolicy{Interval: interval, MaxInterval: max(interval, maxCorrectionPause)}.After(times)
}

// note counts corrections. Objects that are as they should be, or that are gone from the release, are forgotten.
func (s *driftState) note(found helm.Drift, now time.Time) {
	differing := map[drift.Object]bool{}
	for _, finding := range found.Findings {
		differing[finding.Object] = true
		if finding.Tried {
			s.corrections[finding.Object] = correction{times: s.corrections[finding.Object].times + 1, at: now}
		}
	}
	for object := range s.corrections {
		if !differing[object] && len(found.Problems) == 0 {
			delete(s.corrections, object)
		}
	}
}

// corrected reports whether an object that differed is now as it should be.
func corrected(finding helm.DriftFinding) bool { return finding.Tried && finding.Problem == "" }

// noteDrift writes what a look found into the draft. Events tell what is new.
func (p *pass) noteDrift(state *driftState) {
	news := state.unsaved
	if news.err != nil {
		p.set(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonDriftUnknown,
			"The objects could not be compared with the release: "+news.err.Error())
		return
	}
	var left, mended []helm.DriftFinding
	for _, finding := range news.Findings {
		if corrected(finding) {
			mended = append(mended, finding)
		} else {
			left = append(left, finding)
		}
	}
	before := p.draft.Status.Drift
	told := driftDigest(news.Findings)
	if len(news.Findings) > 0 && told != state.told && (before == nil || told != before.Digest) {
		p.warn(v1alpha1.ReasonDriftDetected, tellDrift(news.Findings))
	}
	state.told = told
	if len(mended) > 0 {
		p.normal(v1alpha1.ReasonDriftCorrected, tellCorrected(mended))
	}
	p.draft.Status.Drift = p.driftStatus(state, left)
	p.setDrifted(left, mended, news.Problems)
}

// setDrifted writes the condition.
func (p *pass) setDrifted(left, mended []helm.DriftFinding, problems []string) {
	unknown := ""
	if len(problems) > 0 {
		unknown = fmt.Sprintf("%s could not be compared: %s", counted(len(problems)), strings.Join(problems, "; "))
	}
	before := meta.FindStatusCondition(p.draft.Status.Conditions, v1alpha1.ConditionDrifted)
	switch {
	case len(left) > 0:
		message := tellDrift(left)
		if unknown != "" {
			message += "; " + unknown
		}
		p.set(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected, message)
	case unknown != "":
		p.set(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonDriftUnknown, unknown)
	case len(mended) > 0:
		p.set(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonDriftCorrected, tellCorrected(mended))
	case before != nil && before.Status == metav1.ConditionFalse: // what was corrected last stays told
		p.set(v1alpha1.ConditionDrifted, metav1.ConditionFalse, before.Reason, before.Message)
	default:
		p.set(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift, messageNoDrift)
	}
}

// driftStatus lists the objects that still differ; nil when none does.
func (p *pass) driftStatus(state *driftState, left []helm.DriftFinding) *v1alpha1.DriftStatus {
	if len(left) == 0 {
		return nil
	}
	status := &v1alpha1.DriftStatus{Digest: driftDigest(left), Count: int32(len(left))}
	for _, finding := range left[:min(len(left), maxDriftedObjects)] {
		last := state.corrections[finding.Object]
		object := v1alpha1.DriftedObject{
			APIVersion: finding.Object.APIVersion, Kind: finding.Object.Kind, Namespace: finding.Object.Namespace, Name: finding.Object.Name,
			State: finding.State, FieldCount: int32(len(finding.Differences)), Corrections: last.times, Message: finding.Problem,
		}
		if last.times > 0 && p.settings.drift.mode == v1alpha1.DriftCorrect {
			next := "next correction at " + clock(last.at.Add(correctionPause(last.times, p.settings.interval)))
			object.Message = strings.TrimPrefix(clip(finding.Problem, maxFailureBytes)+"; "+next, "; ")
		}
		for _, field := range finding.Differences[:min(len(finding.Differences), maxDriftedFields)] {
			object.Fields = append(object.Fields, v1alpha1.DriftedField{Path: field.Path, Want: field.Want, Have: field.Have})
		}
		status.Objects = append(status.Objects, object)
	}
	return status
}

// driftDigest stands for a set of differences. Values are no part of it: what changes all the time would be told all the time.
func driftDigest(findings []helm.DriftFinding) string {
	if len(findings) == 0 {
		return ""
	}
	hash := sha256.New()
	for _, finding := range findings {
		fmt.Fprintf(hash, "%q %q %q\n", finding.Object.APIVersion, finding.Object.String(), finding.State)
		for _, field := range finding.Differences {
			fmt.Fprintf(hash, "\t%q\n", field.Path)
		}
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// tellDrift says which objects differ.
func tellDrift(findings []helm.DriftFinding) string {
	verb := "differ"
	if len(findings) == 1 {
		verb = "differs"
	}
	return fmt.Sprintf("%s %s from the release: %s", counted(len(findings)), verb, tellAll(findings))
}

// tellCorrected says which objects were corrected.
func tellCorrected(findings []helm.DriftFinding) string {
	return fmt.Sprintf("Corrected %s: %s", counted(len(findings)), tellAll(findings))
}

func counted(objects int) string {
	if objects == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", objects)
}

func tellAll(findings []helm.DriftFinding) string {
	var parts []string
	for _, finding := range findings[:min(len(findings), maxDriftedObjects)] {
		parts = append(parts, tell(finding))
	}
	return strings.Join(parts, "; ")
}

// tell says how an object differs, or differed.
func tell(finding helm.DriftFinding) string {
	text := finding.Object.String()
	switch finding.State {
	case v1alpha1.DriftMissing:
		text += " (missing)"
	case v1alpha1.DriftDeleting:
		text += " (being deleted)"
	default:
		var fields []string
		for _, field := range finding.Differences[:min(len(finding.Differences), maxToldFields)] {
			told := field.Path
			if field.Want != "" && field.Have != "" {
				told += fmt.Sprintf(" is %s instead of %s", field.Have, field.Want)
			}
			fields = append(fields, told)
		}
		if more := len(finding.Differences) - maxToldFields; more > 0 {
			fields = append(fields, fmt.Sprintf("%d more", more))
		}
		text += " (" + strings.Join(fields, ", ") + ")"
	}
	if finding.Problem != "" {
		text += ", not corrected: " + finding.Problem
	}
	return text
}
