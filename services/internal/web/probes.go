package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// checkTimeout bounds one check. The kubelet's default is one second for the whole probe; the manifests allow more.
const checkTimeout = 2 * time.Second

// Check says what is the matter; nil means that all is well. It must be quick and have no effects. The text of the error
// is shown to whoever asks.
type Check func(ctx context.Context) error

// Probes answers /healthz (restart me when this fails) and /readyz (send me work when this succeeds): 200 when every
// check passes, else 503; with ?verbose, or on failure, one line for each check. /healthz/NAME and /readyz/NAME run one
// check.
type Probes struct {
	mu      sync.RWMutex // guards the checks, which may be added while requests run
	healthy []namedCheck
	ready   []namedCheck
}

type namedCheck struct {
	name  string
	check Check
}

// AddHealthy adds a check to /healthz. Only what a restart would mend belongs here.
func (p *Probes) AddHealthy(name string, check Check) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.healthy = append(p.healthy, namedCheck{name, check})
}

// AddReady adds a check to /readyz.
func (p *Probes) AddReady(name string, check Check) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, namedCheck{name, check})
}

// Handler returns the handler of both paths.
func (p *Probes) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, checks := range map[string]func() []namedCheck{
		"healthz": func() []namedCheck { return p.healthy },
		"readyz":  func() []namedCheck { return p.ready },
	} {
		answer := func(w http.ResponseWriter, r *http.Request) {
			p.mu.RLock()
			all := checks()
			p.mu.RUnlock()
			respond(w, r, path, all)
		}
		mux.HandleFunc("GET /"+path, answer)
		mux.HandleFunc("GET /"+path+"/{check}", answer)
	}
	return mux
}

func respond(w http.ResponseWriter, r *http.Request, path string, checks []namedCheck) {
	wanted := r.PathValue("check")
	found := wanted == ""
	failed := false
	var lines strings.Builder
	for _, c := range checks {
		if wanted != "" && wanted != c.name {
			continue
		}
		found = true
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		err := c.check(ctx)
		cancel()
		if err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-] %s: %v\n", c.name, err)
			continue
		}
		fmt.Fprintf(&lines, "[+] %s: ok\n", c.name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case !found:
		http.Error(w, "there is no such check", http.StatusNotFound)
	case failed:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "%s%s check failed\n", lines.String(), path)
	case r.URL.Query().Has("verbose"):
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), path)
	default:
		fmt.Fprint(w, "ok")
	}
}
