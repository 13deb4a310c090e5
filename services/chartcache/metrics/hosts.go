package metrics

import (
	"strings"
	"sync"
)

// hostSet bounds the number of hosts that get a label value of their own.
type hostSet struct {
	mu    sync.Mutex // guards known
	known map[string]bool
}

// label returns the label value of a host. A URL can name a host that is not UTF-8 ("%ff"), which no label may be.
func (h *hostSet) label(host string) string {
	host = strings.ToValidUTF8(host, "_")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known[host] {
		return host
	}
	if len(h.known) >= maxHosts {
		return "other"
	}
	h.known[host] = true
	return host
}
