package standin

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"sync"
)

// Accounts are passwords by user name. They are safe for concurrent use.
type Accounts struct {
	mu        sync.Mutex // guards passwords
	passwords map[string]string
}

// NewAccounts returns accounts with these passwords.
func NewAccounts(passwords map[string]string) *Accounts {
	return &Accounts{passwords: maps.Clone(passwords)}
}

// Change gives a user another password.
func (a *Accounts) Change(user, password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passwords[user] = password
}

// admits reports who asks, and whether the password is right. A request without a name is nobody's.
func (a *Accounts) admits(r *http.Request) (user string, ok bool) {
	user, given, named := r.BasicAuth()
	if !named {
		return "", false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted, known := a.passwords[user]
	return user, known && subtle.ConstantTimeCompare([]byte(given), []byte(wanted)) == 1
}

// Guard lets only those requests through to next that have a name and its password.
func (a *Accounts) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := a.admits(r); !ok {
			refuse(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="stand-in"`)
	http.Error(w, "user and password needed", http.StatusUnauthorized)
}
