package controller

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ketches/helm-operator/chartcache/client"
	"github.com/ketches/helm-operator/operator/api/v1alpha1"
	"github.com/ketches/helm-operator/operator/valuesmap"
)

// valuesProblem is why a ConfigMap could not be made or changed.
type valuesProblem struct {
	text     string
	digest   string    // of the chart that it was about; empty when that is not known
	retryAt  time.Time // zero for not before the chart changes
	attempts int
	taken    bool // somebody else has the name, which costs nothing to look at again
}

// problem notes why a ConfigMap could not be made or changed. Without a pause it is not tried again before the chart changes.
func (p *valuesPass) problem(key, digest string, pause time.Duration, format string, args ...any) {
	p.done.Lock()
	defer p.done.Unlock()
	problem := &valuesProblem{text: fmt.Sprintf(format, args...), digest: digest}
	if before := p.problems[key]; before != nil {
		problem.attempts = before.attempts + 1
	}
	if pause > 0 {
		problem.retryAt = p.now.Add(max(pause, min(pause<<min(problem.attempts, 10), longestValuesRetry)))
		p.until(problem.retryAt)
	}
	p.problems[key] = problem
}

// unresolved notes that nobody could say which version of a chart there is. It is asked for again after a while, mostly before, as each
// pass asks.
func (p *valuesPass) unresolved(chart valuesmap.Chart, err error) {
	name := strings.TrimSpace(chart.String())
	key := "chart " + name // no ConfigMap has a space in its name
	p.done.Lock()
	defer p.done.Unlock()
	p.problems[key] = &valuesProblem{text: fmt.Sprintf("chart %s could not be looked up in the repository: %s", name, err)}
	p.spared[key] = true
	p.until(p.now.Add(retryAfter(err)))
}

// retryAfter is the first pause before chartcache is asked again about what it could not say.
func retryAfter(err error) time.Duration {
	if answer := new(client.Error); errors.As(err, &answer) {
		return max(firstValuesRetry, answer.RetryAfter)
	}
	return firstValuesRetry
}

// dropProblems forgets the problems of ConfigMaps that are not to be written any more. What went wrong in this pass is spared.
func (p *valuesPass) dropProblems(writes []valuesmap.Write) {
	names := make(map[string]bool, len(writes))
	for _, w := range writes {
		names[w.Name] = true
	}
	maps.DeleteFunc(p.problems, func(name string, _ *valuesProblem) bool { return !names[name] && !p.spared[name] })
}

// isHeld reports whether what has a problem is not to be tried again yet. digest is that of the chart now; empty when it is not known.
func (p *valuesPass) isHeld(key, digest string) bool {
	problem := p.problems[key]
	switch {
	case problem == nil, problem.taken, digest != "" && problem.digest != "" && digest != problem.digest:
		return false
	case problem.retryAt.IsZero():
		return true
	case problem.retryAt.After(p.now):
		p.until(problem.retryAt)
		return true
	}
	return false
}

// changes are the names of the ConfigMaps that a pass changed.
type changes struct{ made, renewed, removed []string }

// tell makes one event of all that changed, and one of all that is wrong when that is something else than before.
func (p *valuesPass) tell() {
	var done []string
	for _, c := range []struct {
		verb  string
		names []string
	}{{"made", p.changes.made}, {"updated", p.changes.renewed}, {"removed", p.changes.removed}} {
		if len(c.names) > 0 {
			slices.Sort(c.names)
			done = append(done, fmt.Sprintf("%s %d (%s)", c.verb, len(c.names), some(c.names, ", ")))
		}
	}
	if len(done) > 0 {
		p.events.Event(p.repository, corev1.EventTypeNormal, v1alpha1.ReasonValuesConfigMapsUpdated,
			clip("ConfigMaps with default values: "+strings.Join(done, ", ")))
	}
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(p.problems)) {
		wrong = append(wrong, p.problems[name].text)
	}
	warning := clip(some(wrong, "; "))
	if warning != "" && warning != p.told {
		p.events.Event(p.repository, corev1.EventTypeWarning, v1alpha1.ReasonValuesConfigMapsFailed, warning)
	}
	p.told = warning
}

// namedInEvents is how many of many things an event names.
const namedInEvents = 5

// some joins the first few texts.
func some(texts []string, separator string) string {
	more := len(texts) - namedInEvents
	if more <= 0 {
		return strings.Join(texts, separator)
	}
	return strings.Join(texts[:namedInEvents], separator) + separator + fmt.Sprintf("and %d more", more)
}
