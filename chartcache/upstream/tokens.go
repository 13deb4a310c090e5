package upstream

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	// maxTokenSets bounds the registries and accounts whose tokens are kept.
	maxTokenSets = 1000
	// tokensAge is how long tokens are kept, used or not: registries give them for minutes, and one for each chart.
	tokensAge = 10 * time.Minute
)

// tokens keeps what registries gave for credentials, so that a sync does not begin with asking for a token again. Other
// credentials have other tokens, and a registry that does not accept one any more gives another.
type tokens struct {
	// mu guards sets.
	mu   sync.Mutex
	sets map[[sha256.Size]byte]*tokenSet
}

type tokenSet struct {
	cache auth.Cache
	since time.Time
}

func newTokens() *tokens { return &tokens{sets: map[[sha256.Size]byte]*tokenSet{}} }

// of returns the tokens of a registry for credentials.
func (t *tokens) of(registry string, c Credentials, now time.Time) auth.Cache {
	id := accountID(registry, c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if set, ok := t.sets[id]; ok && now.Sub(set.since) < tokensAge {
		return set.cache
	}
	t.forget(now)
	set := &tokenSet{cache: auth.NewCache(), since: now}
	t.sets[id] = set
	return set.cache
}

// forget drops what is old, and makes room for one set more. The caller holds mu.
func (t *tokens) forget(now time.Time) {
	for id, set := range t.sets {
		if now.Sub(set.since) >= tokensAge {
			delete(t.sets, id)
		}
	}
	for len(t.sets) >= maxTokenSets {
		var oldest [sha256.Size]byte
		var least *tokenSet
		for id, set := range t.sets {
			if least == nil || set.since.Before(least.since) {
				oldest, least = id, set
			}
		}
		delete(t.sets, oldest)
	}
}

// accountID is a hash, so that no credential is kept.
func accountID(registry string, c Credentials) (id [sha256.Size]byte) {
	h := sha256.New()
	tls := tlsIdentity(c)
	for _, part := range []string{registry, c.Username, c.Password, string(tls[:])} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		_, _ = h.Write(size[:])
		_, _ = h.Write([]byte(part))
	}
	h.Sum(id[:0])
	return id
}
