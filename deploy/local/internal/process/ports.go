package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The range lies below the kernel's default ephemeral range (32768-60999), from which outgoing connections take their ports: a
// port that was free a moment ago is not lost to one of these before its program binds it.
const (
	firstPort = 20000
	portCount = 10000
)

// Ports hands out free ports of the loopback interface. Safe for concurrent use.
type Ports struct {
	// Rand picks where to look. Stacks side by side start at different places, so that they rarely meet. Required.
	Rand *rand.Rand

	mu    sync.Mutex // guards Rand and given
	given map[int]bool
}

// Free returns a loopback port that nothing listens on now and that was not given out before. Another process may still take it
// before its program binds it: start the program again with another port then.
func (p *Ports) Free() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == nil {
		p.given = make(map[int]bool)
	}
	for range portCount {
		port := firstPort + p.Rand.IntN(portCount)
		if p.given[port] {
			continue
		}
		l, err := net.Listen("tcp", Loopback(port))
		if err != nil {
			continue // taken
		}
		_ = l.Close()
		p.given[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, firstPort+portCount-1)
}

// FreeAddresses returns n loopback addresses (host:port) with free ports.
func (p *Ports) FreeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		port, err := p.Free()
		if err != nil {
			return nil, err
		}
		addresses[i] = Loopback(port)
	}
	return addresses, nil
}

// Loopback is the loopback address with this port, as host:port.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
