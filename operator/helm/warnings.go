package helm

import (
	"context"
	"slices"
	"sync"
)

// warningsKept bounds how many warnings of the API server one operation keeps.
const warningsKept = 20

// warnings collects what the API server warns about, each warning once. It implements rest.WarningHandlerWithContext.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// warningCode is the code of the HTTP Warning header that API servers use.
const warningCode = 299

// HandleWarningHeaderWithContext keeps the text of one warning.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	if code != warningCode || text == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.texts) < warningsKept && !slices.Contains(w.texts, text) {
		w.texts = append(w.texts, text)
	}
}

// list returns the warnings so far.
func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.texts)
}
