package source

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/url"
	"path"
	"strings"
)

// dockerConfig is the part of a Docker configuration that holds logins.
type dockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"` // base64 of username:password
	IdentityToken string `json:"identitytoken"`
}

// dockerLogin finds the entry of a repository's host in a Docker configuration. Among several, the one with the longest
// path that the repository is below wins, then one without a wildcard.
func dockerLogin(where string, data []byte, repositoryURL string) (login, error) {
	var config dockerConfig
	// The error of the decoder can quote what it read; it stays here.
	if json.Unmarshal(data, &config) != nil {
		return login{}, unavailable("%s: the key %q is not a Docker configuration", where, keyDockerConfig)
	}
	wanted, ok := parseRegistry(repositoryURL)
	if !ok {
		return login{}, wrong("the URL of the repository has no host")
	}
	best, bestName, bestScore := dockerAuth{}, "", -1
	for name, auth := range config.Auths {
		entry, ok := parseRegistry(name)
		if !ok {
			continue
		}
		score := entry.matches(wanted)
		// Equal scores are broken by name, so that the same entry wins each time.
		if score > bestScore || score == bestScore && score >= 0 && name < bestName {
			best, bestName, bestScore = auth, name, score
		}
	}
	if bestScore < 0 {
		return login{}, unavailable("%s has no entry for the host %s in its key %q", where, wanted.host, keyDockerConfig)
	}
	return best.login(where, wanted.host)
}

func (a dockerAuth) login(where, host string) (login, error) {
	if a.Username != "" {
		return login{username: a.Username, password: a.Password}, nil
	}
	if a.Auth == "" && a.IdentityToken != "" {
		return login{}, unavailable("%s: the entry for %s has an identity token only; it needs a user name and a password", where, host)
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a.Auth))
	if err != nil {
		// Some tools leave out the padding.
		decoded, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(a.Auth))
	}
	username, password, ok := strings.Cut(string(decoded), ":")
	if err != nil || !ok || username == "" {
		return login{}, unavailable("%s: the entry for %s has neither a user name nor a valid \"auth\"", where, host)
	}
	return login{username: username, password: strings.TrimRight(password, "\x00")}, nil
}

// registry is the host and path by which logins are found.
type registry struct {
	host string // host, or host:port when the port is not the scheme's default; lower case
	path string // without slashes at its ends
}

// parseRegistry reads a repository URL or the name of an entry, which comes with or without a scheme.
func parseRegistry(raw string) (registry, bool) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return registry{}, false
	}
	r := registry{host: strings.ToLower(u.Hostname()), path: strings.Trim(path.Clean("/"+u.Path), "/")}
	usual := "443"
	if u.Scheme == "http" {
		usual = "80"
	}
	if port := u.Port(); port != "" && port != usual {
		r.host = net.JoinHostPort(r.host, port)
	}
	// Docker Hub has three names; its entry is called https://index.docker.io/v1/ for historical reasons.
	switch r.host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		r.host = "docker.io"
		r.path = strings.TrimPrefix(strings.TrimPrefix(r.path, "v1"), "/")
	}
	return r, true
}

// matches says how well an entry fits a repository: -1 not at all, else higher is better. An entry may have a wildcard
// for whole labels of its host ("*.example.com"), as Kubernetes has it.
func (r registry) matches(wanted registry) int {
	exact := r.host == wanted.host
	if !exact && !wildcardHost(r.host, wanted.host) {
		return -1
	}
	if r.path != "" && wanted.path != r.path && !strings.HasPrefix(wanted.path, r.path+"/") {
		return -1
	}
	score := 2 * len(r.path)
	if exact {
		score++
	}
	return score
}

func wildcardHost(pattern, host string) bool {
	if !strings.Contains(pattern, "*") {
		return false
	}
	patternLabels, hostLabels := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(patternLabels) != len(hostLabels) {
		return false
	}
	for i, label := range patternLabels {
		if ok, err := path.Match(label, hostLabels[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
